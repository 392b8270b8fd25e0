#!/bin/bash
#
# On a machine with an IOMMU, where a disk reaches what is mapped for it and nothing else:
# direct I/O to buffers, and not a fault.

# shellcheck disable=SC2317 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 3
one_host
[[ -e $objects ]] || load_module

# "DMA": a domain of its own, and what is unmapped is forgotten at once.
behind_it() {
	local type
	modprobe nvme && within 20 test -e /sys/block/nvme0n1 || return
	type=$(<"/sys/block/nvme0n1/device/device/iommu_group/type")
	echo "# $type"
	[[ $type == DMA ]]
}

direct_io() {
	"$bin/direct_io" >"$work/said" 2>&1 &&
		grep -q '^# Totals: pass:[1-9][0-9]* fail:0 .* skip:0' "$work/said" && return
	sed 's/^/# /' "$work/said"
	return 1
}

no_fault() {
	! dmesg | grep -i 'dmar.*fault' | sed 's/^/# /' | grep .
}

work=$(mktemp -d)
check "the disk is behind it" behind_it
check "direct I/O to buffers" direct_io
check "nothing was reached that was not mapped" no_fault
rm -r "$work"
no_host
done_testing
