# shellcheck shell=bash
#
# For everything that runs in the test machine: networks with RDMA devices,
# KTAP lines, waiting, the module's counters. Sourced by run and by each
# scenario.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${DMAPLANE_BIN:-$here/../bin}
objects=/sys/kernel/debug/dmaplane/objects

# Soft-RoCE or, with DMAPLANE_RDMA=siw, Soft-iWARP. Over iWARP no write carries an
# immediate: what sends data asserts that it is told so, and sends leases instead
# (see peer.c and tests/selftests/pair.h).
rdma_type=${DMAPLANE_RDMA:-rxe}
declare -A drivers=([rxe]=rdma_rxe [siw]=siw)
rdma_driver=${drivers[$rdma_type]}

# An instrumented kernel is slow.
kmemleak=/sys/kernel/debug/kmemleak
slow=1
[[ ! -e $kmemleak ]] || slow=4

# ---- KTAP -----------------------------------------------------------------

ktap_count=0
ktap_failed=0

# plan N: how many results will follow.
plan() {
	echo "KTAP version 1"
	echo "1..$1"
}

# result STATUS NAME: reports a test by an exit status.
result() {
	ktap_count=$((ktap_count + 1))
	if (($1 == 0)); then
		echo "ok $ktap_count $2"
	else
		ktap_failed=1
		echo "not ok $ktap_count $2"
	fi
	return 0
}

# check NAME CMD…: a test that is one command.
check() {
	local name=$1 status=0
	shift
	"$@" 2>&1 || status=$?
	((status == 0)) || echo "# $* exited with $status"
	result "$status" "$name"
}

# not CMD…: succeeds if the command fails.
not() {
	! "$@"
}

# done_testing: the scenario's exit status.
done_testing() {
	exit "$ktap_failed"
}

# ---- Waiting --------------------------------------------------------------

# within SECONDS CMD…: until the command succeeds, again and again.
within() {
	local end=$((SECONDS + $1 * slow))
	shift
	until "$@"; do
		((SECONDS <= end)) || return 1
		sleep 0.05
	done
}

# ends_within SECONDS PID: waits for a child; its exit status, or 124.
ends_within() {
	within "$1" gone "$2" || return 124
	wait "$2"
}
gone() { [[ ! -e /proc/$1 || $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1) == Z ]]; }

# said FILE TEXT: whether a line with TEXT is in FILE.
said() { grep -q -- "$2" "$1" 2>/dev/null; }

# ---- The module -----------------------------------------------------------

load_module() { modprobe dmaplane; }

# live NAME: the module's count of live objects.
live() { sed -n "s/^$1 //p" "$objects"; }

# Nothing lives but the RDMA devices, and those that are there. (What was abandoned is
# looked at by run.)
nothing_lives() {
	[[ -e $objects ]] && ! grep -Ev '^(fabrics|abandoned) ' "$objects" | grep -qv ' 0$' &&
		[[ $(live fabrics) == "$(compgen -G "/sys/class/infiniband/*" | wc -l)" ]]
}

# nothing_left: as above, soon.
nothing_left() {
	within 5 nothing_lives && return
	grep -v ' 0$' "$objects" | sed 's/^/# left: /'
	return 1
}

# ---- The kernel's log and memory ------------------------------------------

# What was looked at ends with such a record; the next look begins there, whoever's it
# is, so that nothing is said between two of them.
log_mark="dmaplane-test: the log was read up to here"
# Again, if it is overwritten meanwhile, as then reading ends early.
read_log() {
	local file
	file=$(mktemp)
	for _ in 1 2 3; do
		! dd if=/dev/kmsg of="$file" iflag=nonblock bs=8192 2>&1 | grep -q 'Broken pipe' || continue
		break
	done
	cat "$file"
	rm -f "$file"
}
log_marked=
mark_log() {
	[[ $log_marked ]] || read_log | grep -q ";$log_mark" || echo "$log_mark" >/dev/kmsg
	log_marked=1
}

# What the kernel said since the last mark and should not have said, and whether all of
# it could be read: records that were overwritten meanwhile leave a gap in the numbers,
# and where one is overwritten while it is read (EPIPE), reading ends before our mark.
# FAULTS=1: allocations were made to fail, and the kernel may say that.
log_complaints() { # [FAULTS]
	local end="$log_mark, $BASHPID $RANDOM $RANDOM"
	echo "$end" >/dev/kmsg
	read_log | awk -F'[,;]' -v mark="$log_mark" -v end="$end" -v faults="${1:-0}" '
		# What is not the kernel is not looked at, but counts.
		function take_number() {
			if (records++ && $2 != number + 1)
				found = found ($2 - number - 1) " records of the log are lost\n"
			number = $2 + 0
		}
		!/^[0-9]+,[0-9]+,/ { next }
		{
			take_number()
			text = $0
			sub(/^[^;]*;/, "", text)
			bad = 0 # lines to show, this one included
		}
		index(text, mark) == 1 {
			# Between the last two of them.
			result = found
			found = ""
			after = said = 0
			marks++
			ended = text == end
		}
		$1 >= 8 { next }
		text ~ /WARNING:|BUG:|BUG |Oops|KASAN|UBSAN|refcount_t|ODEBUG/ { bad = 30 }
		text ~ /possible (recursive|circular)|hung task|blocked for more than/ { bad = 30 }
		text ~ /stall|lockup|leak|general protection|[Uu]nable to handle/ { bad = 30 }
		text ~ /invoked oom-killer|Out of memory|page allocation failure/ { bad = 30 }
		text ~ /Bad page|corruption|scheduling while atomic|sleeping function/ { bad = 30 }
		# What a scan sums up is no finding: whose they are is said by leaks().
		text ~ /kmemleak: [0-9]+ new suspected/ { bad = 0 }
		text ~ /waiting for .* to become free/ { bad = 1 }
		# A frame is a complaint only if there is no other.
		text ~ /dmaplane/ && $1 % 8 <= 4 && !(found && text ~ /\+0x[0-9a-f]+\/0x/) { bad = 1 }
		text ~ /loading out-of-tree module taints kernel|module verification failed/ { bad = 0 }
		# With what is shown of the caller, but not what others say meanwhile.
		faults && text ~ /vmalloc error: / { said = 150 }
		faults && text ~ /kmemleak: Cannot allocate a scan area/ { said = 1 }
		said > 0 && text !~ /BUG:|KASAN|WARNING:|circular|refcount_t|UBSAN|Oops|ODEBUG|general protection|hung task|lockup|dmaplane: / { bad = 0; said-- }
		text ~ /<\/TASK>/ { said = 0 }
		text ~ /kmemleak: .*(disabled|kmemleak_object)/ { bad = 1 }
		bad > after { after = bad }
		after > 0 { found = found text "\n"; after-- }
		END {
			printf "%s", result
			if (marks < 2) print "the log no longer has the mark where the look begins"
			if (!ended) print "the log was not read to its end"
		}'
}

# On a kernel that looks for them: memory that somebody has lost. Only what has code of
# ours in its trace, and that is also what we have others allocate: the tests make and
# end devices, namespaces and processes by the hundred, and what their owners lose by
# themselves is not ours to mend. What a module's code allocated before it was unloaded
# has an address where others have a name.
forget_leaks() { echo clear >"$kmemleak"; }
leaks() {
	# What was just freed is told from what was lost by a second look.
	{ echo scan >"$kmemleak" && sleep 5 && echo scan >"$kmemleak"; } 2>/dev/null || echo "kmemleak is off"
	awk 'function show() { if (text ~ /\[dmaplane\]|\] 0x/) printf "%s", text; text = "" }
		/^unreferenced object/ { show() }
		{ text = text $0 "\n" }
		END { show() }' "$kmemleak"
}

# ---- Networks -------------------------------------------------------------

rdma_modules() {
	modprobe -a "$rdma_driver" rdma_cm ib_uverbs rdma_ucm dummy veth sch_netem
	# An RDMA device holds its interface until all that used it has ended.
	echo 120 >/proc/sys/net/core/netdev_unregister_timeout_secs
}

# One host for programs that connect to themselves: two RDMA devices, and an
# address without one (see tests/selftests/pair.h).
one_host() {
	rdma_modules
	ip link add host0 mtu 4200 type dummy
	ip addr add 10.77.0.1/24 dev host0
	ip addr add fd77::1/64 dev host0 nodad
	ip link set host0 up
	rdma link add "${rdma_type}0" type "$rdma_type" netdev host0
	ip link add host1 mtu 4200 type veth peer name host1peer mtu 4200
	ip addr add 10.78.0.1/24 dev host1
	ip link set host1peer up
	ip link set host1 up
	sysctl -qw net.ipv4.neigh.host1.retrans_time_ms=100
	rdma link add "${rdma_type}1" type "$rdma_type" netdev host1
	ip link add host2 type dummy
	ip addr add 10.79.0.1/24 dev host2
	ip link set host2 up
}

no_host() {
	rdma link del "${rdma_type}0"
	rdma link del "${rdma_type}1"
	ip link del host0
	ip link del host1
	ip link del host2
}

# Two hosts, which are network namespaces: a has 10.9.0.1, b has 10.9.0.2.
two_hosts() {
	local host
	rdma_modules
	for host in a b; do ip netns add "$host"; done
	ip link add va mtu 4200 netns a type veth peer name vb mtu 4200 netns b
	for host in a b; do
		ip -n "$host" link set lo up
		ip -n "$host" link set "v$host" up
		# Over iWARP TCP decides when a silent peer is gone: after 6 s instead of 15 minutes.
		ip netns exec "$host" sysctl -qw net.ipv4.tcp_retries2=4
	done
	ip -n a addr add 10.9.0.1/24 dev va
	ip -n b addr add 10.9.0.2/24 dev vb
	ip -n a addr add fd09::1/64 dev va nodad
	ip -n b addr add fd09::2/64 dev vb nodad
	for host in a b; do on "$host" tc qdisc add dev "v$host" root netem limit 4000; done
	for host in a b; do rdma_link "$host"; done
	# The connection manager takes its whole timeout for a neighbour not yet known.
	on a ping -q -c 1 -W 5 10.9.0.2 >/dev/null
	on a ping -q -c 1 -W 5 fd09::2 >/dev/null
}

# rdma_link HOST, no_rdma_link HOST: gives the host its RDMA device, takes it away.
rdma_link() { ip netns exec "$1" rdma link add "${rdma_type}_$1" type "$rdma_type" netdev "v$1"; }
no_rdma_link() { timeout $((60 * slow)) rdma link del "${rdma_type}_$1"; }

# First the RDMA devices: rxe drops its socket twice if a device's end and its
# namespace's meet.
no_hosts() {
	local host
	for host in a b; do no_rdma_link "$host" 2>/dev/null; done
	for host in a b; do ip netns del "$host"; done
}

# on HOST CMD…: runs a command on one of the two hosts.
on() {
	local host=$1
	shift
	ip netns exec "$host" "$@"
}

# cable WHAT…: how bad it is from now on, in both directions; none: good again, which is
# seen by packets that come through. Its queueing discipline is there before the adapters
# are, and stays: what is sent while one is put in place is refused, which the queue pair
# of Soft-RoCE for connection management does not survive (docs/testing.md).
cable() {
	local host
	for host in a b; do
		on "$host" tc qdisc change dev "v$host" root netem limit 4000 corrupt 0% "$@" || return
	done
	lost_before=$(lost_ever)
	(($#)) || within 10 on a ping -q -c 1 -W 5 10.9.0.2 >/dev/null && return
	echo "# nothing comes through a good cable"
	what_is_known
	return 1
}

# What adapters, their managers and the network know of both hosts, in a few lines: where
# something that depends on them did not work, and it is not clear which of them did not.
what_is_known() {
	local host file value known
	for host in a b; do
		known=
		for file in "/sys/class/infiniband/${rdma_type}_$host/ports/1/"{hw_counters,cm_*}/*; do
			value=$(cat "$file" 2>/dev/null)
			[[ ${value:-0} == 0 ]] || known+=" ${file#*/ports/1/}=$value"
		done
		echo "# $host knows:$known"
		{
			ip -n "$host" neigh
			on "$host" tc -s qdisc show dev "v$host" | grep -v backlog
			on "$host" grep '^Udp: [0-9]' /proc/net/snmp
			on "$host" rdma resource show | grep "_$host:"
		} 2>&1 | tr -s ' \n' ' ' | sed "s/^/# $host: /;s/$/\n/"
	done
}

# dropped: packets that both queueing disciplines lost since the cable was changed.
lost_before=0
dropped() { echo $(($(lost_ever) - lost_before)); }
lost_ever() {
	for host in a b; do on "$host" tc -s qdisc show dev "v$host" root; done |
		sed -n 's/.*(dropped \([0-9]*\),.*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }'
}
really() { (($1 > 0)); }

# rnr: receiver-not-ready events that the RDMA devices have counted. (iWARP has none,
# there the connection ends.)
rnr() {
	[[ $rdma_type != siw ]] || { echo 0; return; }
	cat /sys/class/infiniband/*/ports/1/hw_counters/*rnr* |
		awk '{ sum += $1 } END { print NR ? sum : "uncounted" }'
}
no_rnr() {
	local count
	count=$(rnr)
	echo "# receiver not ready: $count times"
	[[ $count == 0 ]]
}

# ---- Peers (peer.c) -------------------------------------------------------

declare -A peer_pid
peer_dir=$(mktemp -d)
peer_as=() # a command that runs it, e.g. as another user

# peer NAME HOST ARG…: starts one in the background; what it says is in a file.
peer() {
	local name=$1 host=$2
	shift 2
	: >"$peer_dir/$name"
	# With exec, so that the process to be killed is the peer itself.
	(
		exec ip netns exec "$host" "${peer_as[@]}" "$bin/peer" "$@"
	) >"$peer_dir/$name" 2>&1 &
	peer_pid[$name]=$!
}

# says NAME TEXT: waits until it has said a line with TEXT.
says() {
	within 30 peer_said_or_gone "$@" && said "$peer_dir/$1" "$2" && return
	echo "# $1 never said \"$2\", but:"
	sed 's/^/# /' "$peer_dir/$1"
	return 1
}
peer_said_or_gone() { said "$peer_dir/$1" "$2" || gone "${peer_pid[$1]}"; }

# ended NAME: waits for its end; true if it found everything as it should be.
ended() {
	local status=0
	ends_within 150 "${peer_pid[$1]}" || status=$?
	sed "s/^/# $1: /" "$peer_dir/$1"
	((status == 0)) && return
	echo "# $1 ended with $status"
	return 1
}

# kill_peer NAME: kill -9; it must be gone soon.
kill_peer() {
	local status=0
	kill -KILL "${peer_pid[$1]}"
	ends_within 20 "${peer_pid[$1]}" 2>/dev/null || status=$?
	((status == 137)) && return
	echo "# $1: killed, but it ended with $status"
	sed "s/^/# $1: /" "$peer_dir/$1"
	return 1
}

# both ADDRESS OPTION…: b serves at the address and a connects, both with the
# options, a also with those in a_options, b with those in b_options.
port=7471
both() {
	local address=$1
	shift
	port=$((port + 1))
	# shellcheck disable=SC2154 # a_options and b_options are the caller's
	peer b b serve "$address" "$port" "$@" "${b_options[@]}"
	says b listening || return
	peer a a connect "$address" "$port" "$@" "${a_options[@]}"
}
a_options=() b_options=()

# transfer ADDRESS OPTION…: both, to their end.
transfer() { a_options=() b_options=(); both "$@" && both_ended; }

# works: a short transfer both ways.
works() { transfer 10.9.0.2 --send 30 --receive 30; }
# What both said, if only one of them failed, too.
both_ended() {
	local status=0
	ended a || status=1
	ended b || status=1
	return $status
}

# flows OPTION…: a transfer both ways that has no end of its own is under way.
flows() {
	a_options=() b_options=()
	both 10.9.0.2 --send -1 --receive -1 --ends "$@" && says a flowing && says b flowing
}
