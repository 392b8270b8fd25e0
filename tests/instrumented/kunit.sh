#!/bin/bash
#
# The module's KUnit suites, which are in a test build: each is run, and what
# the kernel reports of it is reported here. A suite that is missing, or is not
# named here, is a failure, and so is one that ran fewer tests than were compiled.

# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"

suites=(
	dmakit_addr dmakit_chain dmakit_debugfs dmakit_dmabuf dmakit_engine dmakit_errno dmakit_import
	dmakit_kthread dmakit_pages dmakit_periodic dmakit_shared dmakit_slot dmakit_worker
	dmaplane_carve dmaplane_credit dmaplane_fifo dmaplane_handle dmaplane_ring dmaplane_state
	dmaplane_wire
)
kunit=/sys/kernel/debug/kunit

if [[ ! -e $kunit && ! -e $kmemleak ]]; then
	echo "1..0 # SKIP this kernel is built without KUnit"
	exit 4
fi

# A wrapper is compiled for each test.
compiled() { grep -c ' [Tt] .*kunit_rust_wrapper_.*\[dmaplane\]' /proc/kallsyms; }

# run_suite NAME: runs it, and shows what the kernel reports as results of its own.
# Forks nothing: that takes longer than the tests.
run_suite() {
	local line lines status=1
	if echo run >"$kunit/$1/run" && mapfile -t lines <"$kunit/$1/results"; then
		# It is a report of one suite: without its plan and last line it is nested in ours.
		printf '%s\n' "${lines[@]:2:${#lines[@]}-3}"
		for line in "${lines[@]}"; do
			[[ ! $line =~ ^'    ok '[0-9]+' '[a-z0-9_]+$ ]] || passed=$((passed + 1))
		done
		[[ ${lines[-1]} != "ok 1 $1" ]] || status=0
	fi
	result "$status" "$1"
}

passed=0
plan $((${#suites[@]} + 2))
check "the suites are those named here" diff <(printf '%s\n' "${suites[@]}") \
	<(cd "$kunit" && printf '%s\n' dma*)
for suite in "${suites[@]}"; do run_suite "$suite"; done
echo "# $passed passed of $(compiled) compiled"
check "as many passed as were compiled" test "$passed" -eq "$(compiled)"
done_testing
