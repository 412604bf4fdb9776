# shellcheck shell=bash
# Debian packages for the recipes, unpacked and never installed.  Sourced after work.sh; the
# recipe has defined `fail`.

# The Debian archive to use: $DEBIAN_MIRROR, else the one that this machine's apt uses.
# Nothing where it uses none (another distribution).
debian_mirror() {
    local release
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        echo "$DEBIAN_MIRROR"
        return
    fi
    grep -qx 'ID=debian' /etc/os-release || return 0
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016  # apt-get expands these
    apt-get indextargets --no-release-info --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' |
        awk -v release="$release" '$1 == release && $2 == "main" && !uri { uri = $3 } END { print uri }'
}

# An apt of its own, with this machine's release and SUITE: the machine's sources, lists and
# state stay as they are.  From here on apt-get and apt-cache are that one.
own_apt() { # SUITE
    # shellcheck disable=SC2154  # work.sh sets $work
    local suite=$1 release mirror apt=$work/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed=
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || fail "apt here names no Debian archive: give one by DEBIAN_MIRROR=http://..."
    release=${suite%-backports}
    ! grep -qx 'ID=debian' /etc/os-release || release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    touch "$apt/status"
    [ ! -e "$keyring" ] || signed="[signed-by=$keyring]"
    printf 'deb %s %s %s main\n' "$signed" "$mirror" "$release" "$signed" "$mirror" "$suite" \
        >"$apt/sources.list"
    cat >"$apt/apt.conf" <<CONF
Dir::State "$apt";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
Dir::Cache "$apt";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Acquire::Retries "3";
Acquire::Languages "none";
APT::Sandbox::User "";
CONF
    export APT_CONFIG=$apt/apt.conf
    killable apt-get -qq update || fail "the archive's package lists could not be had (network?)"
}

# Download packages (apt's NAME or NAME=VERSION) into $work/packages.  apt has checked the
# archive's signature; this also tells whether those that the file TRIED names (lines of name,
# version, SHA-256) are the same ones.  $packages: such a line for each.
packages=
download() { # TRIED PACKAGE...
    local tried=$1 file line
    shift
    mkdir "$work/packages"
    killable env --chdir="$work/packages" apt-get -qq download "$@" ||
        fail "packages could not be had: $*: see above"
    for file in "$work"/packages/*.deb; do
        # shellcheck disable=SC2016  # dpkg-deb expands these
        line="$(dpkg-deb --show --showformat '${Package} ${Version}' "$file") $(sha256sum <"$file" | cut -d' ' -f1)"
        packages="$packages$line
"
        if grep -qF "${line% *} " "$tried" && ! grep -qxF "$line" "$tried"; then
            fail "${line% *} is not the package that was tried: its checksum differs"
        fi
    done
}

unpack() { # PACKAGE FOLDER: one that was downloaded
    dpkg-deb --extract "$work/packages/$1"_*.deb "$2"
}

# The path of a program in an unpacked package, below FOLDER: from Debian 13 on, /bin is /usr/bin.
program() { # NAME FOLDER
    local place
    for place in bin sbin usr/bin usr/sbin; do
        if [ -x "$2/$place/$1" ]; then
            echo "$place/$1"
            return
        fi
    done
    fail "$1 is not in the package that was unpacked"
}

# The members of a JSON object, one for each line of $packages.
packages_json() {
    printf '%s' "$packages" | awk '{
        printf "%s  \"%s\": {\"version\": \"%s\", \"sha256\": \"%s\"}", sep, $1, $2, $3; sep = ",\n"
    } END { print "" }'
}
