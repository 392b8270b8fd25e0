#!/bin/bash
#
# Completions are handled by whoever waits for them. One that waits and is stopped, by a
# signal or by the freezer, handles none: then the kernel does, so that the peer gets
# its credits and is done.

# shellcheck disable=SC2317 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 4
two_hosts

# b waits, with room for all that a sends; a needs credits again and again.
begin() {
	a_options=(--send 28 --receive 0 --slow 100) b_options=(--send 0 --receive 28)
	both 10.9.0.2 && says a connected && says b connected
}
finish() { ended a && ended b; }
by_signal() {
	begin && kill -STOP "${peer_pid[b]}" && says a through && kill -CONT "${peer_pid[b]}" && finish
}
freezer=/sys/fs/cgroup/frozen
by_freezer() {
	mkdir -p "$freezer" && begin && echo "${peer_pid[b]}" >"$freezer/cgroup.procs" &&
		echo 1 >"$freezer/cgroup.freeze" && says a through && echo 0 >"$freezer/cgroup.freeze" && finish
}
check "the peer of one that is stopped is done" by_signal
check "the peer of one that is frozen is done" by_freezer
check "nothing is left" nothing_left
check "works afterwards" works

no_hosts
rmdir "$freezer" 2>/dev/null
done_testing
