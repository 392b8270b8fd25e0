#!/bin/bash
#
# What a machine of the bench does; run by scripts/bench.sh: a network device that
# leads nowhere with Soft-RoCE on it, then whatever is asked for.
#
# usage: bench-guest.sh COMMAND…

set -euo pipefail
PATH=/bench:$PATH
modprobe -a dummy rdma_rxe rdma_cm ib_uverbs rdma_ucm
ip link add bench0 mtu 4200 type dummy
ip addr add 10.9.0.1/24 dev bench0
ip link set bench0 up
rdma link add rxe0 type rxe netdev bench0
insmod /bench/dmaplane.ko
ibv_devinfo -d rxe0 | grep -q 'active_mtu:.*4096' || { echo "the path MTU is not 4096" >&2; exit 1; }
ulimit -l unlimited
exec "$@"
