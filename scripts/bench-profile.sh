#!/bin/bash
#
# Where the instructions of a case go, on both sides, by symbol.
#
# usage: scripts/bench-profile.sh CASE     "make bench PROFILE=1 BENCH=CASE" calls it
#
# Four boots, two for each side, which differ by some blocks of work and by nothing
# else; QEMU counts what they execute (tools/bench/profile/count.c).

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"

(($# == 1)) || die "a profile is of one case" "name it: make bench PROFILE=1 BENCH=ring.nop.batch32"
case=$1 few=2 many=6
out=$TREE/out/bench/profile
scripts/bench-build.sh >/dev/null
rm -rf "$out"
mkdir -p "$out"
scripts/in-root gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$out/count.so" tools/bench/profile/count.c

kind=$(scripts/in-root out/tools/release/dmaplane-bench list --mode icount --only "$case" |
	awk -v case="$case" '$1 == case { print $4 }')
[[ $kind ]] || die "there is no case $case" "out/tools/release/dmaplane-bench list tells which there are"

boot() { # SIDE COUNT
	scripts/bench-vm.sh "$kind" --name "profile-$1-$2" --timeout 900 --log "$out/$1.$2.console.log" --icount 1 \
		--qemu -plugin --qemu "$out/count.so,out=$out/$1.$2.insns" -- \
		dmaplane-bench blocks "$case" "$1" "$2" >"$out/$1.$2.said" ||
		die "$case cannot be run: $(tail -n 3 "$out/$1.$2.said")"
}
set -m
trap 'kill -- $(jobs -p | sed "s/^/-/") 2>/dev/null || :' EXIT
for side in ours theirs; do
	say "profile of $case, $side"
	boot $side $few &
	boot $side $many
	wait $! || exit
done
set +m
trap - EXIT
scripts/in-root out/tools/release/dmaplane-bench profile "$out" $few $many
