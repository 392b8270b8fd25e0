#!/bin/bash
#
# Makes the build root: a Debian trixie with the kernel's own compilers, plus
# from trixie-backports the newest kernel's headers, source and image.
#
# usage: scripts/buildroot.sh            print the root's path, make it if missing
#        scripts/buildroot.sh --update   make it anew, with what the archive has now
#
# Cached as root-KEY, KEY being a hash of this file. Which kernel is used is
# decided by the archive when the root is made, and then kept in
# <root>/etc/dmaplane-kernel; the image is unpacked in <root>/opt/kernel-image.

set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=(
	# the kernel's build
	rustc rust-src bindgen rustfmt rust-clippy cargo libclang-19-dev gcc-14 make
	bc bison flex libelf-dev libssl-dev pahole kmod cpio xz-utils zstd rsync python3
	linux-headers-amd64/trixie-backports
	# user space and checks
	gcc g++ gcc-multilib libc6-dev pkg-config libibverbs-dev librdmacm-dev liburing-dev
	shellcheck ca-certificates scdoc
	# files for the guest (see guest.sh)
	busybox-static iproute2 iputils-ping ibverbs-providers ibverbs-utils rdma-core
	rdmacm-utils perftest strace numactl
)

root=$CACHE/root-$(key "${BASH_SOURCE[0]}")
update=0
[[ ${1-} == --update ]] && update=1
if ((!update)) && [[ -e $root/etc/dmaplane-kernel ]]; then
	echo "$root"
	exit 0
fi

"$TREE/scripts/host-packages.sh"
lock root
if ((!update)) && [[ -e $root/etc/dmaplane-kernel ]]; then
	echo "$root"
	exit 0
fi

# The host's own mirror, if it is a Debian host; else what mmdebstrap defaults
# to, and backports from where that has trixie.
# shellcheck disable=SC2016 # apt's and mmdebstrap's variables, not ours
mirror() { # LABEL
	apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
		awk -v label="$1" '$1 == label { print $2; exit }'
}
main=$(mirror Debian)
security=$(mirror Debian-Security)
sources=()
if [[ $main ]]; then
	sources=("deb $main trixie main" "deb $main trixie-updates main" "deb $main trixie-backports main")
	[[ -z $security ]] || sources+=("deb $security trixie-security main")
fi

# Runs in the new root, as the last part of making it.
finish() {
	cat <<-'END'
		set -eu
		kernel=$(dpkg-query -W -f '${Depends}' linux-headers-amd64 |
			grep -o 'linux-headers-[^ ,]*' | head -n 1 | sed 's/^linux-headers-//')
		version=$(dpkg-query -W -f '${source:Version}' "linux-headers-$kernel")
		# The source of these headers, not the newest: sources arrive in the archive before the
		# kernels built from them.
		source=linux-source-$(echo "$version" | cut -d . -f 1-2)
		apt-get -o APT::Sandbox::User=root install -y --no-install-recommends "$source=$version" || {
			echo "the archive has headers of $version, and no $source of that version: try later" >&2
			exit 1
		}
		# The image may be one package, or one that depends on several parts.
		parts=$(apt-cache show --no-all-versions "linux-image-$kernel" | sed -n 's/^Depends: //p' |
			tr -s ' ,|' '\n' | grep -F -- "-$kernel" || :)
		mkdir /opt/kernel-image
		cd /opt/kernel-image
		apt-get -o APT::Sandbox::User=root download "linux-image-$kernel" $parts
		for deb in *.deb; do dpkg-deb -x "$deb" .; done
		rm ./*.deb
		vmlinuz=$(find "$PWD" -type f -name 'vmlinuz*' | head -n 1)
		modules=$(find "$PWD" -type d -path "*lib/modules/$kernel" | head -n 1)
		[ -n "$vmlinuz" ] && [ -n "$modules" ]
		for fact in kernel="$kernel" version="$version" source="/usr/src/$source.tar.xz" \
			vmlinuz="$vmlinuz" modules="$modules"; do
			echo "$fact"
		done >/etc/dmaplane-kernel
	END
}

work=$(fresh_dir root)
hook=$work/finish
finish >"$hook"
# shellcheck disable=SC2016 # mmdebstrap's variables, not ours
make_root() {
	local options=(
		--variant=apt --architectures=amd64 --include="$(IFS=,; echo "${packages[*]}")"
		--dpkgopt=force-unsafe-io
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
		--dpkgopt='path-exclude=/usr/share/doc/*' --aptopt='Apt::Install-Recommends "false"'
		--setup-hook='cd "$1/etc/apt" && { grep -q backports sources.list ||
			sed -n "s/ trixie main/ trixie-backports main/p" sources.list >sources.list.d/backports.list; }'
		--customize-hook="copy-in $hook /tmp" --customize-hook='chroot "$1" sh /tmp/finish'
		--customize-hook='rm "$1/tmp/finish"'
	)
	mkdir "$work/root"
	if ((EUID == 0)); then
		mmdebstrap --mode=root "${options[@]}" trixie "$work/root" "${sources[@]}"
	else
		# As a tar, so that everything in the cache belongs to the user.
		mmdebstrap --mode=unshare --format=tar "${options[@]}" trixie - "${sources[@]}" |
			tar -C "$work/root" -x --no-same-owner --exclude='./dev/*'
	fi
}
step "making the build root (about a minute, 500 MB to fetch)" make_root
chmod 755 "$work/root"
if [[ -e $root ]]; then mv "$root" "$work/old"; fi
mv "$work/root" "$root"
rm -rf --one-file-system "$work"
say "the archive's newest kernel: $(sed -n 's/^kernel=//p' "$root/etc/dmaplane-kernel")"
echo "$root"
