#!/usr/bin/env bash
# Run the README's two commands on bare machines: ci/bare.sh [SUITE...]
#
# For each SUITE of Debian (default: bookworm trixie) this makes a minimal root to which only
# `make` and `git` are added, clones this checkout into it, runs `make run` and `make check`
# there, and prints how they ended, which packages they installed, and what was missing.
# The root is a chroot in namespaces of its own (mounts, processes): its processes end with
# this script, and its folder below .cache/bare is removed.  The logs stay in .cache/bare.
#
# Needs root, a Debian machine and its archive.  The way to the registries is this machine's:
# apt's Acquire options, pip's configuration, proxies and certificates are handed on.
# BARE_COMMANDS: what to run there instead, a command a line.
# Exit status: 0 all commands passed, 1 one failed, 3 there is no such root.
set -eu

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
project=$PWD
commands=${BARE_COMMANDS:-$'make run\nmake check'}

fail() {
    echo "bare: $*" >&2
    exit 3
}
. images/work.sh
. images/debian.sh

[ "$(id -u)" -eq 0 ] || fail "this needs root: it makes a root file system and enters it"
command -v mmdebstrap >/dev/null || ci/apt-install.sh mmdebstrap
mkdir -p .cache/bare
exec 8>.cache/bare/lock
flock --nonblock 8 || fail "another ci/bare.sh is running: $project/.cache/bare/lock is held"
work_in .cache/bare work
mirror=$(debian_mirror)
[ -n "$mirror" ] || fail "apt here names no Debian archive: give one by DEBIAN_MIRROR=http://..."

make_root() { # SUITE ROOT
    killable mmdebstrap --quiet --variant=minbase --include=make,git "$1" "$2" \
        "deb $mirror $1 main" || fail "$1: no root could be made (network? the archive's key?)"
    apt-config dump | grep '^Acquire::' >"$2/etc/apt/apt.conf.d/90machine" || true
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/xdg/pip/*; do
        [ ! -f "$file" ] || install -D --mode=644 -- "$file" "$2$file"
    done
    git clone --quiet --no-hardlinks -- "$project" "$2/harness"
    # The root is its own machine: nothing of this one's package state comes along.
    rm -rf -- "$2"/var/lib/apt/lists/* "$2"/var/cache/apt/archives/*.deb
}

# In the new namespaces: mount what a machine has, and become the root's first process.
enter() { # ROOT COMMAND
    local keep=() name value root=$1
    while IFS='=' read -r name value; do
        case $name in
            PIP_FIND_LINKS) ;; # a folder of this machine
            PIP_CERT | SSL_CERT_FILE | *_CA_BUNDLE | *_CAINFO)
                cp -- "$value" "$root/usr/local/share/$name.crt"
                keep+=("$name=/usr/local/share/$name.crt")
                ;;
            PIP_* | *_proxy | *_PROXY) keep+=("$name=$value") ;;
        esac
    done < <(env)
    # unshare ignores SIGTERM while it waits; with it all in the root are killed.
    trap 'kill -KILL "$child" 2>/dev/null || true; clean_up' EXIT
    # shellcheck disable=SC2016  # the inner shell expands these
    killable unshare --mount --pid --fork --kill-child=KILL sh -c '
        set -eu
        mount --make-rprivate /
        for place in dev sys; do mount --rbind "/$place" "$1/$place"; done
        mount -t proc proc "$1/proc"
        mount -t tmpfs -o mode=755 tmpfs "$1/run"
        root=$1 command=$2
        shift 2
        exec chroot "$root" env --default-signal=INT,QUIT --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            LANG=C.UTF-8 CI=true "$@" sh -c "cd /harness && exec $command"' \
        sh "$root" "$2" "${keep[@]}" </dev/null
}

packages_of() { # ROOT
    chroot "$1" dpkg-query --show --showformat '${Package}\n' | sort
}

# Lines by which set-up, tests and the harness say what they lack.
report_missing() { # LOG
    grep -E 'missing: |^SKIPPED |cannot run here|error while loading|is not installed' "$1" |
        grep -v '^debconf:' | sort | uniq -c |
        sed 's/^ *\([0-9]*\) /    missing (\1): /' || true
}

status=0
[ $# -gt 0 ] || set -- bookworm trixie
for suite; do
    root=$work/$suite
    echo "bare: $suite: a root with make and git"
    make_root "$suite" "$root"
    packages_of "$root" >"$work/before"
    number=0
    while IFS= read -r command; do
        number=$((number + 1))
        log=$project/.cache/bare/$suite-$number.log
        started=$SECONDS ended=0
        echo "bare: $suite: $command"
        enter "$root" "$command" >"$log" 2>&1 || ended=$?
        echo "bare: $suite: $command: exit status $ended after $((SECONDS - started)) s; $log"
        tail -n 5 -- "$log" | sed 's/^/    /'
        report_missing "$log"
        [ "$ended" -eq 0 ] || status=1
    done <<<"$commands"
    packages_of "$root" >"$work/after"
    echo "bare: $suite: installed by the commands: $(comm -13 "$work/before" "$work/after" | tr '\n' ' ')"
    rm -rf -- "${root:?}"
done
exit "$status"
