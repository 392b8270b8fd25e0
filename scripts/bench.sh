#!/bin/bash
#
# Measures dmaplane side by side with what people would use instead: the same work
# on the same device in the same boot, in turns. docs/performance.md tells how.
#
# usage: scripts/bench.sh
#
# Environment:
#   BENCH=NAME…   only cases whose name or group begins with one of these
#   MODES=…       "icount wall" if not said
#   ROUNDS=N      pairs for each case and boot (7 under icount, in three boots; 21)
#   QUICK=1       one boot for each mode and three pairs
#   PROFILE=1     instead: instructions by symbol of the one case BENCH
#
# Leaves out/bench: bench.json, plots, samples. The exit status is 0 if everything could
# be run and no row that gates misses its target.

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"

out=$TREE/out/bench
read -ra modes <<<"${MODES:-icount wall}"
seeds=(1 2 3)
rounds=${ROUNDS:-} only=()
if [[ ${QUICK-} ]]; then
	seeds=(1)
	: "${rounds:=3}"
fi
for name in ${BENCH-}; do only+=(--only "$name"); done

if [[ ${PROFILE-} ]]; then
	exec scripts/bench-profile.sh ${BENCH:+"$BENCH"}
fi
scripts/bench-build.sh >/dev/null
rm -f "$out"/*.samples "$out"/*.json "$out"/*.svg

# machine NAME PAIRS MODE SEED OPTION…: its samples, and what it says as it goes.
machine() {
	local name=$1 pairs=$2 mode=$3 seed=$4
	shift 4
	scripts/bench-vm.sh --name "bench-$name" --timeout 3000 --log "$out/$name.console.log" "$@" -- \
		dmaplane-bench guest --mode "$mode" --pairs "$pairs" --seed "$seed" "${only[@]}" |
		tee "$out/$name.samples" | grep --line-buffered -v '^{' |
		while IFS= read -r line; do say "$name: ${line#bench: }"; done
}

status=0
set -m
trap 'kill -- $(jobs -p | sed "s/^/-/") 2>/dev/null || :' EXIT
for mode in "${modes[@]}"; do
	case $mode in
	icount)
		# What else the host does makes no difference.
		pids=()
		for seed in "${seeds[@]}"; do
			while (($(jobs -rp | wc -l) >= $(nproc))); do sleep 1; done
			machine "icount$seed" "${rounds:-7}" icount "$seed" --icount "$seed" &
			pids+=($!)
		done
		for pid in "${pids[@]}"; do wait "$pid" || status=1; done
		;;
	wall) machine wall "${rounds:-21}" wall 1 --cpus 2 || status=1 ;;
	*) die "MODES=$mode: there is icount and wall" ;;
	esac
done
set +m
trap - EXIT

scripts/in-root out/tools/release/dmaplane-bench report --out "$out" "${only[@]}" "$out"/*.samples || status=1
((status == 0)) || say "not everything was run, or not everything meets its target"
exit $status
