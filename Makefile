# dmaplane: a Rust kernel module for Debian's own kernel. `make help` says what
# there is; the work is done by scripts/, in a build root that is set up by the
# first call (scripts/buildroot.sh) and cached.
#
# KDIR=DIR builds against any prepared kernel build directory with the host's
# own tools, e.g. KDIR=/lib/modules/$(uname -r)/build if that has Rust metadata.

KDIR ?=
export KDIR
# Since when the seconds count that all scripts of one call tell.
export DMAPLANE_STARTED := $(or $(DMAPLANE_STARTED),$(shell date +%s))

.PHONY: all demo test test-debug test-mutants bench bench-guard check shell tools setup update clean distclean help

all: ## build the module (out/KERNEL/dmaplane.ko)
	@scripts/module.sh

tools: ## build the user-space tools (out/tools/)
	@scripts/tools.sh

demo: all tools ## show what it does, in a virtual machine
	@scripts/demo.sh

test: all tools ## run all tests
	@scripts/test.sh

test-debug: tools ## run all tests on an instrumented kernel: KASAN, lockdep, kmemleak, …
	@DMAPLANE_TEST=y scripts/test.sh numa_engine
	@DMAPLANE_KERNEL=debug scripts/test.sh

test-mutants: tools ## break the module on purpose and see the tests notice
	@scripts/mutants.sh

bench: ## measure it side by side with what people would use instead (BENCH=… QUICK=1 PROFILE=1)
	@scripts/bench.sh

bench-guard: ## compare instructions of core operations with the numbers kept
	@scripts/bench-guard.sh

check: ## format, lints, headers, safety gate
	@scripts/check.sh

shell: all tools ## a shell in a virtual machine with everything loaded
	@scripts/shell.sh

setup: ## host packages, build root, kernel build directory, guest image
	@scripts/setup.sh

update: ## take the archive's newest kernel
	@scripts/buildroot.sh --update >/dev/null && scripts/setup.sh

clean: ## remove what was built here (not the cache)
	@rm -rf out

distclean: clean ## and the cache as well
	@scripts/setup.sh --remove

help:
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile
