#!/bin/bash
#
# Makes the KDIR: a kernel build directory for Debian's own kernel in which
# Rust modules can be built. Debian's header packages lack the Rust metadata;
# it is regenerated from Debian's source with Debian's configuration and
# compilers, and the symbols it would export are compared with those of the
# shipped kernel: all must be equal, names and hashes.
#
# usage: scripts/kdir.sh          print the KDIR's path (valid inside the build
#                                 root only), make it if missing
#        scripts/kdir.sh --read   put kernel source worth reading into the cache
#
# Cached as kdir-KERNEL-KEY; KEY is a hash of this file, the kernel's package
# version and the compilers' versions.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

root=$("$TREE/scripts/buildroot.sh")
kernel=$(fact "$root" kernel)
version=$(fact "$root" version)
source=$(fact "$root" source)
export DMAPLANE_ROOT=$root
in_root=$TREE/scripts/in-root
tarball=$root$source
top=$(basename "$source" .tar.xz)
headers=/usr/src/linux-headers-$kernel
common=$(sed -n 's/^include \(.*\)\/Makefile$/\1/p' "$root$headers/Makefile")
[[ $common ]] || die "$headers/Makefile names no common tree: Debian changed its layout; adapt $0"

if [[ ${1-} == --read ]]; then
	reading=$CACHE/src-read-$kernel
	mkdir -p "$reading"
	want=()
	for path in include rust kernel mm io_uring lib samples/rust drivers/infiniband drivers/android \
		drivers/dma-buf drivers/base drivers/pci scripts Documentation/rust Makefile; do
		want+=("$top/$path")
	done
	step "extracting kernel source to read" tar -C "$reading" --strip-components=1 -xJf "$tarball" "${want[@]}"
	echo "$reading"
	exit 0
fi

compilers=$(awk '/^Package: / { p = $2 }
	/^Version: / && p ~ /^(rustc|bindgen|gcc-[0-9]+|pahole|libclang-19-dev)$/ { print p, $2 }' \
	"$root/var/lib/dpkg/status")
kdir=$CACHE/kdir-$kernel-$(key "${BASH_SOURCE[0]}" - <<<"$version $compilers")
if [[ -e $kdir/complete ]]; then
	echo "$kdir"
	exit 0
fi
lock kdir
if [[ -e $kdir/complete ]]; then
	echo "$kdir"
	exit 0
fi
work=$(fresh_dir kdir)
tree=$work/linux
new=$work/kdir
mkdir "$tree" "$new"

# Of 1.6 GB of source, what `make prepare` reads.
extract() {
	tar -C "$tree" --strip-components=1 -xJf "$tarball" --wildcards --no-wildcards-match-slash --anchored \
		--exclude="$top/tools/testing" --exclude="$top/tools/perf" \
		"$top"/{.rustfmt.toml,.clippy.toml,Makefile,Kbuild,scripts,rust,include,arch/x86,tools,Documentation/Kconfig} \
		"$top"/kernel/{bounds.c,time/timeconst.bc,sched,workqueue_internal.h} \
		"$top"/{drivers/base/base.h,security/selinux/include}
	tar -C "$tree" --strip-components=1 -xJf "$tarball" --wildcards "$top/*Kconfig*"
}
step "extracting the kernel's source (1 of 3)" extract

prepare() {
	local release gcc
	release=$(make -s -C "$tree" kernelversion)
	gcc=$(sed -n 's/^CC = .*\(gcc-[0-9]*\)$/\1/p' "$root$headers/.kernelvariables")
	cp "$root$headers"/{.config,Module.symvers} "$tree"
	"$in_root" make -C "$tree" CC="x86_64-linux-gnu-${gcc:-gcc}" HOSTCC=gcc \
		LOCALVERSION="${kernel#"$release"}" olddefconfig prepare
	cmp "$tree/.config" "$root$headers/.config" || {
		echo "the configuration changed: the compilers here are not the ones Debian used for $kernel"
		return 1
	}
	[[ $("$in_root" make -s -C "$tree" LOCALVERSION="${kernel#"$release"}" kernelrelease) == "$kernel" ]]
}
step "regenerating the Rust metadata (2 of 3, about a minute)" prepare

# What the regenerated objects would export, against what the kernel exports.
sed -n 's/^EXPORT_SYMBOL_RUST_GPL(\(.*\));$/\1/p' "$tree"/rust/exports_*_generated.h | sort -u >"$work/ours"
awk '$3 == "vmlinux" && $2 ~ /^(_R|rust_helper_|__rust)/ { print $2 }' "$root$headers/Module.symvers" |
	sort -u >"$work/theirs"
awk '{ print $2 }' "$root$headers/Module.symvers" | sort -u >"$work/exported"
missing=$(comm -23 "$work/ours" "$work/exported" | wc -l)
extra=$(comm -13 "$work/ours" "$work/theirs" | wc -l)
count=$(wc -l <"$work/ours")
if ((missing || extra || count == 0)); then
	die "the regenerated Rust metadata does not match $kernel:" \
		"$count symbols; $missing the kernel does not export, $extra it exports that are not made here" \
		"a module built so could corrupt memory. The build root's compilers or source differ from" \
		"those Debian built with: make update, or wait until the archive is consistent" \
		"the lists: $work/{ours,theirs}"
fi
say "all $count exported Rust symbols equal those of $kernel"

assemble() {
	local path
	for path in .config .kernelvariables Module.symvers arch include tools vmlinux; do
		ln -s "$headers/$path" "$new/$path"
	done
	mkdir -p "$new"/{scripts,rust/kernel}
	for path in "$root$headers"/scripts/*; do
		ln -s "$headers/scripts/${path##*/}" "$new/scripts/"
	done
	cp -f --remove-destination "$tree/scripts/target.json" "$new/scripts/"
	cp "$tree"/rust/*.rmeta "$tree"/rust/lib*.so "$tree"/rust/Makefile "$new/rust/"
	cp "$tree"/rust/kernel/generated_arch_*_asm.rs "$new/rust/kernel/"
	cp "$tree/.rustfmt.toml" "$tree/.clippy.toml" "$new/"
	printf 'KBUILD_OUTPUT=%s\ninclude %s/Makefile\n' "$kdir" "$common" >"$new/Makefile"
	echo "$kernel" >"$new/complete"
}
step "assembling the build directory (3 of 3)" assemble
rm -rf "$kdir"
mv "$new" "$kdir"
rm -rf "$work"
echo "$kdir"
