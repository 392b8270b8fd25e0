#!/bin/bash
#
# Builds what the bench's machines run: the module, our arms and the others, in
# out/bench/overlay, which it prints.
#
# usage: scripts/bench-build.sh

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"

out=$TREE/out/bench
module=$(scripts/module.sh)
tools=$(scripts/tools.sh)
scripts/guest.sh >/dev/null
mkdir -p "$out/bin"
scripts/in-root make -s -C tools/bench/theirs OUT="$out/bin" >&2
rm -rf "$out/overlay"
mkdir -p "$out/overlay/bench"
cp "$module" "$tools/dmaplane-bench" "$out"/bin/* scripts/bench-guest.sh "$out/overlay/bench"
scripts/in-root strip -d "$out/overlay/bench/dmaplane.ko"
echo "$out/overlay"
