#!/bin/bash
#
# A shell in a virtual machine with the module loaded, Soft-RoCE on a dummy
# network card (10.0.0.1, MTU 4200), and the tools on the PATH.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

module=$("$TREE/scripts/module.sh")
tools=$("$TREE/scripts/tools.sh")
# In the tree, where the build root sees it.
mkdir -p "$TREE/out"
overlay=$(mktemp -d "$TREE/out/shell.XXXXXX")
trap 'rm -rf "$overlay"' EXIT
mkdir -p "$overlay/usr/local/bin" "$overlay/root"
cp "$module" "$overlay/root"
cp "$tools/dmaplane" "$tools/kvdemo" "$overlay/usr/local/bin"
"$TREE/scripts/in-root" strip -d "$overlay/root/dmaplane.ko"
cat >"$overlay/root/.bash_profile" <<'END'
modprobe -a rdma_cm rdma_rxe dummy
ip link add net0 type dummy
ip link set net0 mtu 4200 up
ip addr add 10.0.0.1/24 dev net0
rdma link add rxe0 type rxe netdev net0
insmod /root/dmaplane.ko
END
"$TREE/scripts/vm.sh" shell --overlay "$overlay" "$@"
