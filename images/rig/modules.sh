#!/usr/bin/env bash
# Build modules for the kernel of the rig: images/rig/modules.sh [FOLDER...]
#
# Builds the modules of images/rig/modules/ and of each FOLDER, which has C files and a Kbuild or a
# Makefile (obj-m := my_vfio_pci.o).  The rig loads all of them.  Modules of an earlier call are
# removed.  `make rig` calls this after build.sh, with the folders in MODULES.
set -eu

called_in=$PWD
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

fail() {
    echo "rig: $*" >&2
    exit 1
}
. images/work.sh
. images/rig/kbuild.sh

cache=.cache/rig
[ -f "$cache/manifest.json" ] || fail "the rig is not built: run make rig"
exec 8>"$cache/lock"
flock 8 # a second run waits and then finds the modules

folders=(images/rig/modules/*/)
for folder in "$@"; do
    case $folder in /*) ;; *) folder=$called_in/$folder ;; esac
    [ -e "$folder/Kbuild" ] || [ -e "$folder/Makefile" ] ||
        fail "$folder: no Kbuild and no Makefile of a module"
    folders+=("${folder%/}/")
done
kernel=$(sed -n 's/^ "kernel": "\(.*\)-amd64",$/\1/p' "$cache/manifest.json")
recipe=$({
    cat -- images/rig/modules.sh images/rig/kbuild.sh "$cache/manifest.json"
    for folder in "${folders[@]}"; do
        (cd -- "$folder" && echo "$folder" && find . -type f -regex '.*\(\.[chS]\|Kbuild\|Makefile\)' -print0 |
            sort -z | xargs -0 sha256sum)
    done
} | sha256sum | cut -c1-16)
if [ "$(cat "$cache/modules" 2>/dev/null)" = "$recipe" ]; then
    exit 0
fi

require_compiler
work_in "$cache" modules-work
mkdir "$work/built"
for folder in "${folders[@]}"; do
    name=$(basename -- "$folder")
    echo "rig: $name for $kernel"
    cp -r -- "$folder" "$work/$name"
    build_module "$PWD/$cache/headers" "$kernel" "$work/$name"
    find "$work/$name" -name '*.ko' -exec install -m 644 -t "$work/built" {} +
done
extra=$cache/kernel/lib/modules/$kernel-amd64/extra
rm -f -- "$cache/modules" # incomplete from here on
find "$extra" -name '*.ko' ! -name mtty.ko -delete
mv -- "$work/built"/*.ko "$extra/"
"$cache/bin/depmod" -b "$cache/kernel" "$kernel-amd64"
echo "$recipe" >"$work/recipe"
mv -- "$work/recipe" "$cache/modules"
