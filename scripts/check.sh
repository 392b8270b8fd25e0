#!/bin/bash
#
# The checks that run nothing: formatting, lints without a single warning, the
# headers as C, C++ and 32-bit C, the safety gate, shellcheck. All are run, in
# the build root; the failed ones are named at the end.

set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TREE"
export DMAPLANE_ROOT
DMAPLANE_ROOT=$("$TREE/scripts/buildroot.sh")
in_root=$TREE/scripts/in-root
failed=()
check() { # NAME CMD…
	local name=$1
	shift
	say "$name"
	"$@" || failed+=("$name")
}

kdir=$("$TREE/scripts/kdir.sh")

# The kernel's style for the module, cargo's own for what cargo builds.
format_module() {
	find rust src tests/kunit -name '*.rs' -print0 | sort -z |
		xargs -0r "$in_root" rustfmt --check --edition 2021 --config-path "$kdir/.rustfmt.toml"
}

lint_module() {
	local log rc=0
	log=$(mktemp)
	scripts/module.sh CLIPPY=1 W=1 2>&1 | tee "$log" || rc=$?
	if grep -q 'warning:' "$log"; then
		echo "there are warnings; none is allowed"
		rc=1
	fi
	rm -f "$log"
	return "$rc"
}

three_ways() { # FILE FLAG…
	local file=$1 flags=(-Wall -Wextra -Werror -pedantic -Iinclude/uapi -Itools/include "${@:2}")
	"$in_root" gcc -std=c11 "${flags[@]}" -x c "$file" &&
		"$in_root" gcc -std=c11 -m32 "${flags[@]}" -x c "$file" &&
		"$in_root" g++ -std=c++17 "${flags[@]}" -x c++ "$file"
}

shell_scripts() {
	local scripts=()
	while IFS= read -r -d '' file; do
		if head -n 1 "$file" | grep -qE '^#(!.*[/ ](ba)?sh|.*shellcheck shell=)'; then scripts+=("$file"); fi
	done < <(find scripts tests .ci -type f -print0 | sort -z)
	"$in_root" shellcheck -x -P scripts "${scripts[@]}"
}

# Tests that docs/checklist.md names as PROGRAM.TEST, SUITE.TEST, "tools CRATE/FILE.TEST" or
# "unit FILE.TEST"; with a star those that begin so, of which there must be one.
# shellcheck disable=SC2016 # backticks are markdown's
checklist() {
	local token name test files seen=0 rc=0
	while IFS= read -r token; do
		name=${token%.*} test=${token##*.} seen=$((seen + 1))
		[[ $test == *\* ]] && test=${test%\*} || test+='\b'
		case $name in
		tools\ *) mapfile -t files < <(find tools -path "*/$(basename "${name#* }").rs" -o -path "*/$(basename "$(dirname "${name#* }")")/*.rs" -o -path "*/$(basename "$(dirname "${name#* }")")*/*.rs") ;;
		unit\ *) mapfile -t files < <(find tests/unit src/pure -path "*${name#* }*.rs") ;;
		dmakit_* | dmaplane_*) mapfile -t files < <(grep -rlE "kunit_tests\($name\)" rust src tests/kunit) ;;
		*) mapfile -t files < <(find tests -name "$name.c") ;;
		esac
		if ! grep -qE "^ *(TEST(_F|_F_TIMEOUT)?\((\w+, )?|fn |async fn )$test" "${files[@]}" /dev/null; then
			echo "there is no test $token"
			rc=1
		fi
	done < <(grep -o '`[^`]*`' docs/checklist.md | tr -d '`' | grep -E '^((tools|unit) )?[a-z0-9_/]+\.([a-z0-9_]+\*?|\*)$' |
		grep -vE '\.(c|h|rs|md|patch)$' | sort -u)
	((seen)) && return "$rc"
}

cargo_crate() { # DIR
	(cd "$1" && "$in_root" cargo fmt --all --check &&
		"$in_root" cargo clippy --all-targets --all-features --target-dir "$TREE/out/clippy-$(basename "$1")" -- -D warnings &&
		"$in_root" env RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --all-features --target-dir "$TREE/out/clippy-$(basename "$1")")
}

check "format of rust/, src/ and tests/kunit/" format_module
check "safety gate" scripts/unsafe-gate.sh
check "header as C, 32-bit C and C++" three_ways include/uapi/dmaplane.h -Wpadded -fsyntax-only
check "helpers for C, likewise" three_ways tools/include/dmaplane/channel.h -fsyntax-only
for file in tools/examples/*.c; do
	check "${file##*/}, likewise" three_ways "$file" -O2 -c -o /dev/null
done
check "shellcheck" shell_scripts
check "tests that docs/checklist.md names" checklist
check "clippy and warnings, module" lint_module
DMAPLANE_TEST=y check "clippy and warnings, test build" lint_module
for dir in tools tests/unit tests/fuzz; do
	if [[ -e $dir/Cargo.toml ]]; then check "format and clippy, $dir" cargo_crate "$dir"; fi
done
if ((${#failed[@]})); then
	printf 'failed: %s\n' "${failed[@]}" >&2
	exit 1
fi
say "all checks passed"
