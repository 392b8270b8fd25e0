#!/bin/bash
#
# Runs a command in a machine of the bench, which bench-build.sh has built.
#
# usage: scripts/bench-vm.sh OPTION… -- COMMAND…     the options are vm.sh's

set -euo pipefail
. "$(dirname "$0")/lib.sh"

options=()
while [[ $1 != -- ]]; do
	options+=("$1")
	shift
done
# With the security modules that Debian's kernel has when nobody asks for others.
exec "$TREE/scripts/vm.sh" run --mem 2G --append apparmor=1 --overlay "$TREE/out/bench/overlay" \
	"${options[@]}" -- /bench/bench-guest.sh "${@:2}"
