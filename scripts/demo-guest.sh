#!/bin/bash
#
# What each of the demo's two machines does; run by scripts/demo.sh.
#
# usage: demo-guest.sh prefill|decode ADDRESS PEER
#
#   prefill  computes the KV cache of a prompt, sends it, goes on decoding: this
#            is the undivided run
#   decode   receives the cache and decodes from it
#
# Results are left in /share as JSON, for the host to compare.

set -euo pipefail
role=$1 address=$2 peer=$3
tokens=48
PATH=/demo:$PATH

modprobe -a rdma_cm rdma_rxe
ip link set eth0 up
ip addr add "$address/24" dev eth0
rdma link add rxe0 type rxe netdev eth0
insmod /demo/dmaplane.ko

rnr() { cat /sys/class/infiniband/rxe0/ports/1/hw_counters/*rnr* | awk '{ n += $1 } END { print n }'; }
live() { awk -v name="$1" '$1 == name { print $2 }' /sys/kernel/debug/dmaplane/objects; }

# Whether the listener is there cannot be asked from the other machine.
wait_for() { # SECONDS COMMAND…
	local left=$1
	shift
	until "$@"; do
		((left-- > 0)) || { echo "$role: gave up waiting for: $*" >&2; exit 1; }
		sleep 1
	done
}
listening() { (($(live endpoints) > 0)); }

case $role in
prefill)
	kvdemo run --prompt /demo/README.md --tokens "$tokens" --cache /tmp/kv.safetensors >/share/undivided.json
	echo "prefill: cache of $(stat -c %s /tmp/kv.safetensors) bytes computed"
	wait_for 120 test -e /share/listening
	dmaplane kv send /tmp/kv.safetensors "$peer" --depth 8 --json >/share/send.json
	;;
decode)
	dmaplane kv recv --once --out /tmp/kv.safetensors --accept-timeout 240 --json >/share/recv.json &
	wait_for 30 listening
	touch /share/listening
	wait $!
	dmaplane info >/share/info.txt
	kvdemo decode --cache /tmp/kv.safetensors --tokens "$tokens" >/share/divided.json
	;;
esac

rnr >"/share/$role.rnr"
rmmod dmaplane
dmesg | grep -E 'WARNING|BUG|Oops|refcount_t|hung task|leaked' >"/share/$role.splats" || :
