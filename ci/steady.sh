#!/usr/bin/env bash
# Run the tests again and again on a busy machine: ci/steady.sh [ROUNDS [COMMAND]...]
#
# Runs each COMMAND (a simple one; default: make check) ROUNDS times (default: 20), while other processes keep all
# processors busy.  Prints how each round ended, and at the end each test that failed and in how many
# rounds.  The logs stay in .cache/steady.
#
# STEADY_LOAD: number of busy processes (default: one for each processor); 0 for a quiet machine.
# Exit status: 0 all rounds passed, 1 one failed, 3 the rounds could not be run, 4 usage.
set -eu

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
rounds=${1:-20}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- 'make check'
load=${STEADY_LOAD:-$(nproc)}

fail() { # STATUS MESSAGE
    echo "steady: $2" >&2
    exit "$1"
}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || fail 4 "$rounds is not a number of rounds"
[[ $load =~ ^[0-9]+$ ]] || fail 4 "STEADY_LOAD: $load is not a number of processes"

. images/work.sh
logs=.cache/steady
mkdir -p "$logs"
exec 8>"$logs/lock"
flock --nonblock 8 || fail 3 "another ci/steady.sh is running: $PWD/$logs/lock is held"
work_in "$logs" work
rm -f -- "$logs"/*.log

# They end with this script, also if it is killed.
busy=()
for ((count = 0; count < load; count++)); do
    setpriv --pdeathsig KILL sh -c 'while :; do :; done' 8>&- &
    busy+=($!)
    disown
done
trap 'kill -KILL "${busy[@]}" 2>/dev/null || true; clean_up' EXIT

failed=0
for ((round = 1; round <= rounds; round++)); do
    number=0
    for command; do
        number=$((number + 1))
        log=$logs/round-$round-$number.log
        started=$SECONDS status=0
        killable sh -c "exec $command" </dev/null >"$log" 2>&1 8>&- || status=$?
        echo "steady: round $round of $rounds: $command: exit status $status after" \
            "$((SECONDS - started)) s; $log"
        [ "$status" -eq 0 ] || failed=$((failed + 1))
        grep -E '^(FAILED|ERROR) ' "$log" | cut --delimiter=' ' --fields=1,2 |
            tee -a "$work/failed" | sed 's/^/    /' || true
    done
done
[ ! -s "$work/failed" ] || {
    echo "steady: failed tests, by the number of rounds:"
    sort "$work/failed" | uniq --count | sort --reverse --numeric-sort
}
[ "$failed" -eq 0 ] || exit 1
