#!/bin/bash
#
# All tests: the unit tests of tests/unit and tools, then the programs and
# scenarios of tests/selftests and tests/scenarios in virtual machines. The last
# line is "dmaplane: N passed, N failed, N skipped"; the exit status is 0 only
# if something passed and nothing failed.
#
# usage: scripts/test.sh [NAME…]
#
# With names: only those programs (tests/selftests/NAME.c) and scenarios
# (tests/scenarios/NAME.sh). What each part said is kept in out/test: PART.log,
# for a machine KTAP and its kernel's console, PART.console.log.

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"
out=$TREE/out/test
wanted=("$@")

# Whether NAME was asked for.
want() {
	local name
	((${#wanted[@]})) || return 0
	for name in "${wanted[@]}"; do [[ $name != "$1" ]] || return 0; done
	return 1
}

# ---- Building -------------------------------------------------------------

# The kernel's own test harness, from the source that the build root has.
kselftest() {
	local root dir work name
	root=$("$TREE/scripts/buildroot.sh")
	dir=$CACHE/kselftest-$(fact "$root" version)
	if [[ ! -e $dir ]]; then
		lock kselftest
		work=$(fresh_dir kselftest)
		name=$(basename "$(fact "$root" source)" .tar.xz)
		step "taking kselftest_harness.h from $name (10 s)" tar -C "$work" -xJf "$root$(fact "$root" source)" \
			--occurrence=1 --strip-components=4 "$name"/tools/testing/selftests/kselftest{,_harness}.h
		[[ -e $dir ]] || mv "$work" "$dir"
	fi
	echo "$dir"
}

build() {
	local kernel module harness
	kernel=$(cat "$("$TREE/scripts/guest.sh")/kernel")
	module=$("$TREE/scripts/module.sh")
	[[ $(modinfo_field "$module" vermagic) == "$kernel "* ]] ||
		die "$module is not for $kernel, which the test machine runs" "leave KDIR unset"
	harness=$(kselftest)
	mkdir -p "$out/bin"
	"$TREE/scripts/in-root" make -s -C tests/selftests KSELFTEST="$harness" OUT="$out/bin" >&2 ||
		die "the test programs do not build"

	rm -rf "$out/overlay"
	mkdir -p "$out/overlay/usr/lib/"{dmaplane,"modules/$kernel/updates"}
	cp "$module" "$out/overlay/usr/lib/modules/$kernel/updates/"
	cp -r tests/scenarios "$out/bin" "$out/overlay/usr/lib/dmaplane/"
}

# modinfo_field FILE NAME: of a module, without kmod.
modinfo_field() { tr '\0' '\n' <"$1" | sed -n "s/^$2=//p" | head -n 1; }

# ---- Running: each part leaves PART.summary, as ktap.awk writes it ---------

# cargo DIR: the tests of a cargo workspace; what each crate reports is counted.
cargo_tests() {
	local part=$1 dir=$2 rc=0 locked=()
	if [[ ! -e $dir/Cargo.toml ]]; then
		printf 'skipped %s: there is no %s\ntotal 0 0 1\n' "$part" "$dir" >"$out/$part.summary"
		return
	fi
	[[ ! -e $dir/Cargo.lock ]] || locked=(--locked)
	(cd "$dir" && "$TREE/scripts/in-root" cargo test --workspace --no-fail-fast "${locked[@]}" \
		--target-dir "$TREE/out/$part") >"$out/$part.log" 2>&1 || rc=$?
	awk -v part="$part" -v rc="$rc" '
		/^test .* \.\.\. FAILED$/ { print "failed " part ": " $2 }
		/^test .* \.\.\. ignored/ { print "skipped " part ": " $2 }
		/^test result:/ { p += $4; f += $6; s += $8 }
		{ last = last "    " $0 "\n"; if (NR > 60) sub(/^[^\n]*\n/, "", last) }
		END {
			# It did not build, or a test program crashed.
			if ((rc || !p) && !f) { f = 1; print "failed " part ": cargo test exited with " rc }
			if (f) printf "%s", last
			print "total", p + 0, f + 0, s + 0
		}' "$out/$part.log" >"$out/$part.summary"
	say "$part: $(sed -n 's/^total \(.*\) \(.*\) \(.*\)/\1 passed, \2 failed, \3 skipped/p' "$out/$part.summary")"
}

# Results of whole programs, as they come.
show_progress() {
	local line name=''
	while IFS= read -r line; do
		case $line in
		'# '*' s') [[ ! ${line//[!0-9]/} ]] || say "$1: $name (${line#\# })" ;;
		'# '*) [[ $line == '# '*' '* ]] || name=${line#\# } ;;
		'not ok '*) say "$1: FAILED $(cut -d ' ' -f 4- <<<"$line")" ;;
		esac
	done
}

# machine PART LIMIT OPTION… -- NAME…: programs and scenarios in one machine.
machine() {
	local part=$1 limit=$2 options=() rc=0
	shift 2
	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	shift
	if (($# == 0)); then
		echo 'total 0 0 0' >"$out/$part.summary"
		return
	fi
	"$TREE/scripts/vm.sh" run --name "$part" --timeout "$limit" --log "$out/$part.console.log" \
		--overlay "$out/overlay" "${options[@]}" -- /usr/lib/dmaplane/scenarios/run "$@" |
		tee "$out/$part.log" | show_progress "$part" || rc=$?
	{
		awk -f "$TREE/scripts/ktap.awk" "$out/$part.log" | sed '$d'
		if ((rc)); then
			echo "failed the machine \"$part\" (status $rc)"
			tail -n 30 "$out/$part.console.log" | tr -d '\r' | sed 's/^/    /'
		fi
		awk -f "$TREE/scripts/ktap.awk" "$out/$part.log" |
			awk -v rc="$rc" 'END { print $1, $2, $3 + (rc != 0), $4 }'
	} >"$out/$part.summary"
}

# ---- All ------------------------------------------------------------------

"$TREE/scripts/ktap.check" || die "what counts the tests does not count right"
mkdir -p "$out"
rm -f "$out"/*.summary "$out"/*.log
build

programs=() numa=() scenarios=()
for file in tests/selftests/*.c; do
	name=$(basename "$file" .c)
	for name in "$name" "${name}32"; do
		[[ -x $out/bin/$name ]] || continue
		want "$name" || continue
		if [[ $name == numa* ]]; then numa+=("$name"); else programs+=("$name"); fi
	done
done
for file in tests/scenarios/*.sh; do
	name=$(basename "$file" .sh)
	[[ $name != lib ]] || continue
	want "$name" && scenarios+=("$name.sh")
done

((${#wanted[@]} == 0 || ${#programs[@]} + ${#numa[@]} + ${#scenarios[@]} > 0)) ||
	die "there is no test of that name: ${wanted[*]}"

# Two at a time: most of them wait more than they compute. Each in a process
# group of its own, so that all of it can be ended.
parts=(programs scenarios numa)
set -m
trap 'kill -- $(jobs -p | sed "s/^/-/") 2>/dev/null || :' EXIT
machine scenarios 600 -- "${scenarios[@]}" &
if ((!${#wanted[@]})); then
	parts=(unit tools "${parts[@]}")
	cargo_tests unit tests/unit &
	wait $!
	cargo_tests tools tools &
	wait $!
fi
{
	machine programs 600 -- "${programs[@]}"
	machine numa 120 --numa 4 -- "${numa[@]}"
} &
wait
set +m
trap - EXIT

echo
for part in "${parts[@]}"; do
	[[ -s $out/$part.summary ]] ||
		printf 'failed %s: it left no result\ntotal 0 1 0\n' "$part" >"$out/$part.summary"
done
for part in "${parts[@]}"; do sed '/^total /d' "$out/$part.summary"; done
totals=$(for part in "${parts[@]}"; do tail -n 1 "$out/$part.summary"; done |
	awk '{ p += $2; f += $3; s += $4 } END { print p + 0, f + 0, s + 0 }')
read -r passed failed skipped <<<"$totals"
for part in "${parts[@]}"; do
	tail -n 1 "$out/$part.summary" | awk -v part="$part" \
		'{ printf "%-9s %4d passed, %d failed, %d skipped\n", part, $2, $3, $4 }'
done
echo "dmaplane: $passed passed, $failed failed, $skipped skipped"
((failed == 0 && passed > 0))
