#!/bin/bash
#
# Runs a command in a machine of the bench, which bench-build.sh has built.
#
# usage: scripts/bench-vm.sh KIND OPTION… -- COMMAND…
#
# KIND is what a case wants of it: plain, large, smp, numa or words. The options are vm.sh's.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

declare -A kinds=([plain]="--mem 2G" [large]="--mem 10G" [smp]="--mem 2G --cpus 4" [numa]="--mem 4G --numa 4")
# QEMU counts each byte of a string instruction, which kernels prefer where they are called fast.
kinds[words]="${kinds[numa]} --qemu -cpu --qemu max,-rdrand,-rdseed,-erms,-fsrm"
options=()
read -ra kind <<<"${kinds[$1]}"
shift
while [[ $1 != -- ]]; do
	options+=("$1")
	shift
done
# With the security modules that Debian's kernel has when nobody asks for others.
exec "$TREE/scripts/vm.sh" run "${kind[@]}" --append apparmor=1 --overlay "$TREE/out/bench/overlay" \
	"${options[@]}" -- /bench/bench-guest.sh "${@:2}"
