#!/usr/bin/env bash
# Build a QEMU from Debian's source package, into FOLDER/NAME:
#
#     build.sh NAME VERSION VARIANT FOLDER [PATCH]
#
#     VERSION   of QEMU, as the archive that this machine's apt uses has it, like 10.2.2
#     VARIANT   plain
#               gcov   counts what runs of hw/vfio/migration*.c and migration/multifd*.c
#               asan   address and undefined-behaviour sanitizers
#               tsan   thread sanitizer
#     PATCH     is applied to the source (patch -p1) before it is built
#
# `vfio-multifd qemu build` calls it.  The configuration is minimal: no zstd, and no firmware,
# which the source package does not have.  FOLDER/NAME/qemu-system-x86_64 uses this machine's
# libraries; manifest.json says what it is.  A build that is there is kept: remove its folder
# to build it again.
#
# Source and objects stay in FOLDER/.source/VERSION, so that the next build with a patch takes
# seconds; remove them at will (gcov's figures are there).  What the build needs is installed
# where this is root; $PYTHON is the Python to use.
set -eu

fail() {
    echo "build: $*" >&2
    exit 1
}

[ $# -ge 4 ] || fail "usage: build.sh NAME VERSION plain|gcov|asan|tsan FOLDER [PATCH]"
name=$1 version=$2 variant=$3 patch=${5:-}
PYTHON=${PYTHON:-python3}
configure=(
    --target-list=x86_64-softmmu --without-default-features --enable-tcg --enable-gnutls
    --enable-fdt=system --enable-trace-backends=log --disable-install-blobs
)
case $variant in
    plain) ;;
    gcov) configure+=(--extra-ldflags=--coverage) ;;
    asan) configure+=(--enable-asan --enable-ubsan) ;;
    tsan) configure+=(--enable-tsan) ;;
    *) fail "$variant: no such variant; there are: plain gcov asan tsan" ;;
esac
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "$version: not a version like 10.2.2"
[ -z "$patch" ] || patch=$(realpath -e -- "$patch") || fail "$5: there is no such patch"

mkdir -p -- "$4/.source"
cache=$(cd -- "$4" && pwd)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=harness/vm/mirror.sh
. "$here/mirror.sh"
tree=$cache/.source/$version

child= work= # work is set once the lock is held
clean_up() {
    trap '' HUP INT TERM # once is enough: a second one would leave it half done
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    [ -z "$work" ] || rm -rf -- "$work" "$cache/.source/.$version".*
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# waited COMMAND...: run it so that a signal does not have to wait for it.
waited() {
    local status=0
    "$@" &
    child=$!
    wait "$child" || status=$?
    child=
    return "$status"
}

# One build of a version at a time: they share its source.
exec 8>"$tree.lock"
flock --nonblock 8 || { echo "build: waiting for another build of QEMU $version" && waited flock 8; }

digest=
[ -z "$patch" ] || digest=$(sha256sum -- "$patch" | cut -d' ' -f1)
# The same build: one with another patch of the same name is replaced.
if grep -qs "^ \"patch\": \"$digest\"" "$cache/$name/manifest.json"; then
    echo "build: $cache/$name is there"
    exit 0
fi

rm -rf -- "$cache/.$name".* "$cache/.source/.$version".* # what a killed run left: we have the lock
work=$(mktemp -d -- "$cache/.$name.XXXXXX")

# -- what the build needs ------------------------------------------------------------------

lacks=()
need() { # PACKAGE COMMAND...
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || lacks+=("$package")
}
has_header() { echo "#include <$1>" | gcc -E -; }
need gcc command -v gcc
need libc6-dev has_header stdio.h
need ninja-build command -v ninja
need flex command -v flex
need bison command -v bison
need patch command -v patch
need dpkg-dev command -v dpkg-source
need pkg-config command -v pkg-config
need libglib2.0-dev pkg-config --exists glib-2.0
need zlib1g-dev pkg-config --exists zlib
need libgnutls28-dev pkg-config --exists gnutls
need libfdt-dev has_header libfdt.h
need python3-venv "$PYTHON" -c 'import ensurepip, venv'
if [ "${#lacks[@]}" -gt 0 ]; then
    [ -x "$here/../../ci/apt-install.sh" ] ||
        fail "this machine lacks ${lacks[*]}: as root: apt-get install ${lacks[*]}"
    echo "build: installing ${lacks[*]}"
    waited "$here/../../ci/apt-install.sh" "${lacks[@]}" >&2
fi

# -- source --------------------------------------------------------------------------------

source_of() { # gets the source of $version into the folder $1
    local folder=$1 mirror state suite found=
    mirror=$(machine_mirror)
    [ -n "$mirror" ] || fail "the source of QEMU is taken from Debian's archive, and this machine uses none"
    state=$folder/apt
    mkdir -p -- "$state"/{lists/partial,archives/partial,parts}
    : >"$state/status"
    for suite in trixie trixie-backports sid; do
        echo "deb-src${keyring_option:-} $mirror $suite main"
    done >"$state/sources.list"
    apt=(
        --quiet --option "Dir::State=$state" --option "Dir::State::status=$state/status"
        --option "Dir::Cache=$state" --option "Dir::Etc::SourceList=$state/sources.list"
        --option "Dir::Etc::SourceParts=$state/parts" --option Acquire::Retries=3
        --option "APT::Sandbox::User=$(id -un)"
    )
    # Each step says itself what follows: where its caller looks at the status, set -e is off.
    apt-get "${apt[@]}" update >&2 || return 1
    found=$(apt-cache "${apt[@]}" madison qemu |
        awk -v v="$version" '{ at = $3; sub(/^[0-9]+:/, "", at); sub(/[+~-].*/, "", at) } at == v { print $3, $6; exit }')
    [ -n "$found" ] ||
        fail "there is no source of QEMU $version; there are: $(apt-cache "${apt[@]}" madison qemu | awk '{ print $3 }' | sort -uV | tr '\n' ' ')"
    (cd -- "$folder" && apt-get "${apt[@]}" source --download-only "qemu=${found% *}" >&2) || return 1
    dpkg-source --no-check -x "$folder"/qemu_*.dsc "$folder/source" >&2 || return 1 # apt has checked it
    rm -rf -- "$state" "$folder"/qemu_*
    echo "$found" >"$folder/origin"
}

[ ! -e "$keyring" ] || keyring_option=" [signed-by=$keyring]"
if [ ! -e "$tree/origin" ]; then
    echo "build: getting the source of QEMU $version"
    rm -rf -- "$tree"
    unpacked=$(mktemp -d -- "$cache/.source/.$version.XXXXXX")
    chmod 755 "$unpacked"
    waited source_of "$unpacked" || fail "QEMU $version: its source could not be downloaded: see above"
    mv -T -- "$unpacked" "$tree"
fi
read -r debian suite <"$tree/origin"

# Meson is not part of the source package; these are the versions that QEMU asks for.
if [ ! -e "$tree/tools/ready" ]; then
    "$PYTHON" -m venv --clear "$tree/tools"
    waited "$tree/tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        meson==1.9.0 pycotap==1.3.1 >&2 || fail "meson could not be installed; no network?"
    touch -- "$tree/tools/ready"
fi

# What patch has kept goes back, with a new time: ninja builds it again.  A file that a patch
# has made has an empty one.
restore() {
    find "$tree/source" -name '*.before-patch' -print0 | while IFS= read -r -d '' kept; do
        if [ -s "$kept" ]; then
            mv -- "$kept" "${kept%.before-patch}"
            touch -- "${kept%.before-patch}"
        else
            rm -f -- "${kept%.before-patch}" "$kept"
        fi
    done
}
restore
if [ -n "$patch" ]; then
    (cd -- "$tree/source" && patch --strip=1 --batch --backup --suffix=.before-patch <"$patch" >&2) || {
        restore
        fail "$patch does not apply to QEMU $version: see above"
    }
fi

# -- build ---------------------------------------------------------------------------------

objects=$tree/$variant
if [ ! -e "$objects/configured" ]; then
    rm -rf -- "$objects"
    mkdir -- "$objects"
    if [ "$variant" = gcov ]; then
        # Counting all of QEMU would slow down all of it.  Counters are atomic: threads share them.
        gcc -c -O2 -Wall -o "$objects/gcov_signals.o" "$here/gcov_signals.c" >&2 ||
            fail "$here/gcov_signals.c cannot be compiled: see above"
        cat >"$objects/cc" <<'WRAPPER'
#!/bin/sh
case " $* " in
    *" -o "*hw_vfio_migration*.o" "* | *" -o "*migration_multifd*.o" "*)
        exec gcc --coverage -fprofile-update=atomic "$@" ;;
    *" @qemu-system-x86_64.rsp "* | *" -o qemu-system-x86_64 "*)
        exec gcc "$@" "${0%/*}/gcov_signals.o" -Wl,--wrap=sigaction ;;
esac
exec gcc "$@"
WRAPPER
        chmod 755 "$objects/cc"
        configure+=("--cc=$objects/cc")
    fi
    echo "build: $name: configuring"
    (cd -- "$objects" && exec ../source/configure "--python=$tree/tools/bin/python" "${configure[@]}") \
        >"$objects/configure.log" 2>&1 &
    child=$!
    wait "$child" || fail "$name cannot be configured: $(grep -im1 'error: ' "$objects/configure.log" || tail -n 1 "$objects/configure.log"); see $objects/configure.log"
    child=
    touch -- "$objects/configured"
fi
echo "build: $name: building"
nice -n 10 ninja -C "$objects" -j "${JOBS:-$(nproc)}" qemu-system-x86_64 trace/trace-events-all >"$objects/ninja.log" 2>&1 &
child=$!
wait "$child" || fail "$name does not build: $(grep -m1 'error: ' "$objects/ninja.log" || tail -n 1 "$objects/ninja.log"); see $objects/ninja.log"
child=

build=$work/build
mkdir -p -- "$build/trace"
cp -- "$objects/qemu-system-x86_64" "$build/"
cp -- "$objects/trace/trace-events-all" "$build/trace/"
[ -z "$patch" ] || cp -- "$patch" "$build/applied.patch"
[ "$variant" != tsan ] || cp -- "$tree/source/tests/tsan/suppressions.tsan" "$build/"
chmod 755 "$build"
restore

# Proof before it gets its name: a machine starts and ends.
head -c 65536 /dev/zero >"$work/firmware"
printf '{"execute": "%s"}\n' qmp_capabilities quit |
    ASAN_OPTIONS=detect_leaks=0 timeout 60 "$build/qemu-system-x86_64" -M q35 -accel tcg -S \
        -bios "$work/firmware" -nodefaults -display none -qmp stdio 2>"$work/said" |
    grep -q '"SHUTDOWN"' || fail "$name: this QEMU runs no machine: $(tail -n 1 "$work/said")"

said=$("$build/qemu-system-x86_64" --version | sed -n '1s/^QEMU emulator version //p')
sha256=$(sha256sum "$build/qemu-system-x86_64")
cat >"$build/manifest.json" <<MANIFEST
{
 "name": "$name",
 "qemu": "${said%% *}",
 "debian": "$debian",
 "suite": "${suite%%/*}",
 "architecture": "$(uname -m)",
 "fetched": "$(date -u +%F)",
 "sha256": "${sha256%% *}",
 "variant": "$variant",
 "configure": "${configure[*]}",
 "compiler": "$(gcc --version | sed -n 1p)",
 "patch": "$digest"
}
MANIFEST
rm -rf -- "${cache:?}/$name"
mv -T -- "$build" "$cache/$name"
echo "build: $cache/$name/qemu-system-x86_64 is QEMU $said, $(du -sh "$cache/$name" | cut -f1)"
