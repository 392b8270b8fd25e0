#!/bin/bash
#
# Makes what the test machine boots: Debian's kernel image as shipped (or, with
# DMAPLANE_KERNEL=debug, the instrumented one of debug-kernel.sh), and the base
# initramfs: bash, busybox, iproute2, the RDMA tools and libraries, and
# the kernel modules that Soft-RoCE and the tests need, all from the build
# root. It has no /init: vm.sh adds that (tests/guest/init) and the run's own
# files. Uncompressed, because unpacking is what costs time in the machine.
#
# usage: scripts/guest.sh        print the directory (vmlinuz, base.cpio, kernel)
#
# Cached as guest-KERNEL-KEY; KEY is a hash of this file and of the names of the
# root and of the instrumented kernel.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

modules=(
	rdma_rxe ib_uverbs ib_umad rdma_ucm rdma_cm ib_cm iw_cm configfs
	virtio_net virtio_blk 9p 9pnet_virtio overlay
	dummy veth bridge tun sch_netem sch_tbf
	vgem vivid vfio_pci nvme nvme_core
)
programs=(
	bash busybox kmod ip rdma tc bridge ping strace numactl
	# where busybox's own differ from what people write scripts for
	date stat timeout od mktemp dd sort stdbuf sha256sum cmp grep sed taskset
	prlimit setpriv unshare nsenter flock findmnt
	# RDMA
	ibv_devices ibv_devinfo ibv_rc_pingpong rping ucmatose cmtime rcopy
	ib_send_lat ib_send_bw ib_write_lat ib_write_bw ib_read_lat ib_read_bw
)

root=$("$TREE/scripts/buildroot.sh")
case ${DMAPLANE_KERNEL:-stock} in
stock)
	kernel=$(fact "$root" kernel)
	vmlinuz=$root$(fact "$root" vmlinuz)
	modules_dir=$root$(fact "$root" modules)
	origin=${root##*/}
	;;
debug)
	debug=$("$TREE/scripts/debug-kernel.sh")
	kernel=$(cat "$debug/complete")
	vmlinuz=$debug/vmlinux
	modules_dir=$debug/lib/modules/$kernel
	origin="${root##*/} ${debug##*/}"
	modules=(configfs) # all are built in
	;;
*) die "DMAPLANE_KERNEL=$DMAPLANE_KERNEL: there is stock (the default) and debug" ;;
esac
guest=$CACHE/guest-$kernel-$(key "${BASH_SOURCE[0]}" - <<<"$origin")
finished() { [[ -e $guest/kernel ]]; }
if finished; then
	echo "$guest"
	exit 0
fi
lock guest
if finished; then
	echo "$guest"
	exit 0
fi

export DMAPLANE_ROOT=$root
work=$(fresh_dir guest)
base=$work/base

# Of the modules named above: they and what they depend on, not compressed.
copy_modules() {
	local all=$work/all/lib/modules to=$base/usr/lib/modules/$kernel
	mkdir -p "$all" "$to"
	cp -a "$modules_dir" "$all/"
	"$TREE/scripts/in-root" depmod -b "$work/all" "$kernel"
	"$TREE/scripts/in-root" modprobe -d "$work/all" -S "$kernel" --show-depends -a "${modules[@]}" |
		sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u >"$work/modules"
	while read -r path; do
		mkdir -p "$to/$(dirname "${path#"$all/$kernel/"}")"
		cp "$path" "$to/${path#"$all/$kernel/"}"
	done <"$work/modules"
	find "$to" -name '*.ko.xz' -exec xz -d {} +
	cp "$all/$kernel"/modules.{order,builtin,builtin.modinfo} "$to/"
	ln -s usr/lib "$base/lib"
	"$TREE/scripts/in-root" depmod -b "$base" "$kernel"
}

# Runs in the root: the programs and the libraries they load.
copy_programs() {
	cat <<-'END'
		set -eu
		base=$1
		shift
		providers=$(ls /usr/lib/*/libibverbs/librxe-*.so /usr/lib/*/libibverbs/libsiw-*.so)
		{
			for name; do readlink -e "$(command -v "$name")" || echo "no program $name" >&2; done
			echo "$providers"
			# dlopen()ed: what pthread_exit() wants
			find /usr/lib/*-linux-gnu/ -maxdepth 1 -name libgcc_s.so.1
			find /usr/libexec/coreutils -name libstdbuf.so
		} | sort -u >"$base/../files"
		xargs ldd <"$base/../files" 2>/dev/null | grep -o '/[^ :]*lib[^ :]*' | sort -u >>"$base/../files"
		while read -r file; do
			to=$base/$(dirname "$file" | sed 's,^/lib,/usr/lib,; s,^/bin,/usr/bin,; s,^/sbin,/usr/sbin,')
			mkdir -p "$to"
			[ -e "$to/${file##*/}" ] || cp -L "$file" "$to/"
		done <"$base/../files"
		for name; do
			real=$(readlink -e "$(command -v "$name")")
			[ -e "$base/usr/bin/$name" ] || [ -e "$base/usr/sbin/$name" ] || ln -s "$real" "$base/usr/bin/$name"
		done
		for name in modprobe insmod rmmod lsmod modinfo depmod; do ln -s kmod "$base/usr/bin/$name"; done
		# busybox as sh would take its own ip and modprobe for the real ones
		ln -s bash "$base/usr/bin/sh"
		for name in $(busybox --list); do
			[ -e "$base/usr/bin/$name" ] || [ -e "$base/usr/sbin/$name" ] || ln -s busybox "$base/usr/bin/$name"
		done
		mkdir -p "$base/etc/libibverbs.d"
		cp /etc/libibverbs.d/rxe.driver /etc/libibverbs.d/siw.driver "$base/etc/libibverbs.d/"
	END
}

assemble() {
	mkdir -p "$base"/{etc,dev,proc,sys,run,tmp,root,home/user,share,usr/{bin,sbin,lib,lib64}}
	ln -s usr/bin "$base/bin"
	ln -s usr/sbin "$base/sbin"
	ln -s usr/lib64 "$base/lib64"
	copy_modules
	copy_programs | "$TREE/scripts/in-root" sh -s -- "$base" "${programs[@]}" || return
	printf '%s\n' 'root:x:0:0:root:/root:/bin/bash' 'user:x:1000:1000::/home/user:/bin/bash' \
		'nobody:x:65534:65534::/:/bin/false' >"$base/etc/passwd"
	printf '%s\n' 'root:x:0:' 'user:x:1000:' 'nogroup:x:65534:' >"$base/etc/group"
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$base/etc/hosts"
	# There is no udev: with the driver come its users' devices.
	mkdir -p "$base/etc/modprobe.d"
	echo 'softdep rdma_rxe post: ib_uverbs rdma_ucm' >"$base/etc/modprobe.d/rdma.conf"
	echo 'passwd: files' >"$base/etc/nsswitch.conf"
	chmod 1777 "$base/tmp"
	mkdir "$work/new"
	pack "$base" >"$work/new/base.cpio"
	cp "$vmlinuz" "$work/new/vmlinuz"
	echo "$kernel" >"$work/new/kernel"
}
step "making the test machine's base image (about 30 s)" assemble
say "base image: $(du -m "$work/new/base.cpio" | cut -f1) MB, $(wc -l <"$work/modules") kernel modules"
mv "$work/new" "$guest"
rm -rf "$work"
echo "$guest"
