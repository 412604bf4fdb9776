#!/usr/bin/env bash
# Run `make run` and `make check` on bare machines: ci/bare.sh [SUITE...]
#
# For each SUITE of Debian (default: bookworm trixie) this makes a minimal root with `make` and
# `git`, clones this checkout into it, runs the commands there, and prints how they ended, which
# packages they installed, and what was missing.  The root is a chroot with its own mount and process
# namespaces: its processes end with this script, and its folder in .cache/bare is removed.  The
# logs stay in .cache/bare.
#
# Needs root, a Debian machine and its archive.  The root uses this machine's apt Acquire options,
# pip configuration, proxies and certificates.
# BARE_COMMANDS: other commands to run, one per line.
# Exit status: 0 all commands passed, 1 one failed, 3 the root could not be made.
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

[ "$(id -u)" -eq 0 ] || fail "run as root: this makes a root file system and enters it"
command -v mmdebstrap >/dev/null || ci/apt-install.sh mmdebstrap
mkdir -p .cache/bare
exec 8>.cache/bare/lock
flock --nonblock 8 || fail "another ci/bare.sh is running: $project/.cache/bare/lock is held"
work_in .cache/bare work
mirror=$(debian_mirror)
[ -n "$mirror" ] || fail "apt has no Debian archive: set DEBIAN_MIRROR=http://..."

make_root() { # SUITE ROOT
    killable mmdebstrap --quiet --variant=minbase --include=make,git "$1" "$2" \
        "deb $mirror $1 main" || fail "$1: cannot make a root (network? key of the archive?)"
    apt-config dump | grep '^Acquire::' >"$2/etc/apt/apt.conf.d/90machine" || true
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/xdg/pip/*; do
        [ ! -f "$file" ] || install -D --mode=644 -- "$file" "$2$file"
    done
    git clone --quiet --no-hardlinks -- "$project" "$2/harness"
    # The root starts without this machine's package state.
    rm -rf -- "$2"/var/lib/apt/lists/* "$2"/var/cache/apt/archives/*.deb
}

# In the new namespaces: mount the file systems of a machine and become the first process.
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
    # unshare ignores SIGTERM while it waits; killing it kills all processes in the root.
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

# Lines of set-up, tests and the harness about what is missing.
report_missing() { # LOG
    grep -E 'missing: |^SKIPPED |cannot run here|error while loading|is not installed' "$1" |
        grep -vE '^debconf:|process hung|pytest\.skip' | sort | uniq -c |
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
