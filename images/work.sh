# shellcheck shell=bash
# Shared by the recipes: a work folder, and child processes that a signal ends.  Sourced in the
# folder of the project.  (harness/vm/fetch.sh has its own copy: it is installed without this file.)
#
# After `work_in FOLDER NAME` (with the lock of FOLDER held) $work is an empty folder in FOLDER.  When
# the recipe ends, the child of `killable` ends and $work is removed.  The next `work_in` removes the
# folder of a recipe that was killed.

work=
child=

clean_up() {
    trap '' HUP INT TERM # a second signal would interrupt the clean-up
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    [ -z "$work" ] || rm -rf -- "$work"
}

work_in() { # FOLDER NAME
    rm -rf -- "$1/.$2".* # not in use: the lock is ours
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    work=$(mktemp -d -- "$PWD/$1/.$2.XXXXXX")
}

# Run COMMAND in the background and wait for it, so that a signal is handled at once.
killable() { # COMMAND...
    local status=0
    "$@" &
    child=$!
    wait "$child" || status=$?
    child=
    return "$status"
}
