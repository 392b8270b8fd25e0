# shellcheck shell=bash
#
# Shared by the scripts in this directory; sourced, never run.
#
# Gives: the work tree's and the cache's path, messages with elapsed seconds,
# a runner for long steps, a lock, and the way a cache entry is made: in a
# temporary directory next to its final name, then renamed, so that an
# interrupted run leaves nothing half-made behind.

TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/dmaplane
mkdir -p "$CACHE"
CACHE=$(cd "$CACHE" && pwd -P)
STARTED=${DMAPLANE_STARTED:-$(date +%s)}
export DMAPLANE_STARTED=$STARTED
# Read by the scripts that source this file.
export TREE CACHE

# Messages go to stderr: stdout carries results (paths, a command's output).
say() { printf '[%4ds] %s\n' $(($(date +%s) - STARTED)) "$*" >&2; }

die() {
	printf 'error: %s\n' "$1" >&2
	shift
	for line in "$@"; do printf '       %s\n' "$line" >&2; done
	exit 1
}

# step TEXT CMD…: runs a long command with its output in a log; says when it
# starts, where it is every ten seconds, and the end of the log if it fails.
step() {
	local text=$1 log begin watcher rc=0
	shift
	mkdir -p "$CACHE/log"
	log=$CACHE/log/$(tr -cs 'a-zA-Z0-9' '-' <<<"$text" | cut -c1-40).$$.log
	begin=$(date +%s)
	say "$text …"
	(
		trap 'kill "$sleeper" 2>/dev/null; exit 0' TERM
		while kill -0 $$ 2>/dev/null; do
			sleep 10 &
			sleeper=$!
			wait "$sleeper"
			say "$text: $(($(date +%s) - begin)) s so far; $(tail -qn 1 "$log" | tr -d '\r' | cut -c1-90)"
		done
	) 9>&- &
	watcher=$!
	"$@" >"$log" 2>&1 </dev/null || rc=$?
	kill "$watcher" 2>/dev/null || :
	wait "$watcher" 2>/dev/null || :
	if ((rc)); then
		tail -n 25 "$log" >&2
		die "$text failed (exit $rc)" "the whole output: $log"
	fi
	rm -f "$log"
	say "$text: done in $(($(date +%s) - begin)) s"
}

# fact ROOT NAME: what a build root's kernel is: kernel, version, source,
# vmlinuz, modules (see buildroot.sh).
fact() { sed -n "s/^$2=//p" "$1/etc/dmaplane-kernel"; }

# lock NAME: one maker of a cache entry at a time, until this process ends.
lock() {
	exec 9>"$CACHE/$1.lock"
	if ! flock -n 9; then
		say "waiting for another run that is making the $1"
		flock 9
	fi
}

# key FILE…: a short key of the contents, for cache names.
key() { cat -- "$@" | sha256sum | cut -c1-12; }

# fresh_dir NAME: an empty temporary directory in the cache; ones that an
# interrupted run left are removed first. Call it under lock NAME.
fresh_dir() {
	rm -rf --one-file-system "$CACHE/tmp.$1".*
	mktemp -d "$CACHE/tmp.$1.XXXXXX"
}

# pack DIR: the directory as a cpio archive on stdout, the same bytes for the
# same contents: what the test machine measures depends on them.
pack() {
	find "$1" -exec touch -h -d @0 {} +
	(cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
		cpio --null --create --format=newc --reproducible --owner=0:0 --quiet)
}
