#!/bin/bash
#
# RDMA devices that go away (rdma link del) at either side while data flows,
# while nothing flows, after their users died, while somebody listens: all ends
# in bounded time, and with the device back everything works again.

# shellcheck disable=SC2317,SC2119 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 15
two_hosts

delete_link() { no_rdma_link "$1"; }

delete_while_flowing() {
	flows && delete_link "$1" && ended a && ended b
}
for host in a b; do
	check "deleted while data flows, at $host" delete_while_flowing "$host"
	check "nothing is left" nothing_left
	check "the device comes back" rdma_link "$host"
	check "and works" works
done

# The users are there and do nothing; the device goes without them.
delete_while_idle() {
	both 10.9.0.2 --idle && says a connected && says b connected &&
		delete_link a && delete_link b && kill_peer a && kill_peer b
	local good=$?
	rdma_link a && rdma_link b && return "$good"
}
check "deleted while nothing flows" delete_while_idle

delete_after_death() {
	flows && kill -KILL "${peer_pid[a]}" "${peer_pid[b]}" && delete_link b && delete_link a
	local good=$?
	rdma_link a && rdma_link b && return "$good"
}
check "deleted when the users have just died" delete_after_death

delete_under_listener() {
	peer b b serve 10.9.0.2 7000
	says b listening && delete_link b && says b "REQUEST: No such device" &&
		ends_within 10 "${peer_pid[b]}"
	[[ $? == 1 ]] && rdma_link b
}
check "deleted under a listener" delete_under_listener

numbers_are_new() {
	local before after
	before=$("$bin/peer" fabrics | cut -d ' ' -f 1)
	delete_link a && rdma_link a
	after=$("$bin/peer" fabrics | cut -d ' ' -f 1)
	echo "# before: ${before//$'\n'/ }, after: ${after//$'\n'/ }"
	[[ $(wc -w <<<"$after") == 2 && $(sort <<<"$before"$'\n'"$after" | uniq -d | wc -l) == 1 ]]
}
check "a device that comes back has a new number" numbers_are_new

# The driver of the devices goes, or refuses to; it takes the devices along.
driver_unloaded() {
	flows || return
	if timeout $((30 * slow)) rmmod "$rdma_driver"; then
		ended a && ended b
	else
		echo "# rmmod $rdma_driver was refused"
		delete_link a && delete_link b && ended a && ended b
	fi
}
check "their driver is unloaded while data flows" driver_unloaded
check "nothing is left" nothing_left
modprobe "$rdma_driver"
no_rdma_link a 2>/dev/null
no_rdma_link b 2>/dev/null
rdma_link a && rdma_link b
check "it works with the driver loaded again" works

no_hosts
done_testing
