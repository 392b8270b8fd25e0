#!/bin/bash
#
# kill -9 in the middle of a transfer: the other side gets errors, each of its
# entries one completion, and both can begin anew; nothing of the dead is left.

# shellcheck disable=SC2317,SC2119 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 8
two_hosts

kill_one() { # VICTIM SURVIVOR VICTIM'S-OPTION SURVIVOR'S-OPTION
	if [[ $1 == a ]]; then
		a_options=("$3" -1) b_options=("$4" -1)
	else
		a_options=("$4" -1) b_options=("$3" -1)
	fi
	both 10.9.0.2 --ends && says a flowing && says b flowing && kill_peer "$1" && ended "$2"
}

check "receiver killed" kill_one b a --receive --send
check "sender killed" kill_one a b --send --receive
check "receiver that connected killed" kill_one a b --receive --send
check "sender that accepted killed" kill_one b a --send --receive

kill_in_both_ways() {
	flows && kill_peer "$1" && ended "$2"
}
check "killed while it sends and receives" kill_in_both_ways a b
kill_both() {
	flows --size 500000 --entries 16 && kill -KILL "${peer_pid[a]}" && kill_peer b
	ends_within 20 "${peer_pid[a]}" 2>/dev/null
	[[ $? == 137 ]]
}
check "both killed" kill_both
check "nothing of the dead is left" nothing_left
check "the next ones work" works

no_hosts
done_testing
