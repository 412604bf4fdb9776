#!/usr/bin/env bash
# Run a matrix on several machines, a part of its cells on each, and collect the results:
#
#     ci/avocado/hosts.sh RESULTS HOST:/FOLDER... -- [FILE.toml] [OPTIONS of ci.avocado.matrix]
#
# HOST is a destination of ssh.  /FOLDER is a copy of this project on HOST, set up with `make setup`.
# FILE.toml and its builds are on HOST.  SSH is the ssh command with its options (default:
# ssh -o BatchMode=yes -o ConnectTimeout=20).  RESULTS/N-HOST gets everything that HOST wrote,
# including run directories; HOST keeps nothing.  Exit status: the worst of all hosts; 4 (usage) is
# worse than 3 (also: HOST was not reached), 1, 2 and 0.
set -eu

usage() {
    echo "hosts: error: $*" >&2
    exit 4
}
[ $# -ge 2 ] || usage "give RESULTS HOST:/FOLDER... -- [OPTIONS]"
ssh=${SSH:-ssh -o BatchMode=yes -o ConnectTimeout=20}
results=$1
shift
hosts=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in ?*:/?*) hosts+=("$1") ;; *) usage "$1 is not HOST:/FOLDER" ;; esac
    shift
done
[ "${#hosts[@]}" -gt 0 ] || usage "no HOST:/FOLDER given"
[ $# -eq 0 ] || shift
mkdir -p "$results"

# run_on HOST FOLDER PART RESULTS OPTION...: run the cells there, then copy the results here.
run_on() {
    local host=$1 folder there part=$3 here=$4 status=0
    folder=$(printf %q "$2")
    there=runs/hosts-$$-${part%/*}
    shift 4
    # shellcheck disable=SC2086 # $ssh has options
    $ssh "$host" "cd $folder && .venv/bin/python -m ci.avocado.matrix --shard $part \
        --results $there $(printf '%q ' "$@")" </dev/null || status=$?
    mkdir -p "$here"
    # shellcheck disable=SC2086
    $ssh "$host" "cd $folder && tar -cf - -C $there . && rm -rf $there" </dev/null |
        tar -xf - -C "$here" || status=3
    return "$status"
}

pids=() logs=()
for n in "${!hosts[@]}"; do
    host=${hosts[n]%%:*}
    here=$results/$((n + 1))-$host
    run_on "$host" "${hosts[n]#*:}" "$((n + 1))/${#hosts[@]}" "$here" "$@" >"$here.log" 2>&1 &
    pids+=($!) logs+=("$here.log")
done
worst=0
for n in "${!pids[@]}"; do
    status=0
    wait "${pids[n]}" || status=$?
    case $status in 0 | 1 | 2 | 4) ;; *) status=3 ;; esac
    summary=$(grep -E '^[0-9]+ cells: ' "${logs[n]}" || head -n 1 "${logs[n]}")
    echo "${hosts[n]}: exit status $status: $summary"
    case $worst$status in [0123]4 | [012]3 | [02]1 | 02) worst=$status ;; esac
done
exit "$worst"
