# shellcheck shell=bash
# Downloads and unpacks Debian packages without installing them.  Sourced after work.sh by a recipe
# that defines `fail`.

# The Debian archive: $DEBIAN_MIRROR, else that of this machine's apt.  Empty on other distributions.
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

# Set up a separate apt with this machine's release and SUITE.  The sources, lists and state of the
# machine do not change.  From here on, apt-get and apt-cache use the separate one.
own_apt() { # SUITE
    # shellcheck disable=SC2154  # work.sh sets $work
    local suite=$1 release mirror apt=$work/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed=
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || fail "apt has no Debian archive: set DEBIAN_MIRROR=http://..."
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
    killable apt-get -qq update || fail "cannot download the package lists (network?)"
}

# Download packages (NAME or NAME=VERSION) into $work/packages.  apt checks the signature of the
# archive.  In addition, packages that the file TRIED lists (lines of name, version, SHA-256) must
# have that checksum.  $packages gets such a line for each package.
packages=
download() { # TRIED PACKAGE...
    local tried=$1 file line
    shift
    mkdir "$work/packages"
    killable env --chdir="$work/packages" apt-get -qq download "$@" ||
        fail "cannot download packages: $*: see above"
    for file in "$work"/packages/*.deb; do
        # shellcheck disable=SC2016  # dpkg-deb expands these
        line="$(dpkg-deb --show --showformat '${Package} ${Version}' "$file") $(sha256sum <"$file" | cut -d' ' -f1)"
        packages="$packages$line
"
        if grep -qF "${line% *} " "$tried" && ! grep -qxF "$line" "$tried"; then
            fail "${line% *} is not the tested package: its checksum differs"
        fi
    done
}

unpack() { # PACKAGE FOLDER: a downloaded package
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
    fail "$1 is not in the unpacked package"
}

# The members of a JSON object, one for each line of $packages.
packages_json() {
    printf '%s' "$packages" | awk '{
        printf "%s  \"%s\": {\"version\": \"%s\", \"sha256\": \"%s\"}", sep, $1, $2, $3; sep = ",\n"
    } END { print "" }'
}
