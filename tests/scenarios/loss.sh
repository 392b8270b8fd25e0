#!/bin/bash
#
# A bad cable between two hosts: it loses, delays, reorders, doubles and spoils
# packets, each and all of it, in both directions, and is out for a while. The
# peers see none of it: each message arrives once, in order and as it was sent,
# each entry is completed once (peer.h); or, when the cable is out for too long,
# the connection is reset, and each entry is still completed once. That the cable
# really was bad is for the counters of the queueing discipline, of Soft-RoCE or
# of TCP to say.

# shellcheck disable=SC2317,SC2119 # functions are called by "check"
# shellcheck source=tests/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
plan 21
two_hosts

# noticed KIND: how often a receiver has noticed such a thing, at both hosts.
declare -A counters=(
	[rxe disorder]="out_of_seq_request rcvd_seq_err" [siw disorder]="TcpExtTCPOFOQueue"
	[rxe double]="duplicate_request" [siw double]="TcpExtTCPDSACKOldSent TcpExtTCPDSACKOfoSent"
	[rxe repeat]="completer_retry_err rcvd_seq_err" [siw repeat]="TcpRetransSegs"
)
noticed() {
	local host name
	for name in ${counters[$rdma_type $1]}; do
		for host in a b; do
			if [[ $rdma_type == siw ]]; then
				on "$host" cat /proc/net/snmp /proc/net/netstat | tcp_counter "$name"
			else
				cat "/sys/class/infiniband/rxe_$host/ports/1/hw_counters/$name"
			fi
		done
	done | awk '{ sum += $1 } END { print sum + 0 }'
}
# In these files a line with names comes before one with values.
tcp_counter() {
	awk -v wanted="$1" '{
		sub(/:/, "", $1)
		if ($1 == last) { for (i = 2; i <= NF; i++) if ($1 name[i] == wanted) print $i; last = "" }
		else { for (i = 2; i <= NF; i++) name[i] = $i; last = $1 }
	}'
}

# Small messages, so that each packet counts, and those of several packets.
large=yes
bad() { # KIND WHAT…
	local kind=$1 before
	shift
	lost=0 seen=0
	cable "$@" || return
	before=$(noticed "$kind")
	transfer 10.9.0.2 --send 100 --receive 100 --size 1000 || return
	[[ ! $large ]] || transfer 10.9.0.2 --send 40 --receive 40 --size 20000 || return
	lost=$(dropped)
	seen=$(($(noticed "$kind") - before))
	echo "# $*: lost $lost packets, $kind noticed $seen times"
}
seen=0 lost=0
# Once more where chance spared all packets of a few, or a slow machine's came too far apart to
# overtake each other.
until_noticed() { # LOSES KIND WHAT…
	local loses=$1 try
	shift
	for try in 1 2 3 4 5; do
		bad "$@" || return
		((seen == 0 || (loses && lost == 0))) || return 0
	done
	echo "# not one of $try times"
}

check "3 % lost" until_noticed 1 repeat loss 3%
check "and packets were lost" really "$lost"
check "which was noticed" really "$seen"
# Soft-RoCE begins a message anew when a packet of it overtakes another, and gives
# up when that has happened five times: where nearly all do, several are too many.
large=
check "delay, and not the same for all" until_noticed 0 disorder delay 1ms 1ms
large=yes
check "so that some overtook others" really "$seen"
check "some at once, the others later" until_noticed 0 disorder delay 2ms reorder 5%
check "so that some overtook others" really "$seen"
check "5 % doubled" until_noticed 0 double duplicate 5%
check "which was noticed" really "$seen"
# On siw there are few packets.
spoiled=1%
[[ $rdma_type == rxe ]] || spoiled=5%
check "some spoiled" until_noticed 0 repeat corrupt "$spoiled"
check "and sent once more" really "$seen"
check "all of that" until_noticed 1 repeat delay 1ms loss 1% duplicate 2% reorder 2% corrupt 0.5%
check "and packets were lost" really "$lost"
check "which was noticed" really "$seen"

# What the connection manager sends is lost like anything else. It asks again after
# some four seconds, and a peer waits for several of these: each connection comes about,
# is used and is parted from in order.
connections() {
	local good=0
	lost=0
	cable loss 5% || return
	# Some more where chance spared all packets of these.
	until ((good >= 6 && lost > 0 || good >= 30)); do
		transfer 10.9.0.2 --send 5 --receive 5 --size 100 || return
		good=$((good + 1))
		lost=$(dropped)
	done
	echo "# $good came about, $lost packets were lost"
}
check "each connection is made while 5 % are lost" connections
check "and packets were lost" really "$lost"

# Out for a moment, in the midst of a transfer: it goes on, and nobody has seen anything.
# Adapters repeat for some seconds; on a machine where that moment took long, another.
# To start a program can take longer than that, so tc is there before.
outage() {
	local host loss begin pids=()
	for host in a b; do
		[[ -e $peer_dir/tc_$host ]] || mkfifo "$peer_dir/tc_$host" || return
		ip netns exec "$host" tc -batch - <"$peer_dir/tc_$host" &
		pids+=($!)
	done
	exec 5>"$peer_dir/tc_a" 6>"$peer_dir/tc_b"
	within 10 is_tc "${pids[0]}" && within 10 is_tc "${pids[1]}" && sleep 0.5 || return
	# Who is through already shows nothing.
	! said "$peer_dir/a" through || late=1
	begin=${EPOCHREALTIME//[!0-9]/}
	for loss in 100% 0%; do
		echo "qdisc change dev va root netem limit 4000 loss $loss" >&5
		echo "qdisc change dev vb root netem limit 4000 loss $loss" >&6
		[[ $loss == 0% ]] || sleep 0.5
	done
	exec 5>&- 6>&-
	wait "${pids[0]}" && wait "${pids[1]}" || return
	# At most: until both have carried out the last order.
	out_ms=$(((${EPOCHREALTIME//[!0-9]/} - begin) / 1000))
}
is_tc() { [[ $(</proc/"$1"/comm) == tc ]]; }
moment() { # MESSAGES
	a_options=() b_options=()
	cable loss 0% && both 10.9.0.2 --send "$1" --receive "$1" --size 20000 --slow 20 --may-end &&
		says a flowing && says b flowing || return
	outage || return
	lost=$(dropped)
	# Nor does who sent nothing meanwhile.
	if ((late || !lost)); then
		late=1
		return 1
	fi
	ended a && ended b
}
was_reset() { said "$peer_dir/a" reset || said "$peer_dir/b" reset; }
# Nothing but that an adapter gave up is tried again, and no peer may say anything else.
short() {
	local out_ms late messages resets=0
	# Who was too late takes a longer transfer.
	for messages in 150 300 600 1200 2400; do
		out_ms=0 late=0
		if moment "$messages"; then
			was_reset || { echo "# out for $out_ms ms, $lost packets were lost" && return; }
		elif ((!late)); then
			return 1
		else
			ended a && ended b || return
		fi
		echo "# out for $out_ms ms: was that too long, or too late ($late)?"
		# One of two processors may stand still for as long as an adapter is patient: once.
		((late || out_ms > 1000 || resets++ == 0)) || return
	done
	return 1
}
check "out for a moment" short
check "and packets were lost" really "$lost"

# out: data flows, and then the cable is out.
out() { cable && flows --may-end && cable loss 100%; }
long() {
	out && within 100 gone "${peer_pid[a]}" && within 100 gone "${peer_pid[b]}" && cable &&
		ended a && ended b && said "$peer_dir/a" reset && said "$peer_dir/b" reset
}
check "out for ever" long
check "nothing is left" nothing_left
check "works when it is good again" works

no_hosts
done_testing
