#!/usr/bin/env bash
# Fetch a QEMU build of Debian to test against, into FOLDER/NAME: fetch.sh NAME FOLDER
#
#     debian-13             QEMU 10.0 of trixie
#     debian-13-backports   the newest QEMU, of trixie-backports
#     debian-12-backports   the first that has the feature, of bookworm-backports
#
# `vfio-multifd qemu fetch` and ci/setup.sh call it.  The packages are unpacked, not
# installed: no maintainer script runs, no root is needed.  FOLDER/NAME/qemu-system-x86_64
# runs that QEMU on its own loader and libraries, so a build is used by its path alone;
# manifest.json describes it.  An existing build is kept: remove its folder to fetch
# it again.
set -eu

fail() {
    echo "fetch: $*" >&2
    exit 1
}

name=${1:-}
case $name in
    debian-13) suite=trixie extra_suite= ;;
    debian-13-backports) suite=trixie extra_suite=trixie-backports ;;
    debian-12-backports) suite=bookworm extra_suite=bookworm-backports ;;
    *) fail "usage: fetch.sh debian-13|debian-13-backports|debian-12-backports FOLDER" ;;
esac

mkdir -p -- "${2:?the folder to fetch into}"
cache=$(cd -- "$2" && pwd)
project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=harness/vm/mirror.sh
. "${BASH_SOURCE[0]%/*}/mirror.sh"
exec 8>"$cache/$name.lock"
flock 8 # a second run waits, and then finds the build

if [ -e "$cache/$name/manifest.json" ]; then
    echo "fetch: $cache/$name is there"
    exit 0
fi

if ! command -v mmdebstrap >/dev/null; then
    [ -x "$project/ci/apt-install.sh" ] || fail "mmdebstrap is needed: as root: apt-get install mmdebstrap"
    "$project/ci/apt-install.sh" mmdebstrap
fi

rm -rf -- "$cache/.$name".* # what a killed run left; not in use: we have the lock
work=$(mktemp -d -- "$cache/.$name.XXXXXX")
child=
clean_up() {
    trap '' HUP INT TERM # once is enough: a second one would leave it half done
    # Started in the background, so that a signal does not have to wait for it.
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

tree=$work/tree
mirror=$(machine_mirror)
packages=qemu-system-x86,qemu-system-common,qemu-system-data,seabios
options=(
    --mode=chrootless # as any user: nothing is run in the tree, nothing is mounted
    --skip=check/chrootless # which refuses root (from 1.5 on), as if packages were installed
    --variant=extract # only the packages named and what they depend on
    --include="$packages"
    # Nothing is installed, so dpkg knows of nothing: what was unpacked is what was had.
    --extract-hook='
        set -eu
        for package in "$1"/var/cache/apt/archives/*.deb; do
            dpkg-deb --show --showformat "\${Package} \${Version}\n" "$package"
        done | sort >"$unpacked"'
)
export unpacked=$work/packages
[ ! -e "$keyring" ] || options+=(--keyring="$keyring")
if [ -n "$extra_suite" ]; then
    # Backports are taken only when asked for: a pin asks, for all of QEMU's packages.
    printf 'Package: *\nPin: release n=%s\nPin-Priority: 600\n' "$extra_suite" >"$work/pin"
    export pin=$work/pin from=$suite to=$extra_suite
    # shellcheck disable=SC2016  # the hook's shell expands these, not this one
    options+=(--setup-hook='
        set -eu
        cp -- "$pin" "$1/etc/apt/preferences.d/pin"
        list=$1/etc/apt/sources.list
        sed -n "s/ $from main/ $to main/p" "$list" >"$pin.list"
        cat -- "$pin.list" >>"$list"')
fi
echo "fetch: $name: unpacking Debian's packages"
(
    # apt's shell knows descriptors of one digit only, and mmdebstrap's come behind all that
    # it was given (buildah gives many).
    for given in /proc/self/fd/*; do
        given=${given##*/}
        [ "$given" -le 2 ] || exec {given}>&-
    done
    exec mmdebstrap "${options[@]}" "$suite" "$tree" ${mirror:+"deb $mirror $suite main"}
) &
child=$!
wait "$child" || fail "$name: the packages could not be downloaded (network? the archive's key?): see above"
child=

# What QEMU needs to run is kept, of everything else nothing.
build=$work/build
mkdir -p -- "$build/usr/bin" "$build/usr/share"
mv -- "$tree/usr/bin/qemu-system-x86_64" "$build/usr/bin/"
mv -- "$tree/usr/share/qemu" "$tree/usr/share/seabios" "$build/usr/share/"
for folder in lib lib64; do
    # Packages of bookworm still have some libraries, and the loader, outside of /usr.
    for place in "$tree/usr/$folder" "$tree/$folder"; do
        if [ -d "$place" ] && [ ! -L "$place" ]; then cp -a --link -- "$place" "$build/usr/"; fi
    done
done
rm -rf -- "$build"/usr/lib/{systemd,udev,tmpfiles.d} "$build"/usr/lib/*-linux-gnu/{gconv,perl*,security}

only() { # WHAT FILE...: the path of the only FILE that exists, within the build
    local what=$1 file found=()
    shift
    for file; do [ ! -e "$file" ] || found+=("${file#"$build/"}"); done
    [ "${#found[@]}" -eq 1 ] || fail "$name: $what: ${#found[@]} of them, not one: ${found[*]}"
    echo "${found[0]}"
}
loader=$(only "dynamic loader" "$build"/usr/lib64/ld-linux-*.so.* "$build"/usr/lib/ld-linux-*.so.*)
libraries=$(only "library folder" "$build"/usr/lib/*-linux-gnu)

cat >"$build/qemu-system-x86_64" <<WRAPPER
#!/bin/sh
# Runs the QEMU next to this file on its own loader and libraries; written by fetch.sh.
self=\$0
case \$self in */*) ;; *) self=./\$self ;; esac
if [ -L "\$self" ]; then self=\$(readlink -f -- "\$self"); fi
here=\${self%/*}
case \$here in /*) ;; *) here=\$PWD/\$here ;; esac
export QEMU_MODULE_DIR="\$here/$libraries/qemu"
exec "\$here/$loader" --inhibit-cache --library-path "\$here/$libraries" --argv0 "\$0" \\
    "\$here/usr/bin/qemu-system-x86_64" -L "\$here/usr/share/qemu" -L "\$here/usr/share/seabios" "\$@"
WRAPPER
chmod 755 "$build" "$build/qemu-system-x86_64"

# Proof before it gets its name: no library from elsewhere, a machine starts and ends.
alien=$("$build/$loader" --inhibit-cache --list --library-path "$build/$libraries" \
    "$build/usr/bin/qemu-system-x86_64" | grep -vF -e "$build/" -e linux-vdso || true)
[ -z "$alien" ] || fail "$name: libraries that are not in the build: $alien"
version=$("$build/qemu-system-x86_64" --version | sed -n '1s/^QEMU emulator version //p')
[ -n "$version" ] || fail "$name: this QEMU does not start"
# (By TCG: 10.0.13 of trixie comes without the qtest accelerator.)
printf '{"execute": "%s"}\n' qmp_capabilities quit |
    timeout 60 "$build/qemu-system-x86_64" -M q35 -accel tcg -S -nodefaults -display none -qmp stdio |
    grep -q '"SHUTDOWN"' || fail "$name: this QEMU runs no machine"

[ -s "$unpacked" ] || fail "$name: it is not known of which packages it is"
debian=${version#*(Debian } # 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)
sha256=$(sha256sum "$build/usr/bin/qemu-system-x86_64")
{
    printf '{\n "name": "%s",\n "qemu": "%s",\n "debian": "%s",\n "suite": "%s",\n "architecture": "%s",\n "fetched": "%s",\n' \
        "$name" "${version%% *}" "${debian%)}" "${extra_suite:-$suite}" "$(uname -m)" "$(date -u +%F)"
    printf ' "sha256": "%s",\n "packages": {\n' "${sha256%% *}"
    sed 's/\(.*\) \(.*\)/  "\1": "\2",/; $ s/,$//' "$unpacked"
    printf ' }\n}\n'
} >"$build/manifest.json"

rm -rf -- "${cache:?}/$name" # without a manifest it is not ours, or not complete
mv -T -- "$build" "$cache/$name"
echo "fetch: $cache/$name/qemu-system-x86_64 is QEMU $version, $(du -sh "$cache/$name" | cut -f1)"
