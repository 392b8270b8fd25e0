#!/bin/bash
#
# Boots Debian's own kernel in a virtual machine and runs a command in it.
#
# usage: scripts/vm.sh run [OPTION…] -- COMMAND…   its output and exit status are ours
#        scripts/vm.sh shell [OPTION…]             an interactive shell
#
#   --overlay DIR      lay DIR's contents over the machine's / (may be repeated)
#   --share DIR        DIR is /share in the machine, writable
#   --disk SIZE        an NVMe disk, empty, and lost afterwards
#   --iommu intel      devices reach what is mapped for them and nothing else
#   --net MY:PEER:MAC  a network card, MTU 4200, linked to a second machine's over the
#                      unix sockets MY and PEER (the second has them the other way round)
#   --name N  --cpus 2  --mem 1G  --numa NODES       the machine
#   --timeout S        limit for the whole run (300; 0: none)
#   --log FILE         the kernel's console (default out/vm/NAME.console.log)
#   --append ARGS      more kernel arguments    --qemu ARG   one more QEMU argument
#   --icount SEED      one instruction is one virtual nanosecond, of all processors (one,
#                      if not said) together; repeatable to the byte
#
# Exit status: the command's; 124: time limit; 125: the machine died (panic, oops,
# or it never came up). A boot that dies before init is tried three times: QEMU
# without KVM panics in about one of twenty, in the kernel's code patching.
#
# /dev/kvm is used only where it was seen to boot this kernel; the verdict is
# cached as kvm-KEY. DMAPLANE_ACCEL=tcg or kvm overrides it.
#
# With DMAPLANE_KERNEL=debug the instrumented kernel is booted (debug-kernel.sh),
# which is slower and larger: all time limits are four times as long, and the
# machine has twice the memory, and half of that again on node 0, where the kernel is.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

usage() { sed -n '3,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
mode=${1-}
[[ $mode == run || $mode == shell ]] || { usage >&2; exit 2; }
shift

name=vm cpus='' mem=1G numa=0 share='' disk='' iommu='' timeout=300 log='' append='' icount=''
overlays=() nets=() extra=()
while (($#)) && [[ $1 != -- ]]; do
	(($# > 1)) || die "$1 wants a value"
	case $1 in
	--name) name=$2 ;;
	--cpus) cpus=$2 ;;
	--mem) mem=$2 ;;
	--numa) numa=$2 ;;
	--share) share=$(cd "$2" && pwd -P) ;;
	--timeout) timeout=$2 ;;
	--log) log=$2 ;;
	--append) append+=" $2" ;;
	--icount) icount=$2 ;;
	--disk) disk=$2 ;;
	--iommu) iommu=$2 ;;
	--overlay) overlays+=("$2") ;;
	--net) nets+=("$2") ;;
	--qemu) extra+=("$2") ;;
	*) die "unknown option $1" "scripts/vm.sh without arguments says which there are" ;;
	esac
	shift 2
done
[[ ${1-} == -- ]] && shift
: "${cpus:=$([[ $icount ]] && echo 1 || echo 2)}"
[[ $mode == shell ]] || (($#)) || die "no command given: scripts/vm.sh run [OPTION…] -- COMMAND…"

guest=$("$TREE/scripts/guest.sh")
slower=1 machine=pc boot_limit=300
if [[ ${DMAPLANE_KERNEL:-stock} == debug ]]; then
	slower=4
	machine=q35 # the other one's interrupt routing, in AML, takes 25 s under lockdep
	# The slab allocator's own caches keep stale addresses, which hide leaks from
	# kmemleak; with its debugging on it has none.
	append+=' kasan_multi_shot slab_debug=F tsc=reliable workqueue.watchdog_thresh=120 kunit.enable=1'
	append+=' sysctl.kernel.hung_task_timeout_secs=300'
	mem=$((2 * $(numfmt --from=iec "${mem^^}") >> 20))M
fi
# The machine's processors wait for the host's: a false alarm helps nobody.
[[ $icount ]] || append+=' watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=90'
if [[ $iommu ]]; then
	[[ $iommu == intel ]] || die "there is no IOMMU \"$iommu\"" "the one there is is intel"
	machine=q35
	# What is unmapped is at once out of reach.
	append+=' intel_iommu=on iommu.passthrough=0 iommu.strict=1'
fi
timeout=$((timeout * slower))
log=${log:-$TREE/out/vm/$name.console.log}
mkdir -p "$(dirname "$log")"
run=$(mktemp -d "${TMPDIR:-/tmp}/dmaplane-vm.XXXXXX")
ln -sfn "$run/console" "$log" # for whoever looks while it runs
qemu=''
# shellcheck disable=SC2317 # the traps call it
cleanup() {
	[[ -z $qemu ]] || kill -KILL "$qemu" 2>/dev/null || :
	[[ ! -e $run/console ]] || { tr -d '\r' <"$run/console" >"$run/log" && mv -f "$run/log" "$log"; }
	rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The run's own files, behind the base image.
stage=$run/stage
mkdir "$stage"
for dir in "${overlays[@]}"; do cp -a "$dir/." "$stage/"; done
for dir in bin sbin lib; do # links to /usr/… in the base, which a directory would replace
	if [[ -d $stage/$dir && ! -L $stage/$dir ]]; then
		mkdir -p "$stage/usr/$dir"
		cp -a "$stage/$dir/." "$stage/usr/$dir/"
		rm -rf "${stage:?}/$dir"
	fi
done
cp "$TREE/tests/guest/init" "$stage/init"
{
	echo '#!/bin/bash'
	[[ $mode == shell ]] || printf 'exec'
	[[ $mode == shell ]] || printf ' %q' "$@"
	echo
} >"$stage/run-command"
chmod 755 "$stage/init" "$stage/run-command"
{ cat "$guest/base.cpio" && pack "$stage"; } >"$run/initrd"
rm -rf "$stage"

# Whether KVM boots this kernel here: tried once, not guessed.
kvm_works() {
	[[ -r /dev/kvm && -w /dev/kvm ]] || return 1
	local verdict
	verdict=$CACHE/kvm-$({ qemu-system-x86_64 --version; uname -r; grep -m1 'model name' /proc/cpuinfo; cat "$guest/kernel"; } | key -)
	if [[ ! -e $verdict ]]; then
		say "trying once whether KVM boots this kernel ($((20 * slower)) s at most)"
		if DMAPLANE_ACCEL=kvm DMAPLANE_TRIES=1 "${BASH_SOURCE[0]}" run --name kvm-probe --timeout 20 -- \
			true >/dev/null 2>&1; then
			echo yes >"$verdict"
			say "KVM boots it"
		else
			echo no >"$verdict"
			say "KVM does not: processors are emulated (TCG), which is slower and does as well"
		fi
	fi
	[[ $(cat "$verdict") == yes ]]
}
accel=${DMAPLANE_ACCEL:-}
if [[ -z $accel ]]; then
	accel=tcg
	[[ $icount ]] || { kvm_works && accel=kvm; } || :
fi

bytes=$(numfmt --from=iec "${mem^^}") kernel_bytes=0
if ((numa > 0 && slower > 1)); then
	kernel_bytes=$((bytes / 2))
	mem=$(((bytes + kernel_bytes) >> 20))M
fi
args=(
	setpriv --pdeathsig KILL -- # it must not outlive this script
	qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot
	-machine "$machine" -m "$mem" -smp "$cpus,sockets=$((numa ? cpus : 1))"
	-kernel "$guest/vmlinuz" -initrd "$run/initrd"
	-chardev "file,id=console,path=$run/console" -serial chardev:console
	-device "virtio-serial-pci,ioeventfd=off,max_ports=4" -chardev "file,id=ctl,path=$run/ctl" -device "virtserialport,chardev=ctl,name=ctl"
)
kernel_args="console=ttyS0 panic=-1 oops=panic rdinit=/init mitigations=off apparmor=0 nokaslr dmavm.name=$name"
if [[ $icount ]]; then
	args+=(
		-accel "tcg,thread=single" -icount "shift=0,sleep=off" -cpu "max,-rdrand,-rdseed"
		-seed "$icount" -rtc "base=2026-01-01,clock=vm"
	)
	kernel_args+=' tsc=reliable norandmaps'
elif [[ $accel == kvm ]]; then
	args+=(-accel kvm -cpu host)
else
	# QEMU does string instructions, which kernels prefer where they are called fast,
	# byte by byte; and a page walk has one level less.
	args+=(-accel "tcg,thread=multi" -cpu "max,-erms,-fsrm,-la57")
fi
[[ ! $iommu ]] || args+=(-device "intel-iommu,intremap=off") # before what is behind it
if ((numa > 0)); then
	for ((node = 0; node < numa; node++)); do
		size=$((bytes / numa + (node == 0 ? kernel_bytes : 0)))
		args+=(-object "memory-backend-ram,id=m$node,size=$size")
		cpu_list=''
		for ((cpu = node; cpu < cpus; cpu += numa)); do cpu_list+=",cpus=$cpu"; done
		args+=(-numa "node,nodeid=$node,memdev=m$node$cpu_list")
		for ((peer = 0; peer < node; peer++)); do args+=(-numa "dist,src=$peer,dst=$node,val=20"); done
	done
fi
for ((i = 0; i < ${#nets[@]}; i++)); do
	IFS=: read -r my peer mac <<<"${nets[i]}"
	[[ $mac ]] || die "--net wants MY:PEER:MAC, not ${nets[i]}"
	rm -f "$my"
	args+=(
		-netdev "dgram,id=n$i,local.type=unix,local.path=$my,remote.type=unix,remote.path=$peer"
		-device "virtio-net-pci,netdev=n$i,mac=$mac,host_mtu=4200,romfile="
	)
	kernel_args+=' dmavm.net=1'
done
if [[ $disk ]]; then
	truncate -s "$disk" "$run/disk"
	args+=(
		-drive "if=none,id=disk,file=$run/disk,format=raw,cache=unsafe"
		-device "nvme,drive=disk,serial=dmaplane"
	)
fi
if [[ $share ]]; then
	args+=(-virtfs "local,path=$share,mount_tag=share,security_model=none")
	kernel_args+=' dmavm.share=1'
fi

if [[ $mode == shell ]]; then
	[[ -t 0 ]] || die "scripts/vm.sh shell wants a terminal; use: scripts/vm.sh run -- COMMAND"
	read -r rows columns < <(stty size)
	echo "the kernel's messages: $log; leave with exit or Ctrl-D; Ctrl-A X ends the machine" >&2
	"${args[@]}" -chardev stdio,id=out,mux=on,signal=off -mon chardev=out -device virtconsole,chardev=out \
		"${extra[@]}" -append "$kernel_args$append dmavm.shell=${rows}x$columns"
	exit "$(sed -n 's/^exit //p' "$run/ctl")"
fi

tail_console() {
	echo "the end of $log:"
	tail -n "$1" "$run/console" | tr -d '\r'
}
panicked() { grep -qa 'Kernel panic - not syncing' "$run/console" 2>/dev/null; }

# One boot. Sets result: a status, or "early" if it died before init.
boot() {
	local deadline=$((SECONDS + timeout)) early=$((SECONDS + boot_limit)) dead=0 reader
	: >"$run/ctl"
	: >"$run/console"
	exec 5> >(exec cat)
	reader=$!
	"${args[@]}" -chardev file,id=out,path=/proc/self/fd/5 \
		-device virtserialport,chardev=out,name=out "${extra[@]}" -append "$kernel_args$append" \
		</dev/null >"$run/qemu" 2>&1 &
	qemu=$!
	exec 5>&-
	result=''
	while kill -0 "$qemu" 2>/dev/null; do
		sleep 0.1
		if ((timeout && SECONDS >= deadline)); then
			result=124
		elif ((SECONDS >= early)) && [[ ! -s $run/ctl ]]; then
			result=early
		elif ((dead++ % 10 == 9)) && panicked; then
			sleep 1 # for the rest of the message
			result=125
		fi
		[[ -z $result ]] || kill -KILL "$qemu" 2>/dev/null || :
	done
	wait "$qemu" 2>/dev/null || :
	qemu=''
	wait "$reader" || :
	if [[ $result != 124 ]]; then
		result=$(sed -n 's/^exit //p' "$run/ctl")
		[[ $result ]] || result=125
		[[ $result != 125 || -s $run/ctl ]] || result=early
	fi
}

tries=${DMAPLANE_TRIES:-3}
for ((try = 1; try <= tries; try++)); do
	boot
	[[ $result == early ]] || break
	[[ ! -s $run/qemu ]] || { cat "$run/qemu" >&2; }
	tr -d '\r' <"$run/console" >"$log.try$try"
	say "$name died before init (try $try of $tries): $log.try$try"
done
case $result in
124)
	tail_console 15 >&2
	say "$name: over its time limit of $timeout s"
	;;
early | 125)
	if ! grep -q '^exit ' "$run/ctl"; then
		result=125
		tail_console 60 >&2
		cat "$run/qemu" >&2
		say "$name: the machine died; its console is above"
	fi
	;;
esac
exit "$result"
