#!/usr/bin/env bash
# Install Debian packages: ci/apt-install.sh PACKAGE...
#
# Updates the package lists only if the installation fails without that, so that it is fast with
# current lists and works with empty ones.  If it cannot install, it prints one line on stderr and
# exits with status 3.
set -eu

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
command_line="apt-get update && apt-get install --yes --no-install-recommends $*"

give_up() {
    echo "set-up: missing: $*" >&2
    exit 3
}

command -v apt-get >/dev/null ||
    give_up "$*; no apt-get: install it with the package manager of this system"
[ "$(id -u)" -eq 0 ] || give_up "$*; run as root: $command_line"

mkdir -p "$here/.cache"
exec 7>"$here/.cache/apt.lock"
flock 7 # `apt-get update` fails where another one runs

export DEBIAN_FRONTEND=noninteractive
apt=(apt-get --quiet --option DPkg::Lock::Timeout=300 --option Acquire::Retries=3)
install=("${apt[@]}" install --yes --no-install-recommends --option Dpkg::Use-Pty=0 "$@")

"${install[@]}" </dev/null && exit 0
{ "${apt[@]}" update && "${install[@]}"; } </dev/null ||
    give_up "$*; no network, or no such package? Run as root: $command_line"
