#!/bin/bash
#
# Makes the instrumented kernel: tests/kernel/debug.config over allnoconfig, from
# the same linux-source as Debian's kernel, with KASAN, lockdep, kmemleak, fault
# injection and more. Built with clang, because Rust with KASAN asks for that.
#
# usage: scripts/debug-kernel.sh    print its directory, make it if missing
#
# Nobody has to call it: with DMAPLANE_KERNEL=debug in the environment module.sh
# builds for this kernel, guest.sh packs it and vm.sh boots it.
#
# The directory is a KDIR (valid inside the build root only; modules are built
# with LLVM=DIR/llvm/) that holds the kernel as well: vmlinux, which QEMU boots as it
# is (PVH), System.map, lib/modules, and its release in the file complete. Cached as debug-KERNEL-KEY;
# KEY is a hash of the configuration, of the steps below, of the kernel's package
# version and of the compilers' versions. Making it takes 10 to 20 minutes and
# 4 GB meanwhile; 350 MB are kept. clang is cached as llvm-VERSION, next to the
# build root: what builds for Debian's kernel has no use for it.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

config=$TREE/tests/kernel/debug.config
root=$("$TREE/scripts/buildroot.sh")
kernel=$(fact "$root" kernel)
version=$(fact "$root" version)
source=$(fact "$root" source)
export DMAPLANE_ROOT=$root
in_root=$TREE/scripts/in-root

installed() { # PATTERN: the root's packages of such names, with their versions
	awk -v pattern="^($1)\$" '/^Package: / { p = $2 } /^Version: / && p ~ pattern { print p, $2 }' \
		"$root/var/lib/dpkg/status"
}
read -r libclang llvm_version < <(installed 'libclang-[0-9]+-dev')
llvm_major=${libclang//[!0-9]/}
llvm=$CACHE/llvm-${llvm_version#*:} # no colons in paths
tools=$llvm/usr/lib/llvm-$llvm_major

# ---- Steps ----------------------------------------------------------------------

# clang and its tools, of the version that the root's libclang and libLLVM have.
# Unpacked, not installed, and the archive's lists, which the root has none of, are
# put elsewhere: the root stays as it is.
fetch_llvm() {
	local new=$work/new
	local apt=(apt-get -o APT::Sandbox::User=root -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/apt")
	mkdir -p "$new" "$work/lists/partial" "$work/apt/archives/partial"
	(
		cd "$work"
		"$in_root" "${apt[@]}" update && "$in_root" "${apt[@]}" download \
			{clang,lld,llvm}-"$llvm_major=$llvm_version" "libclang-cpp$llvm_major=$llvm_version" &&
			"$in_root" find . -maxdepth 1 -name '*.deb' -exec dpkg-deb -x {} new \;
	) || return
	ln -s "/usr/lib/llvm-$llvm_major/lib/clang" "$new/usr/lib/llvm-$llvm_major/lib/clang"
	"$in_root" "$new/usr/lib/llvm-$llvm_major/bin/clang" --version &&
		"$in_root" "$new/usr/lib/llvm-$llvm_major/bin/ld.lld" --version
}

# The source, without what nothing here is built from and no Kconfig file is in.
extract() {
	local top
	top=$(basename "$source" .tar.xz)
	tar -C "$tree" --strip-components=1 -xJf "$root$source" --anchored --exclude="$top/Documentation/*/*" \
		--exclude="$top/arch/*/boot/dts" --exclude="$top/tools/testing" \
		--exclude="$top/tools/perf" --exclude="$top/drivers/gpu/drm/amd/include"
}

# What is changed in the source. rxe shows three files for each of its 1024 GIDs in
# sysfs, and all of that again in each network namespace: instrumented, a device then
# takes seconds to come and to go, which is most of the time of many a test.
fewer_gids() {
	local file=$tree/drivers/infiniband/sw/rxe/rxe_param.h
	sed -i 's/\(RXE_PORT_GID_TBL_LEN[[:space:]]*=\) 1024/\1 64/' "$file" &&
		grep -q 'RXE_PORT_GID_TBL_LEN.*= 64' "$file"
}

# A use after free in rxe: a packet that is queued for a queue pair holds the reference to it,
# and a task that runs already may take that packet, and the reference, before the task is
# scheduled for it. Instrumented, and with many queue pairs ended under load, that happens.
packets_queued_safely() {
	local way file
	for way in resp comp; do
		file=$tree/drivers/infiniband/sw/rxe/rxe_$way.c
		sed -i "/^void rxe_${way}_queue_pkt(/,/^}/ {
			s/^\tskb_queue_tail(/\trxe_get(qp);\n&/
			s/^\trxe_sched_task(.*/&\n\trxe_put(qp);/
		}" "$file" || return
		[[ $(sed -n "/^void rxe_${way}_queue_pkt(/,/^}/ p" "$file" | tr -d '\n\t') == \
		*'rxe_get(qp);skb_queue_tail('*'rxe_sched_task('*'rxe_put(qp);}' ]] || return
	done
}

# And one in siw: a connection that is not accepted yet has its listener's callbacks, so
# that a peer who hangs up that early ends the listener.
listeners_survive() {
	local file=$tree/drivers/infiniband/sw/siw/siw_cm.c
	sed -i '/^static void siw_cm_llp_state_change(.*)$/,/^}/ {
		/^\tcase TCP_CLOSE_WAIT:$/a \\t\tif (cep->state == SIW_EPSTATE_LISTENING)\n\t\t\tbreak;
	}' "$file" &&
		grep -A1 'TCP_CLOSE_WAIT:' "$file" | grep -q 'SIW_EPSTATE_LISTENING'
}

build() { "$in_root" make -C "$tree" "LLVM=$tools/bin/" "$@"; }

# Kconfig drops silently what it does not know or cannot have.
configure() {
	local line option bad=0
	build KCONFIG_ALLCONFIG="$config" allnoconfig || return
	while read -r line; do
		case $line in
		CONFIG_*) grep -qxF -e "$line" "$tree/.config" && continue ;;
		'# CONFIG_'*' is not set')
			option=${line#\# }
			grep -q "^${option%% *}=" "$tree/.config" || continue
			;;
		*) continue ;;
		esac
		echo "not in the resulting configuration: $line"
		bad=1
	done <"$config"
	return $bad
}

compile() { nice "$in_root" make -C "$tree" "LLVM=$tools/bin/" vmlinux modules; }

# What modules are built with, by the kernel's own rule, and what that leaves out.
assemble() {
	local path
	build run-command KBUILD_RUN_COMMAND="+\$(srctree)/scripts/package/install-extmod-build $new" &&
		build INSTALL_MOD_PATH="$new" modules_install || return
	rm -f "$new"/lib/modules/*/build
	mkdir -p "$new/rust/kernel"
	cp "$tree"/rust/*.rmeta "$tree"/rust/lib*.so "$tree/rust/Makefile" "$new/rust/" || return
	for path in "$tree"/rust/kernel/generated_arch_*_asm.rs; do
		[[ ! -e $path ]] || cp "$path" "$new/rust/kernel/"
	done
	cp "$tree"/{.config,.rustfmt.toml,.clippy.toml,System.map} "$new/" &&
		"$in_root" "$tools/bin/llvm-strip" -o "$new/vmlinux" "$tree/vmlinux" || return
	ln -s "$tools/bin" "$new/llvm"
	cp "$tree/include/config/kernel.release" "$new/complete"
}

# ---- All of them ----------------------------------------------------------------

debug=$CACHE/debug-$kernel-$(key "$config" <(
	declare -f extract fewer_gids packets_queued_safely listeners_survive build configure compile assemble
	echo "$version"
	installed 'rustc|bindgen|gcc-[0-9]+|libclang-[0-9]+-dev'
))
if [[ -e $debug/complete ]]; then
	echo "$debug"
	exit 0
fi
lock debug
if [[ -e $debug/complete ]]; then
	echo "$debug"
	exit 0
fi

if [[ ! -e $tools/bin/clang ]]; then
	work=$(fresh_dir debug)
	step "fetching clang $llvm_major (35 MB; if the archive has moved on: make update)" fetch_llvm
	mv "$work/new" "$llvm"
	rm -rf "$work"
fi
work=$(fresh_dir debug)
tree=$work/linux
new=$work/new
mkdir "$tree" "$new"
step "instrumented kernel: extracting its source (1 of 4)" extract
fewer_gids || die "rxe's number of GIDs is not where it was: see fewer_gids in $0"
packets_queued_safely || die "rxe does not queue packets as it did: see packets_queued_safely in $0"
listeners_survive || die "siw's sockets do not change state as they did: see listeners_survive in $0"
step "instrumented kernel: configuring (2 of 4)" configure
step "instrumented kernel: compiling (3 of 4; 10 to 20 minutes on 2 processors)" compile
step "instrumented kernel: assembling the build directory (4 of 4)" assemble
rm -rf "$debug"
mv "$new" "$debug"
rm -rf "$work"
echo "$debug"
