# shellcheck shell=bash
# What the recipes share: a work folder, and children that a signal reaches.  Sourced, in
# the project's folder.  (harness/vm/fetch.sh has its own: it is installed without this file.)
#
# After `work_in FOLDER NAME` (with the folder's lock held) $work is an empty folder below
# FOLDER.  However the recipe ends, the child of `killable` is ended and $work goes away;
# what a recipe that was killed had left goes at the next `work_in`.

work=
child=

clean_up() {
    trap '' HUP INT TERM # once is enough: a second one would leave it half done
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    [ -z "$work" ] || rm -rf -- "$work"
}

work_in() { # FOLDER NAME
    rm -rf -- "$1/.$2".* # nobody is in it: we have the lock
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    work=$(mktemp -d -- "$PWD/$1/.$2.XXXXXX")
}

# Run COMMAND in the background and wait for it, so that a signal does not have to.
killable() { # COMMAND...
    local status=0
    "$@" &
    child=$!
    wait "$child" || status=$?
    child=
    return "$status"
}
