#!/usr/bin/env bash
# `avocado run` with this project's plugin and settings; it writes to this project only:
#
#     ci/avocado/run.sh [-p NAME=VALUE ...] [-t requirement:ORD-1] REFERENCE...
#
# A reference is a folder, a file or a node id of pytest.  Parameters: qemu, qemu_dst,
# trace_events, channels, keep_runs.  The results are in runs/avocado/latest.  The job ends after
# $AVOCADO_LIMIT (default 2h), because avocado waits without a limit for a runner that was killed.
# Exit status: that of avocado; 124 for the limit.
set -eu

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
conf=$(mktemp)
trap 'rm -f -- "$conf"' EXIT
{
    cat ci/avocado/avocado.conf
    printf '\n[datadir.paths]\n'
    printf '%s = %s\n' base_dir "$PWD/.cache/avocado" test_dir "$PWD/tests" \
        data_dir "$PWD/.cache/avocado/data" logs_dir "${AVOCADO_RESULTS:-$PWD/runs/avocado}"
    printf 'cache_dirs = ["%s"]\n' "$PWD/.cache/avocado/cache"
} >"$conf"
timeout --foreground --kill-after=120 "${AVOCADO_LIMIT:-2h}" .venv/bin/avocado --config "$conf" run "$@"
