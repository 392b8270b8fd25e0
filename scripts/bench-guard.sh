#!/bin/bash
#
# Whether a handful of core operations take as many instructions as they did, in a
# machine that counts them: tools/bench/guard.json has the numbers. The last line is
# "dmaplane: N passed, N failed, N skipped".
#
# usage: scripts/bench-guard.sh        UPDATE=1: keep what is measured now

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"

out=$TREE/out/bench
mkdir -p "$out"
exec 8>"$out/lock"
flock -n 8 || die "another run uses $out"
scripts/bench-build.sh >/dev/null
say "counting instructions (about a minute)"
scripts/bench-vm.sh plain --name bench-guard --timeout 600 --log "$out/guard.console.log" --icount 1 -- \
	dmaplane-bench guest --mode icount --guard --pairs 5 >"$out/guard.samples"
# What has a part in the numbers and is not in the tree.
system="$(cat "$(scripts/guest.sh)/kernel"), $(scripts/in-root sh -c 'rustc --version | cut -d " " -f 1-2; gcc-14 -dumpfullversion' |
	paste -sd ' ' | sed 's/ \([^ ]*\)$/, gcc \1/'), $(qemu-system-x86_64 --version | sed -n '1s/.*version \([^ ]*\).*/QEMU \1/p')"
scripts/in-root out/tools/release/dmaplane-bench guard ${UPDATE:+--update} --numbers tools/bench/guard.json \
	--system "$system" "$out/guard.samples"
