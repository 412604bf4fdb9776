#!/usr/bin/env bash
# Build the guest of scenarios in .cache/guest: images/guest/build.sh
#
#     vmlinuz         the stock Debian kernel, as in the rig
#     initrd          the compiled init.c only
#     firmware.bin    the assembled firmware.S, used where a Linux would take too long
#     manifest.json   versions and checksums
#
# Takes the kernel and busybox (for cpio) from .cache/rig if that is built, else downloads and unpacks
# them.  Installs a compiler if there is none, and nothing else.  images/rig/packages lists the tested
# kernel with its checksum; if the archive has only a newer one, that is used and a message printed.
# An existing guest is kept.
set -eu

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

fail() {
    echo "guest: $*" >&2
    exit 1
}
. images/work.sh
. images/debian.sh

suite=bookworm-backports
tried=$PWD/images/rig/packages
recipe=$(cat -- images/guest/build.sh images/guest/init.c images/guest/firmware.S "$tried" | sha256sum | cut -c1-16)

cache=.cache/guest
mkdir -p "$cache"
exec 8>"$cache/lock"
flock 8 # a second run waits and then finds the guest

if grep -qs "\"recipe\": \"$recipe\"" "$cache/manifest.json"; then
    exit 0
fi

case $(dpkg --print-architecture 2>/dev/null) in
    amd64) ;;
    *) fail "this needs Debian's tools and an x86-64 machine" ;;
esac
work_in "$cache" work

echo 'int main(void) { return 0; }' >"$work/probe.c"
gcc -static -o "$work/probe" "$work/probe.c" 2>"$work/probe.stderr" ||
    ci/apt-install.sh gcc libc6-dev

rig=.cache/rig
if kernel=$(sed -n 's/^ "kernel": "\(.*\)",$/\1/p' "$rig/manifest.json" 2>"$work/no-rig"); then
    version=$(sed -n 's/^ "debian": "\(.*\)",$/\1/p' "$rig/manifest.json")
    vmlinuz=$rig/kernel/boot/vmlinuz-$kernel
    busybox=$rig/bin/busybox
    echo "guest: using kernel and busybox of the rig"
else
    echo "guest: Debian's kernel"
    own_apt "$suite"
    kernel=$(sed -n 's/^linux-image-\([^ ]*\) .*/\1/p' "$tried")
    version=$(sed -n 's/^linux-image-[^ ]* \([^ ]*\) .*/\1/p' "$tried")
    if ! apt-cache madison "linux-image-$kernel" | grep -qF " $version "; then
        version=$(apt-cache madison linux-image-amd64 | awk -v suite="$suite/main" \
            'index($0, suite) && !version { version = $3 } END { print version }')
        kernel=$(apt-cache show "linux-image-amd64=$version" |
            sed -n 's/^Depends: .*linux-image-\([^ ,]*\).*/\1/p' | head -n 1)
        [ -n "$kernel" ] || fail "$suite has no linux-image-amd64"
        echo "guest: the tested kernel is no longer in $suite; using the newer $kernel"
    fi
    download "$tried" "linux-image-$kernel=$version" busybox-static
    unpack "linux-image-$kernel" "$work/kernel"
    unpack busybox-static "$work/tools"
    vmlinuz=$work/kernel/boot/vmlinuz-$kernel
    busybox=$work/tools/$(program busybox "$work/tools")
fi

mkdir "$work/tree" "$work/guest"
gcc -std=gnu17 -Os -Wall -Wextra -Werror -static -s -o "$work/tree/init" images/guest/init.c ||
    fail "init.c does not compile: see above"
touch --date=@0 "$work/tree/init" # reproducible
# One section, which ends at the end of the 32-bit address space.
gcc -m32 -nostdlib -static -Wl,-Ttext=0xffff0000 -Wl,--build-id=none \
    -o "$work/firmware" images/guest/firmware.S &&
    objcopy -O binary -j .text "$work/firmware" "$work/guest/firmware.bin" ||
    fail "firmware.S does not assemble: see above"
busybox=$(realpath -- "$busybox")
(cd -- "$work/tree" && echo init | "$busybox" cpio -o -H newc -R 0:0 --ignore-devno --renumber-inodes 2>"$work/cpio.stderr") |
    gzip -9n >"$work/guest/initrd"
cp -- "$vmlinuz" "$work/guest/vmlinuz"

rm -f -- "$cache/manifest.json" # incomplete from here on
mv -- "$work/guest"/* "$cache/"
{
    printf '{\n "recipe": "%s",\n "kernel": "%s",\n "debian": "%s",\n' "$recipe" "$kernel" "$version"
    for part in vmlinuz initrd firmware.bin; do
        printf ' "%s_sha256": "%s",\n' "$part" "$(sha256sum <"$cache/$part" | cut -d' ' -f1)"
    done
    printf ' "built": "%s"\n}\n' "$(date -u +%F)"
} >"$work/manifest.json"
mv -- "$work/manifest.json" "$cache/manifest.json"
echo "guest: $cache has Linux $kernel with init, and a firmware, $(du -sh --exclude '.work.*' "$cache" | cut -f1)"
