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
#   ROUNDS=N      pairs for each case and boot: 7 in three boots under icount, by the
#                 clock, of which boots are not alike, one in six
#   QUICK=1       one boot for each mode and three pairs
#   FRAGMENT_S=N  for how many seconds memory is used by others before it is looked at how
#                 fragmented it is (5); 1800 is what the targets are of
#   PROFILE=1     instead: instructions by symbol of the one case BENCH
#
# Leaves out/bench: bench.json, plots, samples. The exit status is 0 if everything could
# be run and no row that gates misses its target.

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"

out=$TREE/out/bench
read -ra modes <<<"${MODES:-icount wall}"
seeds=(1 2 3) wall_seeds=(1 2 3 4 5 6)
rounds=${ROUNDS:-} only=()
if [[ ${QUICK-} ]]; then
	seeds=(1) wall_seeds=(1)
	: "${rounds:=3}"
fi
for mode in "${modes[@]}"; do
	[[ $mode == icount || $mode == wall ]] || die "MODES=$mode: there is icount and wall"
done
for name in ${BENCH-}; do only+=(--only "$name"); done

if [[ ${PROFILE-} ]]; then
	exec scripts/bench-profile.sh ${BENCH:+"$BENCH"}
fi
mkdir -p "$out"
exec 8>"$out/lock"
flock -n 8 || die "another run uses $out"
scripts/bench-build.sh >/dev/null
list() { scripts/in-root out/tools/release/dmaplane-bench list "$@"; }
for name in ${BENCH-}; do
	[[ $(list --only "$name") ]] ||
		die "BENCH=$name: there is no such case or group" "there are: $(list | awk '{ print $2 }' | sort -u | paste -sd ' ')"
done
rm -f "$out"/{icount,wall}-*.samples "$out"/*.json "$out"/*.svg

# machine NAME PAIRS MODE KIND SEED OPTION…: its samples, and what it says as it goes.
machine() {
	local name=$1 pairs=$2 mode=$3 kind=$4 seed=$5
	shift 5
	scripts/bench-vm.sh "$kind" --name "bench-$name" --timeout $((3000 + ${FRAGMENT_S:-5})) --log "$out/$name.console.log" "$@" -- \
		dmaplane-bench guest --mode "$mode" --machine "$kind" --pairs "$pairs" --seed "$seed" \
		--before "${FRAGMENT_S:-5}" "${only[@]}" |
		tee "$out/$name.samples" | grep --line-buffered -v '^{' |
		while IFS= read -r line; do say "$name: ${line#bench: }"; done
}

status=0 plans=()
set -m
trap 'kill -- $(jobs -p | sed "s/^/-/") 2>/dev/null || :' EXIT
wanted() { [[ $(list --mode "$1" --machine "$2" "${only[@]}") ]]; }
for mode in "${modes[@]}"; do
	pids=()
	case $mode in
	icount) plans+=(--plan "icount:${rounds:-7}x${#seeds[@]}") ;;
	wall) plans+=(--plan "wall:${rounds:-1}x${#wall_seeds[@]}") ;;
	esac
	for kind in plain large smp numa words; do
		wanted "$mode" "$kind" || continue
		if [[ $mode == wall ]]; then
			for seed in "${wall_seeds[@]}"; do
				machine "wall-$kind$seed" "${rounds:-1}" wall "$kind" "$seed" --cpus 2 || status=1
			done
			continue
		fi
		for seed in "${seeds[@]}"; do
			# Two of those that are large are too many for most, and these are only told.
			[[ $kind != large && $kind != numa || $seed == "${seeds[0]}" ]] || break
			# What else the host does makes no difference.
			while (($(jobs -rp | wc -l) >= $(nproc))); do sleep 1; done
			machine "icount-$kind$seed" "${rounds:-7}" icount "$kind" "$seed" --icount "$seed" &
			pids+=($!)
		done
	done
	for pid in "${pids[@]}"; do wait "$pid" || status=1; done
done
set +m
trap - EXIT

shopt -s nullglob
scripts/in-root out/tools/release/dmaplane-bench report --out "$out" "${only[@]}" "${plans[@]}" "$out"/{icount,wall}-*.samples ||
	status=1
((status == 0)) || say "not everything was run, or not everything meets its target"
exit $status
