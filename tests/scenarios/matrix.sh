#!/bin/bash
#
# Everything that a program can hold × everything that can end it (matrix/): each
# end is bounded, leaves neither process nor object behind, and whatever went
# comes back. One result for each cell; after the cells of a row the kernel's log
# and its memory are looked at, and the module is unloaded and loaded.
#
# CYCLES in the environment says how many cycles in all (200; 2000 on an
# instrumented kernel), MATRIX_SEED, which choices they make, MATRIX_ROWS, which
# rows (all). Soft-RoCE only.

# shellcheck disable=SC2317,SC2119 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"

mapfile -t rows < <("$bin/matrix" --names)
columns=${rows[-1]-}
unset 'rows[-1]'
if ((${#rows[@]} == 0)) || [[ $columns != [1-9]* ]]; then
	echo "Bail out! the program names no cells"
	exit 1
fi
[[ ! ${MATRIX_ROWS-} ]] || read -ra rows <<<"$MATRIX_ROWS"
cycles=${CYCLES:-$((slow > 1 ? 2000 : 200))}
seed=${MATRIX_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}

after=2
[[ ! -e $kmemleak ]] || after=3
plan $((${#rows[@]} * (columns + after)))
echo "# MATRIX_SEED=$seed CYCLES=$cycles"
# Two hosts, a being this machine itself: an RDMA device shows all its
# attributes in each network namespace, and instrumented that takes long.
# Everything else is done by the program.
rdma_modules
ip netns attach a $$
ip netns add b
ip -n b link set lo up

log_clean() { nothing_in "$(log_complaints)"; }
no_leaks() { nothing_in "$(leaks)"; }
nothing_in() { [[ ! $1 ]] || ! awk '{ print "# " $0 }' <<<"$1"; }
unloads() { rmmod dmaplane && [[ ! -e /dev/dmaplane ]] && load_module; }

for row in "${rows[@]}"; do
	mark_log
	"$bin/matrix" "$row" --cycles $(((cycles + ${#rows[@]} - 1) / ${#rows[@]})) --seed "$seed" --number "$ktap_count" ||
		ktap_failed=1
	ktap_count=$((ktap_count + columns))
	check "$row, afterwards: kernel log clean" log_clean
	if [[ -e $kmemleak ]]; then
		check "$row, afterwards: no leaks" no_leaks
		forget_leaks
	fi
	check "$row, afterwards: unloaded and loaded" unloads
done

no_hosts
done_testing
