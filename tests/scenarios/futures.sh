#!/bin/bash
#
# The library's futures, by its example: copies in a hundred tasks, messages that are received and
# counted, a wait that is given up; pieces of a pool; and a dma-buf that outlives its context. It does all of it twice, on one thread and on several.

# shellcheck disable=SC2317 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 2

# both LINE…: what the program said, if it is this twice.
both() {
	local once said
	once=$(printf '%s\n' "$@")
	said=$(cat "$work/said")
	[[ $said == "$once"$'\n'"$once" ]] && return
	sed 's/^/# /' "$work/said"
	return 1
}

work=$(mktemp -d)
shared="shared: seen by who has the descriptor"
copied="copies: 100 right, 3891200 bytes"

copies() { "$bin/futures" >"$work/said" && both "$shared" "$copied" "left: 0 channels, 0 endpoints"; }
check "copies" copies

# Over iWARP each message is refused, which its future says.
messages() {
	local pool=("pool: 16 pieces, read into a piece" "pool: 16 of 16 as they were")
	local said=("received: 50, sum 1225" "counted: 50")
	[[ $rdma_type == rxe ]] || said=("refused: 100")
	"$bin/futures" 10.77.0.1 >"$work/said" &&
		both "$shared" "$copied" "${pool[@]}" "${said[@]}" "canceled" "left: 0 channels, 0 endpoints"
}
one_host
load_module
check "messages" messages
no_host
rm -r "$work"
done_testing
