#!/usr/bin/env bash
# Repeats the migration of the run %NAME% by hand:  by-hand.sh [FOLDER]
#
# Starts the destination and the source with `vfio-multifd serve`, which provides the devices of
# the scenario; sends the QMP commands of the run to both, in their order; waits for the end;
# prints query-migrate of both.  It does not do what a guest would have set up (PCI command
# register, BARs and their contents).  The traces are in FOLDER, by default a temporary folder that
# is removed.  Only you can enter the folder of the sockets.
#
# To use a debugger or profiler, start that side alone, in the foreground of a terminal:
#     vfio-multifd serve --scenario scenario.json --side source -- gdb --args QEMU... @devices@
# and send it commands with `vfio-multifd qmp FOLDER/sockets/source`.
#
# To use a real device instead of an emulated one, change two things below:
#     devices=(-device vfio-pci,host=0000:3b:00.1,id=vfio0,x-migration-multifd-transfer=on)
#     serve() { exec "${@:2}"; }
# (with another host=... for each side on one machine).  QEMU then uses the device directly.
%MEANWHILE%
set -u
umask 077 # guest RAM, registers and keys are private

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
keep=${1:-}
work=${keep:-$(mktemp -d)}
mkdir -p "$work/source-trace" "$work/destination-trace"
work=$(cd -- "$work" && pwd)
rm -rf -- "$work"/migration.* "$work"/*.console "$work/tls" "$work/sockets"
mkdir -- "$work/sockets" && cd -- "$work" || exit 3 # a socket's path has at most 107 bytes
declare -A pid=()
clean_up() {
    kill "${pid[@]}" 2>/dev/null
    wait
    rm -rf -- "$work/tls" "$work/sockets"
    [ -n "$keep" ] || rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
command -v vfio-multifd >/dev/null || {
    echo "by-hand.sh: vfio-multifd is not on PATH: activate the harness's .venv" >&2
    exit 3
}

devices=(@devices@) # `vfio-multifd serve` replaces this by the devices
# If this script is killed, its processes end too.
tied() { exec setpriv --pdeathsig TERM -- "$@"; }
serve() { tied vfio-multifd serve --scenario "$here/scenario.json" --side "$1" -- "${@:2}"; }

# shellcheck disable=SC2054 # the commas are those of QEMU's options
source=(
%SOURCE%
)
# shellcheck disable=SC2054
destination=(
%DESTINATION%
)

qmp() { # SIDE [--until EVENT]... < COMMANDS
    vfio-multifd qmp "sockets/$1" "${@:2}"
}
is_up() { # SIDE: wait for its monitor; false if QEMU has ended
    until [ -S "sockets/$1" ]; do
        kill -0 "${pid[$1]}" 2>/dev/null || return
        sleep 0.1
    done
    qmp "$1" </dev/null 2>/dev/null
}
ended=(--until MIGRATION=completed --until MIGRATION=failed --until MIGRATION=cancelled)

%CREDENTIALS%
serve destination "${destination[@]}" &
pid[destination]=$!
serve source "${source[@]}" &
pid[source]=$!
for side in destination source; do
    is_up "$side" || {
        echo "by-hand.sh: the $side QEMU did not start" >&2
        exit 1
    }
done

%RELAY%
%GUEST%
went_well=1
%STEPS%
if [ "$went_well" = 1 ]; then
    echo "== destination"
    qmp destination "${ended[@]}" </dev/null || went_well=0
fi

%ROUNDS%
for side in source destination; do
    echo "== $side: query-migrate"
    answer=$(qmp "$side" <<<query-migrate)
    echo "$answer"
    [[ $answer == *'"status": "completed"'* ]] || went_well=0
done
for side in source destination; do
    qmp "$side" <<<quit >/dev/null
done
wait "${pid[source]}" "${pid[destination]}"
[ "$went_well" = 1 ]
