#!/bin/bash
#
# Two hosts, which are network namespaces joined by a virtual cable: transfers
# one way, both ways at once, over IPv4 and IPv6, of all sizes and depths; a slow
# receiver; a lossy cable. No adapter may ever report receiver-not-ready.

# shellcheck disable=SC2317,SC2119 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 11
two_hosts

run_both() { # NAME ADDRESS OPTION…
	local name=$1 ok=0
	shift
	both "$@" && ended a && ended b || ok=1
	result "$ok" "$name"
}

a_options=(--send 60) b_options=(--receive 60)
run_both "one way" 10.9.0.2
a_options=(--receive 60) b_options=(--send 60)
run_both "the other way" 10.9.0.2
a_options=() b_options=()
run_both "both ways at once" 10.9.0.2 --send 100 --receive 100
run_both "both ways over IPv6" fd09::2 --send 40 --receive 40 --size 10000
run_both "many small ones" 10.9.0.2 --send 1500 --receive 1500 --size 64 --depth 32 --entries 128
run_both "few large ones" 10.9.0.2 --send 6 --receive 6 --size 1000003 --depth 3 --entries 8
run_both "depth 1" 10.9.0.2 --send 100 --receive 100 --size 5000 --depth 1 --entries 4
a_options=(--send 80) b_options=(--receive 80 --slow 5)
run_both "slow receiver" 10.9.0.2 --size 4096 --depth 4 --entries 8
check "never receiver not ready" no_rnr

# The connection manager's and the queue pairs' own repetition have to do.
cable loss 2%
a_options=() b_options=()
run_both "lossy cable" 10.9.0.2 --send 40 --receive 40 --size 20000
cable
check "still never receiver not ready" no_rnr

no_hosts
done_testing
