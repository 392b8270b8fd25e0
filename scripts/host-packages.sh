#!/bin/bash
#
# Makes sure that the host (Debian 12 or 13) has the few programs the build
# root and the virtual machine need. Uses no network if all are there.
# Everything else, compilers included, lives in the build root.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

# program:package
needs=(
	mmdebstrap:mmdebstrap bwrap:bubblewrap qemu-system-x86_64:qemu-system-x86
	make:make cpio:cpio zstd:zstd xz:xz-utils tar:tar flock:util-linux
	sha256sum:coreutils python3:python3-minimal
)

[[ $(uname -m) == x86_64 ]] || die "this setup is for x86-64 hosts, this one is $(uname -m)"

missing=()
for need in "${needs[@]}"; do
	PATH=$PATH:/usr/sbin:/sbin command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
done
[[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
((${#missing[@]})) || exit 0

install=(apt-get install -y --no-install-recommends "${missing[@]}")
command -v apt-get >/dev/null ||
	die "missing on this host: ${missing[*]}" "it has no apt-get: install them by its own means"
if ((EUID == 0)); then
	run=(env DEBIAN_FRONTEND=noninteractive)
elif sudo -n true 2>/dev/null; then
	run=(sudo -n env DEBIAN_FRONTEND=noninteractive)
else
	die "missing on this host: ${missing[*]}" "run: sudo ${install[*]}"
fi
step "updating the host's package lists" "${run[@]}" apt-get update
step "installing on the host: ${missing[*]}" "${run[@]}" "${install[@]}"
