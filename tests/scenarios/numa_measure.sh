#!/bin/bash
#
# `dmaplane numa` on a machine with several nodes: each pair is measured, the memory was where
# it should be, nodes and distances are those of sysfs. How fast anything is is not looked at.

# shellcheck disable=SC2317 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
# The instrumented kernel would take minutes for sizes of its own.
plan $((slow > 1 ? 8 : 9))

work=$(mktemp -d)
sys=/sys/devices/system

# numbers LIST: those of "0-2,5", one a line.
numbers() {
	local range
	for range in ${1//,/ }; do seq "${range%-*}" "${range#*-}"; done
}

# A small measurement; its JSON is in $work/json, with a line for each pair in $work/pairs.
measures() {
	"$bin/dmaplane" numa --json --size 1M --runs 2 >"$work/json" 2>"$work/said" || {
		sed 's/^/# /' "$work/said" "$work/json"
		return 1
	}
	grep -q '^{"ok":true,"runs":2,' "$work/json" && [[ $(wc -l <"$work/json") == 1 ]] || return
	sed 's/{"cpu_node"/\n&/g; s/],"notes"/\n&/' "$work/json" | grep '^{"cpu_node"' >"$work/pairs"
}

# Every node with CPUs with every node with memory, once, and nothing else.
all_pairs() {
	local cpus memory
	for cpus in $(numbers "$(<"$sys/node/has_cpu")"); do
		for memory in $(numbers "$(<"$sys/node/has_normal_memory")"); do echo "$cpus $memory"; done
	done | sort >"$work/expected"
	sed 's/^{"cpu_node":\([0-9]*\),"memory_node":\([0-9]*\),.*/\1 \2/' "$work/pairs" | sort >"$work/found"
	[[ -s $work/expected ]] && cmp "$work/expected" "$work/found"
}

# Numbers, CPUs and, as lists in their order, distances of the nodes.
as_sysfs_says() {
	local node cpus nodes='' distances=''
	for node in $(numbers "$(<"$sys/node/online")"); do
		cpus=$(numbers "$(<"$sys/node/node$node/cpulist")" | paste -sd , -)
		nodes+="{\"node\":$node,\"cpus\":\[$cpus\],[^}]*},"
		distances+="\[$(sed 's/ *$//; s/ /,/g' "$sys/node/node$node/distance")\],"
	done
	grep -q "\"nodes\":\[${nodes%,}\],\"distances\":\[${distances%,}\],\"pairs\"" "$work/json" ||
		{ echo "# not $nodes $distances"; return 1; }
}

# The distance, and all pages on that node and none elsewhere: per run and thread two buffers
# of a part of 1 MiB, and one of 1 MiB.
placed() {
	local line from to row place=0 node pages good=0
	while read -r line; do
		[[ $line =~ ^\{\"cpu_node\":([0-9]+),\"memory_node\":([0-9]+),\"distance\":([0-9]+), ]] || return
		from=${BASH_REMATCH[1]} to=${BASH_REMATCH[2]}
		read -ra row <"$sys/node/node$from/distance"
		place=0
		for node in $(numbers "$(<"$sys/node/online")"); do
			((node != to)) || break
			place=$((place + 1))
		done
		[[ ${row[place]} == "${BASH_REMATCH[3]}" ]] || { echo "# distance: $line"; return 1; }
		[[ $line == *'"placement":{"verified":true,"pages_per_node":['* ]] || return
		pages=${line#*pages_per_node\":[}
		IFS=, read -ra pages <<<"${pages%%]*}"
		for node in "${!pages[@]}"; do
			((pages[node] == (node == to ? 2 * 3 * 256 : 0))) || { echo "# pages: $line"; return 1; }
		done
		((pages[to])) && good=$((good + 1))
	done <"$work/pairs"
	((good > 0))
}

# Of each pair four quantities: a median above 0, not outside of the two runs that there are.
values() {
	local number='([0-9.e+-]+)' what line
	while read -r line; do
		for what in read_gib_per_s write_gib_per_s copy_gib_per_s latency_ns; do
			[[ $line =~ \"$what\":\{\"median\":$number,\"min\":$number,\"max\":$number,\"runs\":\[$number,$number\]\} ]] ||
				{ echo "# no $what: $line"; return 1; }
			awk -v median="${BASH_REMATCH[1]}" -v min="${BASH_REMATCH[2]}" -v max="${BASH_REMATCH[3]}" \
				'BEGIN { exit !(0 < min && min <= median && median <= max) }' ||
				{ echo "# $what: $line"; return 1; }
		done
	done <"$work/pairs"
}

# of_caches: four times the last caches of a node, each once, of the node that has most of them; and of the
# largest cache.
of_caches() {
	local node cpu dir level best caches each sum most=0 largest=0
	for node in $(numbers "$(<"$sys/node/has_cpu")"); do
		caches=''
		for cpu in $(numbers "$(<"$sys/node/node$node/cpulist")"); do
			best=0
			for dir in "$sys/cpu/cpu$cpu/cache"/index*; do
				level=$(<"$dir/level")
				[[ $(<"$dir/type") == Instruction ]] || ((level < best)) ||
					{ best=$level && each="$(<"$dir/shared_cpu_list") $(<"$dir/size")"; }
			done
			caches+=$each$'\n'
		done
		sum=0
		while read -r _ each; do
			[[ $each == *K ]] || return
			sum=$((sum + ${each%K} * 1024))
			((${each%K} * 1024 <= largest)) || largest=$((${each%K} * 1024))
		done < <(sort -u <<<"${caches%$'\n'}")
		((sum <= most)) || most=$sum
	done
	echo "$((4 * most)) $((4 * largest))"
}

# Without --size: what caches cannot hold, and what is done with it is verified; or less, with the reason.
own_size() {
	local bandwidth latency
	read -r bandwidth latency < <(of_caches)
	"$bin/dmaplane" numa --json --runs 1 >"$work/own" || return
	echo "# $bandwidth $latency"
	((bandwidth && latency)) && ! grep -q '"verified":false' "$work/own" || return
	if grep -q "\"bandwidth_bytes\":$bandwidth,\"latency_bytes\":$latency," "$work/own"; then
		grep -q '"capped":false' "$work/own"
	else
		grep -q '"capped":true' "$work/own" && said "$work/own" 'there is no more free memory'
	fi
}

# A node whose CPUs go away is measured as memory only.
without_cpus() {
	local cpu node status=0
	node=$(numbers "$(<"$sys/node/has_cpu")" | tail -n 1)
	for cpu in $(numbers "$(<"$sys/node/node$node/cpulist")"); do echo 0 >"$sys/cpu/cpu$cpu/online" || return; done
	measures && all_pairs && ! grep -q "^{\"cpu_node\":$node," "$work/pairs" &&
		grep -q "\"memory_node\":$node," "$work/pairs" || status=1
	for cpu in "$sys"/cpu/cpu*/online; do echo 1 >"$cpu"; done
	return "$status"
}

table_and_map() {
	local nodes
	"$bin/dmaplane" numa --size 1M --runs 1 --threads 1 --svg "$work/heat.svg" >"$work/table" || return
	nodes=$(wc -l <"$work/expected")
	said "$work/table" 'distance, as the kernel says' && said "$work/table" 'each verified' &&
		[[ $(head -c 4 "$work/heat.svg") == '<svg' ]] &&
		[[ $(grep -c 'stroke-width' "$work/heat.svg") == $((4 * nodes)) ]]
}

# refused STATUS TEXT OPTION…: with this exit status and words.
refused() {
	local status=0 wanted=$1 text=$2
	shift 2
	"$bin/dmaplane" numa "$@" >"$work/json" 2>"$work/said" || status=$?
	sed 's/^/# /' "$work/said"
	((status == wanted)) && said "$work/said" "$text"
}
refusals() {
	refused 3 'give --size .* or less' --size 1T --json && said "$work/json" '"exit":3,"ok":false' &&
		refused 2 'not in 1' --runs 0 && refused 2 'at least 4 KiB' --size 1K &&
		refused 1 'no/heat.svg' --svg "$work/no/heat.svg"
}

check "measures" measures
check "all pairs" all_pairs
check "nodes as sysfs has them" as_sysfs_says
check "memory is where it should be" placed
check "all values" values
check "table and heat map" table_and_map
check "refuses and says why" refusals
((slow > 1)) || check "a size of its own" own_size
check "nodes without processors" without_cpus
rm -r "$work"
done_testing
