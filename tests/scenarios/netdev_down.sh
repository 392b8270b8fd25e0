#!/bin/bash
#
# The network goes away under a transfer: the interface is set down, the cable
# is cut, the interface is deleted. Both sides end in bounded time.

# shellcheck disable=SC2317,SC2119 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 7
two_hosts

down() {
	flows && ip -n "$1" link set "v$1" down && ended a && ended b
}
# Soft-RoCE's own queue pair for connections does not survive an interface that
# goes down under load (rping cannot connect afterwards, either, with or without
# this module), so both get new RDMA devices.
up_again_and_works() {
	local host
	ip -n "$1" link set "v$1" up
	within 10 carrier a && within 10 carrier b || return
	for host in a b; do no_rdma_link "$host" && rdma_link "$host" || return; done
	works
}
carrier() { on "$1" grep -q 1 "/sys/class/net/v$1/carrier"; }

for host in a b; do
	check "interface down at $host" down "$host"
	check "works when it is up again" up_again_and_works "$host"
done

# The pair goes as a whole, and with each interface its RDMA device.
delete_interface() { flows && ip -n a link del va && ended a && ended b; }
check "interface deleted" delete_interface
check "nothing is left" nothing_left
no_devices() { [[ -z $("$bin/peer" fabrics) ]]; }
check "nor a device" within 10 no_devices

no_hosts
done_testing
