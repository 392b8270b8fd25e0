#!/bin/bash
#
# Builds the fuzzer (tests/fuzz) in the build root; prints the program's path. It
# runs in a test machine, started by tests/instrumented/fuzz.sh; with --help it says
# what it can do.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$TREE/tests/fuzz"
"$TREE/scripts/in-root" cargo build --release --locked --target-dir "$TREE/out/fuzz" >&2
echo "$TREE/out/fuzz/release/dmaplane-fuzz"
