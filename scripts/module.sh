#!/bin/bash
#
# usage: scripts/module.sh [MAKE-ARGUMENT…]
#
# Builds the module out of tree, into out/KERNEL/; prints the module's path.
# With KDIR=DIR in the environment it is built against that directory with the
# host's own tools; otherwise against Debian's kernel (kdir.sh), in the build
# root, or with DMAPLANE_KERNEL=debug against the instrumented one
# (debug-kernel.sh). CLIPPY=1 as an argument lints, in a directory of its own.
#
# With DMAPLANE_TEST=y in the environment it is a test build, out/KERNEL-test/,
# with faults to inject and a mock fabric; for the instrumented kernel it always is.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

release_of() { make -s -C "$KDIR" kernelrelease 2>/dev/null | tail -n 1; }

# What kdir.sh made is no KDIR for the host: it is only whole inside the root.
[[ ${KDIR-} != "$CACHE"/* ]] || KDIR=''
flags=()
if [[ ${KDIR-} ]]; then
	[[ -e $KDIR/Makefile ]] || die "KDIR=$KDIR is no kernel build directory"
	[[ -e $KDIR/rust/libkernel.rmeta ]] ||
		die "KDIR=$KDIR has no Rust metadata (rust/libkernel.rmeta)" \
			"distributions' header packages lack it; leave KDIR unset to have it made for Debian's kernel," \
			"or name the build tree of a kernel with CONFIG_RUST=y, after make prepare"
	run=()
	kernel=$(release_of || :)
	[[ $kernel ]] || die "make -C $KDIR kernelrelease fails: the tree is not configured"
else
	export DMAPLANE_ROOT
	DMAPLANE_ROOT=$("$TREE/scripts/buildroot.sh")
	case ${DMAPLANE_KERNEL:-stock} in
	stock) KDIR=$("$TREE/scripts/kdir.sh") ;;
	debug)
		KDIR=$("$TREE/scripts/debug-kernel.sh")
		# That kernel has no line numbers and counts no coverage: the module has both.
		DMAPLANE_TEST=y
		flags=("LLVM=$KDIR/llvm/" KCOV_INSTRUMENT=y KCFLAGS=-g KRUSTFLAGS=-Cdebuginfo=2)
		;;
	*) die "DMAPLANE_KERNEL=$DMAPLANE_KERNEL: there is stock (the default) and debug" ;;
	esac
	run=(env -u KDIR "$TREE/scripts/in-root")
	kernel=$(cat "$KDIR/complete")
fi

out=$TREE/out/$kernel
if [[ ${DMAPLANE_TEST-} == y ]]; then
	out+=-test
	flags+=(DMAPLANE_TEST=y)
fi
case " $* " in *' CLIPPY=1 '*) out=$TREE/out/clippy-${out##*/} ;; esac
mkdir -p "$out"
cd "$TREE"
begin=$SECONDS
make=(make --no-print-directory -C "$KDIR" M="$TREE" MO="$out")
[[ ${run[*]} ]] || make+=("-j$(nproc)")
"${run[@]}" "${make[@]}" "${flags[@]}" "$@" modules >&2
say "module for $kernel built in $((SECONDS - begin)) s"
printf '%s\n' "$out"/*.ko
