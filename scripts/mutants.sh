#!/bin/bash
#
# Whether the tests would notice: each patch of tests/mutants breaks the module in
# one way, and the tests that its text names must fail on the instrumented kernel.
# Before that the same tests must pass without it, or their failing says nothing.
#
# usage: scripts/mutants.sh [NAME…]
#
# Output: a line for each mutant, caught (and by what) or SURVIVED, and the sums.
# The exit status is 0 only if all were caught. What the tests said is kept in
# out/mutants/NAME.log.

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"
logs=$TREE/out/mutants
copy=$logs/tree # one for all: only what a mutant touches is built anew
export DMAPLANE_KERNEL=debug

mutants=("$@")
((${#mutants[@]})) || mapfile -t mutants < <(basename -as .patch tests/mutants/*.patch)
field() { sed -n "s/^$2: //p" "tests/mutants/$1.patch"; }
for mutant in "${mutants[@]}"; do
	[[ -e tests/mutants/$mutant.patch ]] ||
		die "there is no tests/mutants/$mutant.patch" "there are: $(basename -as .patch tests/mutants/*.patch | paste -sd ' ')"
	[[ $(field "$mutant" Tests) ]] || die "tests/mutants/$mutant.patch names no tests"
done

# What is there now, committed or not. It is all newer than what an earlier run built,
# which may have been a mutant.
mkdir -p "$copy"
find "$copy" -mindepth 1 -maxdepth 1 ! -name out -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
	[[ ! -e $file ]] || printf '%s\0' "$file"
done | xargs -0 cp --parents -t "$copy"

run_tests() { # LOG NAME…: in the copy
	local log=$1
	shift
	"$copy/scripts/test.sh" "$@" >"$logs/$log.log" 2>&1
}

# The tests that failed, and the first thing that the kernel complained of.
reasons() {
	sed -n 's/^failed \(.*\)/\1/p' "$logs/$1.log" | head -n 3 | paste -sd ',' | sed 's/,/, /g'
	grep -ohE 'BUG: KASAN: [a-z-]+|possible circular locking|inconsistent lock state|sleeping function called|refcount_t: [a-z ]+|kernel BUG|UBSAN: [a-z-]+|unreferenced object|# left: .*|receiver not ready: [1-9][0-9]* times|over its time limit|the machine died' \
		"$logs/$1.log" | sort -u | head -n 3 | sed 's/^/    /'
}

mapfile -t union < <(for mutant in "${mutants[@]}"; do field "$mutant" Tests; done | tr ' ' '\n' | sort -u)
say "without a mutant: ${union[*]}"
if ! run_tests none "${union[@]}"; then
	reasons none
	die "these tests fail without any mutant: first mend that" "what they said: $logs/none.log"
fi

caught=0 survived=0 broken=0 number=0
for mutant in "${mutants[@]}"; do
	number=$((number + 1))
	say "$mutant ($number of ${#mutants[@]})"
	patch=$TREE/tests/mutants/$mutant.patch
	if ! patch -s -d "$copy" -p0 --no-backup-if-mismatch <"$patch" >"$logs/$mutant.log" 2>&1; then
		echo "cannot be tried  $mutant: it does not apply any more"
		broken=$((broken + 1))
		# Whatever did apply.
		git ls-files -z src rust | xargs -0 cp --parents -t "$copy"
		continue
	fi
	read -ra names <<<"$(field "$mutant" Tests)"
	if run_tests "$mutant" "${names[@]}"; then
		echo "SURVIVED  $mutant: passed all of ${names[*]}"
		survived=$((survived + 1))
	elif ! grep -q '^dmaplane: .* passed, ' "$logs/$mutant.log"; then
		echo "cannot be tried  $mutant: it does not build (out/mutants/$mutant.log)"
		broken=$((broken + 1))
	else
		echo "caught  $mutant: $(reasons "$mutant")"
		caught=$((caught + 1))
	fi
	patch -s -R -d "$copy" -p0 --no-backup-if-mismatch <"$patch"
done
echo "mutants: $caught caught, $survived survived, $broken could not be tried"
((survived == 0 && broken == 0))
