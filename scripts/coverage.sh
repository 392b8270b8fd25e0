#!/bin/bash
#
# usage: scripts/coverage.sh COVERAGE [FILE]
#
# Shows what a run of the fuzzer reached of the module: COVERAGE is the file of that name
# that it left. For each source file: places seen, places there are. With FILE, a part of a
# source file's name: its lines with places, seen or not.
#
# A place is where the compiler put a call of __sanitizer_cov_trace_pc, as a rule once a
# basic block; in code made from generics and inlined functions a line has many. The module
# must be the one that ran: out/*-dmaplane-debug-test/dmaplane.ko.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

[[ ${1-} && -e $1 ]] || die "usage: scripts/coverage.sh COVERAGE [FILE]"
coverage=$(realpath "$1") wanted=${2-}
export DMAPLANE_ROOT DMAPLANE_KERNEL=debug
DMAPLANE_ROOT=$("$TREE/scripts/buildroot.sh")
symbolizer=$("$TREE/scripts/debug-kernel.sh")/llvm/llvm-symbolizer
cd "$TREE"
modules=(out/*-dmaplane-debug-test/dmaplane.ko)
module=${modules[0]}
[[ -e $module ]] || die "there is no $module" "DMAPLANE_KERNEL=debug scripts/module.sh builds it"

# The innermost function of our own that the place is in: what is inlined there from
# elsewhere counts as its part.
awk '$1 == ".text" { print $2 }' "$coverage" |
	"$TREE/scripts/in-root" "$symbolizer" --obj="$module" --no-demangle |
	awk -v tree="$TREE/" -v coverage="$coverage" -v wanted="$wanted" '
		function place(seen, line) {
			while ((getline line < coverage) > 0) {
				split(line, field, " ")
				if (field[1] == ".text") return field[3]
			}
			return 0
		}
		/^$/ {
			if (ours == "") ours = "elsewhere:0"
			split(ours, at, ":")
			seen = place()
			total[at[1]]++
			hit[at[1]] += seen
			if (wanted != "" && index(at[1], wanted)) {
				lines[at[1] ":" at[2]] = 1
				line_total[at[1] ":" at[2]]++
				line_hit[at[1] ":" at[2]] += seen
			}
			all++
			all_hit += seen
			ours = ""
			next
		}
		index($0, tree) == 1 && ours == "" { ours = substr($0, length(tree) + 1) }
		END {
			if (wanted != "") {
				for (line in lines)
					printf "%s %d of %d\n", line, line_hit[line], line_total[line] | "sort -t: -k1,1 -k2,2n"
			} else {
				for (file in total)
					printf "%-32s %5d of %5d, %3d %%\n", file, hit[file], total[file], 100 * hit[file] / total[file] | "sort"
				close("sort")
				printf "%-32s %5d of %5d, %3d %%\n", "all", all_hit, all, 100 * all_hit / (all ? all : 1)
			}
		}'
