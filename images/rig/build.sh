#!/usr/bin/env bash
# Build the rig in .cache/rig: images/rig/build.sh
#
#     kernel/         the stock Debian kernel and its modules, with mtty in extra/: the migratable
#                     serial port of the kernel's samples/vfio-mdev
#     headers/        the kernel's headers and kbuild: images/rig/modules.sh builds modules with them
#     tools/          busybox and kmod, for the initramfs and for the virtual machine
#     vng/            virtme-ng, which composes the command line of the virtual machine
#     manifest.json   versions, and checksums of the Debian packages
#
# Packages are unpacked, not installed: no maintainer script runs.  Root is needed only to install a
# compiler if there is none.  images/rig/packages lists the tested kernel with checksums; if the
# archive has only a newer one, that is used and a message printed.  An existing rig is kept: remove
# .cache/rig to build it again.
set -eu

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

fail() {
    echo "rig: $*" >&2
    exit 1
}
. images/work.sh
. images/debian.sh
. images/rig/kbuild.sh

suite=bookworm-backports # its kernel is built with the compiler of Debian 12
tried=$PWD/images/rig/packages
requirements=$PWD/images/rig/requirements.txt
virtme_ng=$(sed -n 's/^virtme-ng==\([^ ]*\).*/\1/p' "$requirements")
recipe=$(cat -- images/rig/build.sh images/rig/kbuild.sh "$tried" "$requirements" | sha256sum | cut -c1-16)

cache=.cache/rig
mkdir -p "$cache"
exec 8>"$cache/lock"
flock 8 # a second run waits and then finds the rig

if grep -qs "\"recipe\": \"$recipe\"" "$cache/manifest.json"; then
    echo "rig: $cache is up to date"
    exit 0
fi

case $(dpkg --print-architecture 2>/dev/null) in
    amd64) ;;
    *) fail "this needs Debian's tools and an x86-64 machine" ;;
esac
require_compiler

work_in "$cache" work

# --- packages ------------------------------------------------------------------------

echo "rig: Debian's kernel, its headers and source"
own_apt "$suite"

kernel=$(sed -n 's/^linux-image-\(.*\)-amd64 .*/\1/p' "$tried")
version=$(sed -n 's/^linux-image-[^ ]* \([^ ]*\) .*/\1/p' "$tried")
if ! apt-cache madison "linux-headers-$kernel-amd64" | grep -qF " $version "; then
    version=$(apt-cache madison linux-headers-amd64 | awk -v suite="$suite/main" \
        'index($0, suite) && !version { version = $3 } END { print version }')
    kernel=$(apt-cache show "linux-headers-amd64=$version" |
        sed -n 's/^Depends:.* linux-headers-\([^ ]*\)-amd64 .*/\1/p' | head -n 1)
    [ -n "$kernel" ] || fail "$suite has no linux-headers-amd64"
    echo "rig: the tested kernel is no longer in $suite; using the newer $kernel"
fi
source=linux-source-${kernel%%.*}.$(echo "$kernel" | cut -d. -f2)

download "$tried" "linux-image-$kernel-amd64=$version" \
    "linux-headers-$kernel-amd64=$version" "linux-headers-$kernel-common=$version" \
    "linux-kbuild-$kernel=$version" "$source=$version" busybox-static kmod

for package in linux-headers-$kernel-amd64 linux-headers-$kernel-common linux-kbuild-$kernel; do
    unpack "$package" "$work/headers"
done
unpack "linux-image-$kernel-amd64" "$work/kernel"
unpack busybox-static "$work/tools"
unpack kmod "$work/tools"

# --- mtty ----------------------------------------------------------------------------

echo "rig: mtty for $kernel"
module=$work/mtty
mkdir "$module"
dpkg-deb --fsys-tarfile "$work/packages/$source"_*.deb |
    tar --extract --to-stdout "./usr/src/$source.tar.xz" |
    xz --decompress --threads 0 |
    tar --extract --directory "$module" --strip-components 3 "$source/samples/vfio-mdev/mtty.c"
echo 'obj-m := mtty.o' >"$module/Makefile"

build_module "$work/headers" "$kernel" "$module"
modules=$work/kernel/lib/modules/$kernel-amd64
mkdir -p "$modules/extra"
install -m 644 "$module/mtty.ko" "$modules/extra/"
find "$work/tools" -type l -lname '*/kmod' -delete # links for an installed kmod
kmod=$(program kmod "$work/tools")
busybox=$(program busybox "$work/tools")
mkdir "$work/bin"
for name in depmod insmod lsmod modinfo modprobe rmmod; do
    ln -s "../tools/$kmod" "$work/bin/$name"
done
ln -s "../tools/$busybox" "$work/bin/busybox"
"$work/bin/depmod" -b "$work/kernel" "$kernel-amd64"

# --- virtme-ng, and installation ------------------------------------------------------

echo "rig: virtme-ng $virtme_ng"
killable .venv/bin/python -m pip --quiet --quiet install --disable-pip-version-check --no-input \
    --require-hashes --no-deps --target "$work/vng" --requirement "$requirements" ||
    fail "cannot install virtme-ng (no network?)"

rm -f -- "$cache/manifest.json" # incomplete from here on
for part in kernel headers tools bin vng; do
    rm -rf -- "${cache:?}/$part"
    mv -T -- "$work/$part" "$cache/$part"
done
{
    printf '{\n "recipe": "%s",\n "kernel": "%s-amd64",\n "debian": "%s",\n "suite": "%s",\n' \
        "$recipe" "$kernel" "$version" "$suite"
    printf ' "virtme_ng": "%s",\n "mtty_sha256": "%s",\n "packages": {\n' \
        "$virtme_ng" "$(sha256sum <"$cache/kernel/lib/modules/$kernel-amd64/extra/mtty.ko" | cut -d' ' -f1)"
    packages_json
    printf ' },\n "built": "%s"\n}\n' "$(date -u +%F)"
} >"$work/manifest.json"
mv -- "$work/manifest.json" "$cache/manifest.json"
echo "rig: $cache has Linux $kernel with mtty, $(du -sh --exclude '.work.*' "$cache" | cut -f1)"
