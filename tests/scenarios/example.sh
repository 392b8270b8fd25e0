#!/bin/bash
#
# The example for C programs says what it did, and what is wrong if it could not.

# shellcheck disable=SC2317 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 2

copies() { [[ $("$bin/copy") == $'fill: 1048576 bytes\ncopy: 1048576 bytes\ncopied: 1048576 bytes of 1048576' ]]; }
check "fills and copies" copies

# Both buffers are more than 1 MiB of locked memory.
beyond_limit() {
	local said
	if said=$(prlimit --memlock=1100000 setpriv --bounding-set=-ipc_lock --inh-caps=-all "$bin/copy" 2>&1); then return 1; fi
	echo "# $said"
	[[ $said == "buffer: Disk quota exceeded" ]]
}
check "says what failed" beyond_limit
done_testing
