#!/bin/bash
#
# All tests: the unit tests of tests/unit, tools and tests/fuzz, then the programs
# and scenarios of tests/selftests, tests/stock and tests/scenarios in virtual machines. The last
# line is "dmaplane: N passed, N failed, N skipped"; the exit status is 0 only
# if something passed and nothing failed.
#
# usage: scripts/test.sh [NAME…]
#
# With names: only those programs (NAME.c) and scenarios (NAME.sh). What each part
# said is kept in out/test: PART.log, for a machine KTAP and its kernel's console,
# PART.console.log.
#
# With DMAPLANE_KERNEL=debug all that needs a kernel runs on the instrumented one (but for
# tests/stock, which needs drivers that it has not), the programs and scenarios on siw as well
# as on rxe, and with it what only that kernel can show: tests/instrumented. With names, DMAPLANE_RDMA=siw chooses the fabric of programs and
# scenarios; DMAPLANE_TEST=y allows those of tests/instrumented on the stock kernel.
#
# How much of what has no end of its own, with the default on the instrumented
# kernel: CYCLES (2000) of the kill and unplug matrix, MOCK_SEEDS (12; elsewhere the
# program's, 40) of the mock fabric, FUZZ_S (60) seconds of fuzzing. SOAK=1 makes
# these 10000, 400, and 1800. MATRIX_ROWS are the rows of the matrix, if not all,
# ONLY the one test of the programs, PATIENCE their seconds for what must happen.
# DMAPLANE_LIMIT is the limit of each program and scenario, in seconds, and makes
# that of a machine as small as that allows (all are longer on the instrumented kernel).

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"
wanted=("$@")
stock=1
out=$TREE/out/test
if [[ ${DMAPLANE_KERNEL:-stock} == debug ]]; then
	stock=0
	out+=-debug
fi
with_instrumented=0
[[ ${DMAPLANE_TEST-} != y ]] && ((stock)) || with_instrumented=1
limit=3600 # of the long ones
if [[ ${SOAK-} ]]; then
	: "${CYCLES:=10000}" "${MOCK_SEEDS:=10x}" "${FUZZ_S:=1800}"
	limit=9000
elif ((!stock)); then
	: "${CYCLES:=2000}" "${MOCK_SEEDS:=12}"
fi
amounts=()
for name in CYCLES MATRIX_SEED MATRIX_ROWS MOCK_SEEDS MOCK_SEED FUZZ_S FUZZ_SEED FAULT_SEED ONLY PATIENCE; do
	[[ ! ${!name-} ]] || amounts+=("$name=${!name}")
done

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
	local kernel module harness fuzz tools
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
	cp tests/instrumented/*.sh tests/stock/*.sh "$out/overlay/usr/lib/dmaplane/scenarios/"
	if want futures; then
		tools=$("$TREE/scripts/tools.sh" -p dmaplane --features tokio --example futures) ||
			die "the library's example does not build"
		cp "$tools/examples/futures" "$out/overlay/usr/lib/dmaplane/bin/"
	fi
	if want numa_measure; then
		tools=$("$TREE/scripts/tools.sh" -p dmaplane-cli) || die "the command does not build"
		cp "$tools/dmaplane" "$out/overlay/usr/lib/dmaplane/bin/"
	fi
	# What tests leave for whoever wants to know more: coverage, inputs.
	rm -rf "$out/share"
	mkdir -p "$out/share"
	if ((with_instrumented)) && want fuzz; then
		fuzz=$("$TREE/scripts/fuzz.sh") || die "the fuzzer does not build"
		cp "$fuzz" "$out/overlay/usr/lib/dmaplane/bin/fuzz"
	fi
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

# machine PART LIMIT OPTION… -- [VAR=VALUE…] NAME…: programs and scenarios in one
# machine.
machine() {
	local part=$1 limit=$2 options=() vars=() rc=0
	shift 2
	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	shift
	while [[ ${1-} == *=* ]]; do
		vars+=("$1")
		shift
	done
	if [[ ${DMAPLANE_LIMIT-} ]]; then
		vars+=("DMAPLANE_LIMIT=$DMAPLANE_LIMIT")
		limit=$((DMAPLANE_LIMIT * $# + 30))
	fi
	"$TREE/scripts/vm.sh" run --name "$part" --timeout "$limit" --log "$out/$part.console.log" \
		--overlay "$out/overlay" "${options[@]}" -- env "${amounts[@]}" "${vars[@]}" /usr/lib/dmaplane/scenarios/run "$@" |
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

# programs_of DIR, scenarios_of DIR: those that were asked for.
programs_of() {
	local file name
	for file in "$1"/*.c; do
		name=$(basename "$file" .c)
		for name in "$name" "${name}32"; do
			[[ ! -x $out/bin/$name ]] || ! want "$name" || echo "$name"
		done
	done
}
scenarios_of() {
	local file name
	for file in "$1"/*.sh; do
		name=$(basename "$file" .sh)
		[[ ! -e $file || $name == lib ]] || ! want "$name" || echo "$name.sh"
	done
}
mapfile -t programs < <(programs_of tests/selftests | grep -v '^numa')
# Others have no connection, so that it is the same on each fabric.
connects() { grep -qE '"(pair|remote|lists|user|liar)\.h"' "tests/selftests/${1%32}.c"; }
connected=()
for name in "${programs[@]}"; do ! connects "$name" || connected+=("$name"); done
# For drivers that the instrumented kernel has not.
((!stock)) || mapfile -t -O "${#programs[@]}" programs < <(programs_of tests/stock)
mapfile -t stock_scenarios < <(((!stock)) || scenarios_of tests/stock)
mapfile -t scenarios < <(scenarios_of tests/scenarios | grep -v '^matrix\|^loss\|^numa')
mapfile -t loss < <(scenarios_of tests/scenarios | grep '^loss')
mapfile -t matrix < <(scenarios_of tests/scenarios | grep '^matrix')
special() { ((!with_instrumented)) || { programs_of tests/instrumented && scenarios_of tests/instrumented; }; }
# The instrumented kernel has no DMA engines.
((stock)) && elsewhere='^$' || elsewhere='^numa_engine'
mapfile -t numa < <({ programs_of tests/selftests && scenarios_of tests/scenarios && special; } | grep '^numa' | grep -v "$elsewhere")
mapfile -t instrumented < <(special | grep -v '^fail_\|^numa')
mapfile -t faults < <(special | grep '^fail_')
for name in "${wanted[@]}"; do
	[[ " ${programs[*]} ${numa[*]} ${stock_scenarios[*]} ${scenarios[*]} ${loss[*]} ${matrix[*]} ${instrumented[*]} ${faults[*]} " == *" $name"[.\ ]* ]] ||
		die "there is no test $name"
done

# The parts, the longest first. A name that was asked for runs on one fabric.
parts=() commands=()
part() { # NAME COMMAND…
	parts+=("$1")
	commands+=("$(printf '%q ' "${@:2}")")
}
machine_part() { # NAME LIMIT OPTION… -- [VAR=VALUE…] TEST…
	[[ ${*: -1} == -- || ${*: -1} == *=* ]] || part "$1" machine "$1" "${@:2}"
}
fabric=DMAPLANE_RDMA=rxe
((!${#wanted[@]})) || fabric=DMAPLANE_RDMA=${DMAPLANE_RDMA:-rxe}
if ((stock && !${#wanted[@]})); then
	part unit cargo_tests unit tests/unit
	part tools cargo_tests tools tools
	part fuzz-unit cargo_tests fuzz-unit tests/fuzz
fi
# Where direct I/O goes to: the instrumented kernel has no block devices.
disk=(--disk 64M)
((stock)) || disk=(--share "$out/share")
item=DMAPLANE_LIMIT=$((limit - 100))
machine_part matrix "$limit" -- "$item" "${matrix[@]}"
# Devices of KUnit tests have bounce buffers if they want to: 2 MiB of them.
machine_part instrumented "$limit" --share "$out/share" --append swiotlb=1024,force -- "$item" "${instrumented[@]}"
machine_part faults "$limit" -- "$item" "${faults[@]}"
machine_part scenarios 1800 -- "$fabric" DMAPLANE_LIMIT=500 "${scenarios[@]}"
machine_part loss 600 -- "$fabric" DMAPLANE_LIMIT=500 "${loss[@]}"
machine_part programs 2400 "${disk[@]}" -- "$fabric" DMAPLANE_LIMIT=600 "${programs[@]}"
if ((!stock && !${#wanted[@]})); then
	machine_part scenarios-siw 1800 -- DMAPLANE_RDMA=siw DMAPLANE_LIMIT=500 "${scenarios[@]}"
	machine_part loss-siw 600 -- DMAPLANE_RDMA=siw DMAPLANE_LIMIT=500 "${loss[@]}"
	machine_part programs-siw 2400 "${disk[@]}" -- DMAPLANE_RDMA=siw DMAPLANE_LIMIT=600 "${connected[@]}"
fi
machine_part iommu 900 --iommu intel "${disk[@]}" -- "$fabric" DMAPLANE_LIMIT=500 "${stock_scenarios[@]}"
machine_part numa 1200 --numa 4 "${disk[@]}" -- "$fabric" "${numa[@]}"
if ((!stock && !${#wanted[@]})); then
	mapfile -t numa_connected < <(
		for name in "${numa[@]}"; do [[ $name == *.sh ]] || ! connects "$name" || echo "$name"; done
	)
	machine_part numa-siw 600 --numa 4 -- DMAPLANE_RDMA=siw "${numa_connected[@]}"
fi

# As many at a time as there are processors and memory, but two at least: most of
# them wait more than they compute. Each in a process group of its own, so that all
# of it can be ended.
at_once=$(awk -v cpus="$(nproc)" -v each=$((stock ? 2 : 4)) \
	'/^MemAvailable/ { m = int($2 / 1048576 / each) } END { n = m < cpus ? m : cpus; print n < 2 ? 2 : n }' /proc/meminfo)
set -m
trap 'kill -- $(jobs -p | sed "s/^/-/") 2>/dev/null || :' EXIT
for command in "${commands[@]}"; do
	while (($(jobs -rp | wc -l) >= at_once)); do wait -n || :; done
	eval "$command &"
	# Those of cargo want all processors for themselves.
	[[ $command != cargo_tests* ]] || wait
done
wait
set +m
trap - EXIT

echo
for part in "${parts[@]}"; do
	[[ -s $out/$part.summary ]] ||
		printf 'failed %s: it left no result\ntotal 0 1 0\n' "$part" >"$out/$part.summary"
done
for part in "${parts[@]}"; do sed '/^total /d' "$out/$part.summary"; done
# Once more in short, for whoever sees only the end: each with the first thing it said.
echo
for part in "${parts[@]}"; do
	awk -v part="$part" '
		function show() { if (name) print "failed in " part ": " name (said ? " (" said ")" : ""); name = said = "" }
		/^failed / { show(); name = substr($0, 8); next }
		/^(skipped|total) / { show(); next }
		name && !said && /[^ #]/ { sub(/^[ #]+/, ""); said = substr($0, 1, 160) }
		END { show() }' "$out/$part.summary"
done
totals=$(for part in "${parts[@]}"; do tail -n 1 "$out/$part.summary"; done |
	awk '{ p += $2; f += $3; s += $4 } END { print p + 0, f + 0, s + 0 }')
read -r passed failed skipped <<<"$totals"
for part in "${parts[@]}"; do
	tail -n 1 "$out/$part.summary" | awk -v part="$part" \
		'{ printf "%-14s %4d passed, %d failed, %d skipped\n", part, $2, $3, $4 }'
done
echo "dmaplane: $passed passed, $failed failed, $skipped skipped"
((failed == 0 && passed > 0))
