#!/bin/bash
#
# Whether the tests would notice: each patch of tests/mutants breaks the module in
# one way, and the tests that it names must say so on the instrumented kernel.
# Before that the same tests must pass without it, or their failing says nothing.
#
# usage: scripts/mutants.sh [NAME…]
#
# The text before a patch says what is broken, and has these lines:
#
#   Tests: NAME…         programs and scenarios; the fewer the better, and one part
#                        of scripts/test.sh at best, as each boots a machine
#   Expect: REGEX        a line that the tests or the kernel then say, once the
#                        module is there: a machine that did not boot, or a test that
#                        fails for another reason, is none, nor is one said anyway
#   Env: VAR=VALUE…      for scripts/test.sh: how much, how long (optional);
#                        RUN=bench-guard has make bench-guard run instead
#
# Output: a line for each mutant: caught, SURVIVED or RED, but not for its reason,
# and the sums. The exit status is 0 only if all were caught. What was said is kept in
# out/mutants/NAME: tests.log and the parts' logs and consoles. AT_ONCE=1 tries
# one after the other instead of two together.

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"
logs=$TREE/out/mutants
export DMAPLANE_KERNEL=debug
# A mutant that hangs takes as long as that.
export DMAPLANE_LIMIT=${DMAPLANE_LIMIT:-25} PATIENCE=${PATIENCE:-20}

mutants=("$@")
((${#mutants[@]})) || mapfile -t mutants < <(basename -as .patch tests/mutants/*.patch)
field() { sed -n "/^--- /q; s/^$2: //p" "tests/mutants/$1.patch"; }
for mutant in "${mutants[@]}"; do
	[[ -e tests/mutants/$mutant.patch ]] ||
		die "there is no tests/mutants/$mutant.patch" "there are: $(basename -as .patch tests/mutants/*.patch | paste -sd ' ')"
	for name in Tests Expect; do
		[[ $(field "$mutant" $name) ]] || die "tests/mutants/$mutant.patch has no line \"$name:\""
	done
done

# What is there now, committed or not, in a copy for each of those that are tried at
# once. It is all newer than what an earlier run built, which may have been a mutant.
slots=()
for ((slot = 1; slot <= ${AT_ONCE:-2}; slot++)); do
	copy=$logs/tree.$slot
	mkdir -p "$copy"
	find "$copy" -mindepth 1 -maxdepth 1 ! -name out -exec rm -rf {} +
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
		[[ ! -e $file ]] || printf '%s\0' "$file"
	done | xargs -0 cp --parents -t "$copy"
	slots+=("$slot")
done

# try SLOT NAME ENV TEST…: the tests, with the patch of that name if there is one.
# Leaves out/mutants/NAME: what was said, what of it counts, and the verdict.
try() {
	local copy=$logs/tree.$1 name=$2 kept=$logs/$2 vars=() run begin=$SECONDS rc=0 patch file expect line
	read -ra vars <<<"$3"
	shift 3
	rm -rf "$kept"
	mkdir -p "$kept"
	patch=$TREE/tests/mutants/$name.patch
	if [[ -e $patch ]] && ! patch -s -d "$copy" -p0 --no-backup-if-mismatch <"$patch" >"$kept/tests.log" 2>&1; then
		verdict "$name" broken "cannot be tried" "it does not apply any more"
		# Whatever did apply.
		git ls-files -z src rust | xargs -0 cp --parents -t "$copy"
		return
	fi
	rm -f "$copy"/out/test-debug/*.log*
	run=("$copy/scripts/test.sh" "$@")
	[[ " ${vars[*]} " != *" RUN=bench-guard "* ]] ||
		run=(env -u DMAPLANE_KERNEL "$copy/scripts/bench-guard.sh")
	env "${vars[@]}" "${run[@]}" >"$kept/tests.log" 2>&1 || rc=$?
	for file in "$copy"/out/test-debug/*.log*; do
		[[ -e $file ]] || continue
		mv "$file" "$kept/"
		case $file in
		*.console.log) awk '/dmaplane: loading|dmaplane-test: / { on = 1 } on' "$kept/${file##*/}" ;;
		*.log) cat "$kept/${file##*/}" ;;
		esac
	done >"$kept/evidence"
	[[ ${run[0]} != env ]] || cp "$kept/tests.log" "$kept/evidence"
	if [[ ! -e $patch ]]; then
		echo "$rc" >"$kept/verdict"
		return
	fi
	patch -s -R -d "$copy" -p0 --no-backup-if-mismatch <"$patch" ||
		git ls-files -z src rust | xargs -0 cp --parents -t "$copy"
	expect=$(field "$name" Expect)
	line=$(grep -aEm 1 -e "$expect" "$kept/evidence" | sed -E 's/^(\[[^]]*\])*[# \t]*//' | cut -c 1-120) || :
	name+=" ($((SECONDS - begin)) s)"
	if ((!rc)); then
		verdict "$name" survived SURVIVED "passed all of $*"
	elif ! grep -q '^dmaplane: .* passed, ' "$kept/tests.log"; then
		verdict "$name" broken "cannot be tried" "it does not build"
	elif [[ $line ]]; then
		verdict "$name" caught caught "$line"
	else
		verdict "$name" wrong "RED, but not for its reason" "$(reasons "$kept")"
	fi
}

verdict() { # NAME WORD TEXT WHY
	echo "$2" >"$logs/${1%% *}/verdict"
	printf '%-12s %s: %s\n' "$3" "$1" "$4"
}

# The tests that failed.
reasons() { sed -n 's/^failed //p' "$1/tests.log" | head -n 3 | paste -sd ',' | sed 's/,/, /g'; }

# Each in a process group of its own, so that all of it can be ended.
set -m
declare -A slot_of=()
trap 'kill -- $(jobs -p | sed "s/^/-/") 2>/dev/null || :; wait' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
start() { # NAME ENV TEST…
	local slot
	((${#slots[@]})) || finish
	slot=${slots[0]}
	slots=("${slots[@]:1}")
	try "$slot" "$@" &
	slot_of[$!]=$slot
}
finish() {
	local pid
	wait -n -p pid || :
	slots+=("${slot_of[$pid]}")
	unset "slot_of[$pid]"
}
finish_all() { while ((${#slot_of[@]})); do finish; done; }

# What needs the same environment is run together.
envs=()
for mutant in "${mutants[@]}"; do envs+=("$(field "$mutant" Env)"); done
mapfile -t different < <(printf '%s\n' "${envs[@]}" | sort -u)
for i in "${!different[@]}"; do
	tests=()
	for j in "${!mutants[@]}"; do
		[[ ${envs[j]} != "${different[i]}" ]] || tests+=("$(field "${mutants[j]}" Tests)")
	done
	mapfile -t tests < <(printf '%s\n' "${tests[@]}" | tr ' ' '\n' | sort -u)
	say "without a mutant: ${different[i]} ${tests[*]}"
	start "none.$i" "${different[i]}" "${tests[@]}"
done
finish_all
for i in "${!different[@]}"; do
	[[ $(<"$logs/none.$i/verdict") == 0 ]] ||
		die "without any mutant these fail: $(reasons "$logs/none.$i")" "first mend that; what they said: $logs/none.$i/tests.log"
	for j in "${!mutants[@]}"; do
		[[ ${envs[j]} == "${different[i]}" ]] || continue
		! grep -aEm 1 -e "$(field "${mutants[j]}" Expect)" "$logs/none.$i/evidence" ||
			die "what ${mutants[j]} expects is said without it as well"
	done
done

for i in "${!mutants[@]}"; do
	say "${mutants[i]} ($((i + 1)) of ${#mutants[@]})"
	read -ra tests <<<"$(field "${mutants[i]}" Tests)"
	start "${mutants[i]}" "${envs[i]}" "${tests[@]}"
done
finish_all
set +m
trap - EXIT

declare -A sum=([caught]=0 [survived]=0 [wrong]=0 [broken]=0)
for mutant in "${mutants[@]}"; do
	word=$(cat "$logs/$mutant/verdict") || word=broken
	sum[$word]=$((sum[$word] + 1))
done
echo "mutants: ${sum[caught]} caught, ${sum[survived]} survived, ${sum[wrong]} red for another reason, ${sum[broken]} could not be tried"
((sum[caught] == ${#mutants[@]}))
