#!/bin/bash
#
# The fuzzer (tests/fuzz), for FUZZ_S seconds with FUZZ_SEED, or a seed of its own
# choice, which it says. What it leaves (coverage, inputs, counts) is in /share/fuzz if
# the machine has /share: scripts/coverage.sh shows what was reached.

# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
one_host >&2
[[ -e $objects ]] || load_module

out=$(mktemp -d)
[[ ! -d /share ]] || out=/share/fuzz
args=(--seconds "${FUZZ_S:-60}" --out "$out")
[[ ! ${FUZZ_SEED-} ]] || args+=(--seed "$FUZZ_SEED")
# Only the instrumented kernel's module counts, and must.
[[ ! -e $kmemleak ]] || args+=(--module "$(modinfo -n dmaplane)")

status=0
"$bin/fuzz" "${args[@]}" || status=$?
no_host >&2
exit "$status"
