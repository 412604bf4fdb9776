# shellcheck shell=bash
# Builds modules of the kernel.  Sourced after work.sh by a recipe that defines `fail`.

# Install what a module is built with, if it is missing; that needs root.
require_compiler() {
    local needed='' tool
    for tool in gcc make xz; do
        command -v "$tool" >/dev/null || needed="$needed ${tool/xz/xz-utils}"
    done
    # objtool, in the package of the headers, is linked with it.
    /sbin/ldconfig -p | grep -qF 'libelf.so.1 ' || needed="$needed libelf1"
    # shellcheck disable=SC2086  # one word for each package
    [ -z "$needed" ] || ci/apt-install.sh $needed
}

# Build the modules of FOLDER, which has a Kbuild or a Makefile, in FOLDER.  HEADERS is where the
# packages of the headers of KERNEL are unpacked.
build_module() { # HEADERS KERNEL FOLDER
    local folder=$1/usr/src/linux-headers-$2-amd64 name=${3##*/} compiler
    compiler=$(command -v gcc-12 || command -v gcc)
    # The Makefile of the headers themselves names /usr/src.  Without debug information and paths of
    # this machine the result is reproducible.
    killable make --silent -C "$folder" -f "../linux-headers-$2-common/Makefile" M="$3" \
        CC="$compiler" KCFLAGS="-g0 -ffile-prefix-map=$3=$name" CONFIG_DEBUG_INFO_BTF_MODULES= \
        modules || fail "$name does not build against $2: see above"
}
