#!/bin/bash
#
# Addresses and devices are those of the caller's network namespace.

# shellcheck disable=SC2317,SC2119 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 13
two_hosts

is() { # EXPECTED CMD…
	local expected=$1 said
	shift
	said=$("$@" 2>&1)
	echo "# $said"
	[[ $said == "$expected" ]]
}
peer_here=$bin/peer
check "a listens at its address" is 0 on a "$peer_here" listen 10.9.0.1
check "b listens at its address" is 0 on b "$peer_here" listen 10.9.0.2
check "a cannot listen at b's" is EADDRNOTAVAIL on a "$peer_here" listen 10.9.0.2
check "nobody else can" is EADDRNOTAVAIL "$peer_here" listen 10.9.0.1
on a ip neigh flush dev va
check "a finds b" is 0 on a "$peer_here" resolve 10.9.0.2
check "nobody else does" is ENETUNREACH "$peer_here" resolve 10.9.0.2

# The same port on both hosts.
peer b b serve 10.9.0.2 7000 --send 25 --receive 25
peer a a serve 10.9.0.1 7000 --send 25 --receive 25
check "b listens at a port" says b listening
check "and a at the same" says a listening
peer a2 a connect 10.9.0.2 7000 --send 25 --receive 25
peer b2 b connect 10.9.0.1 7000 --send 25 --receive 25
four_ended() { ended a && ended b && ended a2 && ended b2; }
check "crosswise connections" four_ended
no_hosts

# With exclusive RDMA devices they stay with the initial namespace (rxe cannot move).
# Not before the namespaces are really gone.
check "devices are made exclusive" within 10 rdma system set netns exclusive
two_hosts
check "then a has no device" is "" on a "$peer_here" fabrics
check "and cannot reach b" is ENODEV on a "$peer_here" resolve 10.9.0.2
no_hosts
check "devices are shared again" within 10 rdma system set netns shared
done_testing
