#!/bin/bash
#
# rmmod is refused while a file, a mapping, a dma-buf, a connection or an open file of debugfs
# lives, and succeeds when it does not; what the module did can be done again after modprobe.

# shellcheck disable=SC2317,SC2119 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 18
two_hosts

# What run would see of what was abandoned is gone then.
unload() { [[ $(live abandoned) == 0 ]] && rmmod dmaplane; }
refused() {
	local said
	if said=$(unload 2>&1); then
		echo "# it was unloaded"
		load_module
		return 1
	fi
	echo "# $said"
	[[ $said == *"in use"* ]]
}
reload() { unload && [[ ! -e /dev/dmaplane && ! -e $objects ]] && load_module; }

check "unloaded and loaded" reload

for thing in file mapping dmabuf; do
	peer "$thing" a "hold-$thing"
	check "somebody has a $thing" says "$thing" holding
	check "refused while a $thing lives" refused
	check "killed" kill_peer "$thing"
	check "unloaded when it is gone" reload
done

exec 5<"$objects"
check "refused while a file of debugfs is open" refused
exec 5<&-
check "unloaded when it is closed" reload

both 10.9.0.2 --idle && says a connected && says b connected
check "refused while a connection lives" refused
kill_peer a && kill_peer b
check "unloaded when the connection is gone" reload
check "a transfer after all that" works

no_hosts
done_testing
