#!/usr/bin/env bash
# Install Debian packages: ci/apt-install.sh PACKAGE...
#
# The package lists are refreshed only if the installation fails without that, so a
# machine that has fresh ones stays quick and one whose lists are empty works too.
# Where it cannot install it says so in one line on stderr and ends with status 3.
set -eu

command_line="apt-get update && apt-get install --yes --no-install-recommends $*"

give_up() {
    echo "set-up: missing: $*" >&2
    exit 3
}

command -v apt-get >/dev/null ||
    give_up "$*; there is no apt-get here: install by this system's own package manager"
[ "$(id -u)" -eq 0 ] || give_up "$*; as root: $command_line"

export DEBIAN_FRONTEND=noninteractive
apt=(apt-get --quiet --option DPkg::Lock::Timeout=300 --option Acquire::Retries=3)
install=("${apt[@]}" install --yes --no-install-recommends --option Dpkg::Use-Pty=0 "$@")

"${install[@]}" </dev/null && exit 0
{ "${apt[@]}" update && "${install[@]}"; } </dev/null ||
    give_up "$*; no network, or no such package? as root: $command_line"
