#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What weir needs from Debian: lists it, asks, installs it. This runs before anything else on a bare
# system, so it relies on a POSIX shell, dpkg and apt-get only.
#
#   tools/deps.sh check   LIST...   exit 1 and say what is missing
#   tools/deps.sh install LIST...   install what is missing (root); YES=1 or no terminal: does not ask
#   tools/deps.sh list    LIST...   print the packages
#
# LIST is build (to build and run), test (to run the tests), bench (what make bench measures with and
# beside), deb (to make a package) or lint. An entry "command:package" is satisfied by the command too, wherever it came
# from; a plain package is asked of dpkg.
#
# It refuses to leave services behind: a package that it installs neither starts a daemon now
# (policy-rc.d) nor at the next boot (its units are disabled again), and what was there is not touched.
set -eu

build='make gcc:gcc libc6-dev pkgconf|pkg-config meson:meson ninja:ninja-build clang:clang
bpftool:bpftool libbpf-dev libyaml-dev libjansson-dev libmnl-dev libmd-dev libseccomp-dev ip:iproute2 nft:nftables'

test='libcmocka-dev libclang-rt-14-dev|libclang-rt-dev git:git ping:iputils-ping nc:netcat-openbsd
ethtool:ethtool tcpdump:tcpdump nginx:nginx-light iperf3:iperf3 hping3:hping3 python3-scapy
sshd:openssh-server ssh:openssh-client sudo:sudo dig:bind9-dnsutils curl:curl dnsmasq:dnsmasq-base dhclient:isc-dhcp-client conntrack:conntrack
qemu-system-x86_64:qemu-system-x86 busybox-static cpio:cpio depmod:kmod mke2fs:e2fsprogs procps
node:nodejs npm:npm tmux:tmux screen:screen debootstrap:debootstrap systemd-analyze:systemd'

bench='ipset:ipset xdp-filter:xdp-tools iptables:iptables iperf3:iperf3 nft:nftables'

deb='dpkg-shlibdeps:dpkg-dev strip:binutils gzip:gzip'

lint='clang-format:clang-format clang-tidy:clang-tidy shellcheck:shellcheck'

say() { printf '%s\n' "$*" >&2; }

entries() {
	for list; do
		case $list in
		build) printf '%s\n' $build ;;
		test) printf '%s\n' $test ;;
		bench) printf '%s\n' $bench ;;
		deb) printf '%s\n' $deb ;;
		lint) printf '%s\n' $lint ;;
		*) say "deps.sh: unknown list '$list' (build, test, bench, deb, lint)"; exit 2 ;;
		esac
	done
}

# Administrators' folders hold bpftool and nft, and are not on everybody's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The first package of "a|b" is the one to install; either of them will do.
satisfied() {
	case $1 in
	*:*) command -v "${1%%:*}" >/dev/null 2>&1 && return ;;
	esac
	for alternative in $(printf '%s' "${1#*:}" | tr '|' ' '); do
		installed "$alternative" && return
	done
	return 1
}

package() {
	name=${1#*:}
	printf '%s\n' "${name%%|*}"
}

missing() {
	entries "$@" | while read -r entry; do
		satisfied "$entry" || package "$entry"
	done | sort -u | tr '\n' ' '
}

confirm() {
	[ "${YES:-}" = 1 ] && return
	[ -t 0 ] || return 0
	printf 'Install them now with apt-get? [Y/n] ' >&2
	read -r answer || return 1
	case $answer in '' | [yY]*) return ;; esac
	return 1
}

policy=/usr/sbin/policy-rc.d
policy_is_ours=
before=

cleanup() {
	[ -z "$policy_is_ours" ] || rm -f "$policy"
	[ -z "$before" ] || rm -f "$before" "$before.after"
}

# 101 = "this action is not allowed"; an administrator's own policy stays as it is.
forbid_services() {
	[ -e "$policy" ] && return
	policy_is_ours=1
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
}

names_installed() {
	dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort
}

# The units and init scripts of packages that came with this run.
disable_services() {
	names_installed >"$before.after"
	comm -13 "$before" "$before.after" | while read -r name; do
		dpkg-query -L "$name" | while read -r file; do
			case $file in
			/lib/systemd/system/*.service | /lib/systemd/system/*.socket | /lib/systemd/system/*.timer | \
				/usr/lib/systemd/system/*.service | /usr/lib/systemd/system/*.socket | \
				/usr/lib/systemd/system/*.timer)
				grep -qs '^\[Install\]' "$file" || continue
				deb-systemd-helper disable "${file##*/}" >/dev/null 2>&1 || true
				;;
			/etc/init.d/*)
				update-rc.d "${file##*/}" disable >/dev/null 2>&1 || true
				;;
			esac
		done
	done
}

install() {
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	export DEBIAN_FRONTEND=noninteractive
	before=$(mktemp)
	names_installed >"$before"
	forbid_services
	apt-get update -q
	# shellcheck disable=SC2086 # a list of package names
	apt-get install -q -y --no-install-recommends $1 </dev/null
	disable_services
}

[ $# -ge 2 ] || { say "usage: tools/deps.sh check|install|list LIST..."; exit 2; }
verb=$1
shift

if [ "$verb" = list ]; then
	entries "$@" | while read -r entry; do package "$entry"; done | sort -u
	exit 0
fi
entries "$@" >/dev/null
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	say "This system has no apt: weir is built on Debian 12 or later. On another system install what answers to:"
	say "  $(entries "$@" | while read -r entry; do package "$entry"; done | sort -u | tr '\n' ' ')"
	exit 0
fi
need=$(missing "$@")
[ -n "$need" ] || exit 0

say "Missing Debian packages: $need"
if [ "$verb" = check ] || [ "$(id -u)" != 0 ]; then
	say "Only root can install them: sudo tools/deps.sh install $*"
	exit 1
fi
confirm || { say "Nothing was installed."; exit 1; }
install "$need"
need=$(missing "$@")
[ -z "$need" ] || { say "Still missing after the installation: $need"; exit 1; }
