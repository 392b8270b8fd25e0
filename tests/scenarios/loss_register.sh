#!/bin/bash
#
# Memory is registered while data flows over a cable that loses packets. An adapter
# repeats what was lost; Soft-RoCE repeats registrations behind it as well, and ends the
# connection because of that, unless nothing is in flight when they are posted.

# shellcheck disable=SC2317,SC2154 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 2
two_hosts

lost=0
registers() {
	cable loss 5% && transfer 10.9.0.2 --send 100 --receive 100 --size 1000 --register || return
	lost=$(dropped)
}
check "memory is registered while 5 % are lost" registers
check "and packets were lost" really "$lost"

no_hosts
done_testing
