# The Debian archive that this machine's apt uses: sourced by fetch.sh and build.sh.
# shellcheck shell=bash

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Print its address.  Nothing where it uses none (another distribution).
machine_mirror() {
    local release
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    grep -qx 'ID=debian' /etc/os-release || return 0
    # shellcheck disable=SC2016  # apt-get expands these
    apt-get indextargets --no-release-info --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' |
        awk -v release="$release" '$1 == release && $2 == "main" && !uri { uri = $3 } END { print uri }'
}
