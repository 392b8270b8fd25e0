#!/bin/bash
#
# Who may use it: at first only root; then whom the device node's mode and group
# admit, within their RLIMIT_MEMLOCK, with no other privilege.

# shellcheck disable=SC2317,SC2119 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 6
two_hosts

as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all "$@"; }
denied() {
	local said
	said=$(as_user "$bin/peer" fabrics 2>&1)
	echo "# $said"
	[[ $said == *"Permission denied"* ]]
}
check "at first users have no access" denied

mode=$(stat -c '%a %g' /dev/dmaplane)
chgrp 1000 /dev/dmaplane
chmod 660 /dev/dmaplane
sees_devices() { [[ $(as_user "$bin/peer" fabrics | wc -l) == 2 ]]; }
check "the node's group admits them" sees_devices

# Peers with nobody's privileges, and with a limit (KiB).
user_peers() { # LIMIT OPTION…
	peer_as=(prlimit "--memlock=$(($1 * 1024))" setpriv --reuid 1000 --regid 1000 --clear-groups)
	shift
	both 10.9.0.2 "$@"
}
user_transfer() { user_peers 8192 --send 30 --receive 30 --size 10000 && ended a && ended b; }
check "they can do all that root can" user_transfer

beyond_limit() {
	user_peers 1024 --send 30 --receive 30 --size 65536
	ends_within 20 "${peer_pid[a]}"
	ends_within 20 "${peer_pid[b]}"
	cat "$peer_dir/a" "$peer_dir/b" | sed 's/^/# /'
	grep -q "memory: Disk quota exceeded" "$peer_dir/a" "$peer_dir/b"
}
check "but for their limit of locked memory" beyond_limit
check "nothing is left of it" nothing_left
check "the limit is free again" user_transfer

chmod "${mode% *}" /dev/dmaplane
chgrp "${mode#* }" /dev/dmaplane
no_hosts
done_testing
