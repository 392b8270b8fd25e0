#!/bin/bash
#
# Sets everything up that building and testing need, and says where it is.
# Each part is cached and made only if missing; every other script makes what it
# needs of it, so nobody has to run this one.
#
# usage: scripts/setup.sh             set up
#        scripts/setup.sh --remove    remove the whole cache

set -euo pipefail
. "$(dirname "$0")/lib.sh"

if [[ ${1-} == --remove ]]; then
	say "removing $CACHE"
	rm -rf --one-file-system "$CACHE"
	exit 0
fi

"$TREE/scripts/host-packages.sh"
root=$("$TREE/scripts/buildroot.sh")
kdir=$("$TREE/scripts/kdir.sh")
guest=$("$TREE/scripts/guest.sh")
cat <<END
kernel      $(cat "$kdir/complete")
build root  $root
KDIR        $kdir (inside the root)
guest       $guest
cache       $(du -sh "$CACHE" 2>/dev/null | cut -f1) in $CACHE
END
