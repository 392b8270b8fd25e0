#!/bin/bash
#
# src/ is the safe half of the module: fails if anything unsafe, or a way
# around the safe layer, is in it (comments aside). Then counts the unsafe
# blocks of each file of the other half, rust/.

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"

banned='\bunsafe\b|bindings::|extern "C"|from_raw|\btransmute|no_mangle'
bad=0
while IFS= read -r -d '' file; do
	# Line comments go; the line numbers stay.
	if sed 's,//.*,,' "$file" | grep -nE "$banned" | sed "s,^,$file:,"; then bad=1; fi
done < <(find src -name '*.rs' -print0 | sort -z)
((!bad)) || die "the lines above have no place in src/: put what they do behind a safe interface in rust/"
echo "src/: no unsafe in $(find src -name '*.rs' | wc -l) files, $(find src -name '*.rs' -exec cat {} + | wc -l) lines"
find rust -name '*.rs' | sort | while read -r file; do
	printf '%-28s %4d unsafe in %5d lines\n' "$file" \
		"$(sed 's,//.*,,' "$file" | grep -coE '\bunsafe\b' || :)" "$(wc -l <"$file")"
done
