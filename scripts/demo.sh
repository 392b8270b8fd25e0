#!/bin/bash
#
# The main job, from nothing: two virtual machines on a virtual link, Soft-RoCE on
# both. One computes the KV cache of a prompt (README.md) and sends it; the other
# goes on decoding from what it received. Its tokens must equal those of the
# undivided run. The last line says so, or why not.
#
# What the machines said is left in out/demo.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

fail() { echo "demo: failed: $*"; exit 1; }

module=$("$TREE/scripts/module.sh") || fail "the module does not build"
tools=$("$TREE/scripts/tools.sh") || fail "the tools do not build"
"$TREE/scripts/guest.sh" >/dev/null || fail "no guest image"

out=$TREE/out/demo
rm -rf "$out"
mkdir -p "$out/overlay/demo" "$out/share"
cp "$module" "$tools/dmaplane" "$tools/kvdemo" "$TREE/README.md" "$TREE/scripts/demo-guest.sh" "$out/overlay/demo"
"$TREE/scripts/in-root" strip -d "$out/overlay/demo/dmaplane.ko"

sockets=$(mktemp -d "${TMPDIR:-/tmp}/dmaplane-demo.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$sockets"' EXIT

machine() { # ROLE ADDRESS PEER MY-SOCKET PEER-SOCKET MAC
	"$TREE/scripts/vm.sh" run --name "$1" --timeout 420 --overlay "$out/overlay" \
		--share "$out/share" --log "$out/$1.console.log" --net "$4:$5:$6" \
		-- /demo/demo-guest.sh "$1" "$2" "$3" 2>&1 | sed -u "s/^/  $1: /" | tee "$out/$1.log"
	return "${PIPESTATUS[0]}"
}

say "two machines: one computes the cache and sends it, one receives it and decodes"
machine decode 10.77.0.2 10.77.0.1 "$sockets/b" "$sockets/a" 52:54:00:00:00:02 &
decode=$!
machine prefill 10.77.0.1 10.77.0.2 "$sockets/a" "$sockets/b" 52:54:00:00:00:01 &
prefill=$!
prefill_rc=0 decode_rc=0
wait "$prefill" || prefill_rc=$?
wait "$decode" || decode_rc=$?
((prefill_rc == 0)) || fail "the machine that sends ended with $prefill_rc (out/demo/prefill.log)"
((decode_rc == 0)) || fail "the machine that receives ended with $decode_rc (out/demo/decode.log)"
say "both machines are done"

"$TREE/scripts/in-root" python3 "$TREE/scripts/demo-verdict.py" "$out/share"
