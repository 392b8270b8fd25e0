#!/bin/bash
#
# Builds the user-space tools (tools/, a cargo workspace) in the build root,
# into out/tools; prints the directory of the programs. Crates are cached: once
# fetched, no network is used.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$TREE/tools"
locked=()
[[ ! -e Cargo.lock ]] || locked=(--locked)
"$TREE/scripts/in-root" cargo build --release "${locked[@]}" --target-dir "$TREE/out/tools" "$@" >&2
echo "$TREE/out/tools/release"
