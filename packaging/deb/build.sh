#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes weir_VERSION_ARCH.deb of what was built, without debhelper: dpkg-deb and dpkg-shlibdeps are enough.
#
#   packaging/deb/build.sh BUILD OUT     BUILD: the build folder; OUT: where the package goes
#
# SOURCE_DATE_EPOCH (else the last commit, else now) dates it, so that the same tree gives the same package.
# DEBFULLNAME and DEBEMAIL name its maintainer, as everywhere in Debian.
set -eu
umask 022

[ $# = 2 ] || { echo "usage: packaging/deb/build.sh BUILD OUT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
build=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
for tool in dpkg-deb dpkg-shlibdeps dpkg strip gzip; do
	command -v "$tool" >/dev/null || { echo "weir: error: $tool is missing (dpkg-dev: make deps)" >&2; exit 1; }
done

version=$("$build/weir" --version | sed 's/^weir //')
arch=$(dpkg --print-architecture)
when=${SOURCE_DATE_EPOCH:-$(git -c safe.directory="$top" -C "$top" log -1 --format=%ct 2>/dev/null || date +%s)}
maintainer="${DEBFULLNAME:-weir built from source} <${DEBEMAIL:-root@localhost}>"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
doc=$root/usr/share/doc/weir

put() { # MODE FROM TO
	mkdir -p "$(dirname "$root/$3")"
	cp "$2" "$root/$3"
	chmod "$1" "$root/$3"
}

put 755 "$build/weir" usr/bin/weir
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/weir"
mkdir -p "$root/lib/systemd/system"
sed 's|@BINDIR@|/usr/bin|g' "$top/packaging/systemd/weir.service.in" >"$root/lib/systemd/system/weir.service"
put 644 "$top/packaging/systemd/run-weir-bpf.mount" lib/systemd/system/run-weir-bpf.mount
put 644 "$here/lintian-overrides" usr/share/lintian/overrides/weir
mkdir -p "$root/usr/share/man/man8" "$root/usr/share/bash-completion/completions" "$doc/examples"
"$build/weir" __man | gzip -9n >"$root/usr/share/man/man8/weir.8.gz"
"$build/weir" completion bash >"$root/usr/share/bash-completion/completions/weir"
for file in "$top"/examples/*.yaml; do
	put 644 "$file" "usr/share/doc/weir/examples/${file##*/}"
done
for file in "$top"/examples/lists/*; do
	put 644 "$file" "usr/share/doc/weir/examples/lists/${file##*/}"
done
put 644 "$here/copyright" usr/share/doc/weir/copyright
for file in policy install; do
	put 644 "$top/docs/$file.md" "usr/share/doc/weir/$file.md"
done
{
	echo "weir ($version) unstable; urgency=medium"
	printf '\n  * Built from the source tree.\n\n'
	echo " -- $maintainer  $(LC_ALL=C date -u -R -d "@$when")"
} | gzip -9n >"$doc/changelog.gz"
# what the policy says stays root's; no policy file: what is installed only watches
mkdir -p "$root/etc/weir" "$root/var/lib/weir" "$root/var/log/weir"
chmod 700 "$root/etc/weir" "$root/var/lib/weir" "$root/var/log/weir"

# dpkg-shlibdeps wants to stand in a source package
mkdir -p "$work/debian"
printf 'Source: weir\n\nPackage: weir\nArchitecture: any\n' >"$work/debian/control"
libs=$(cd "$work" && dpkg-shlibdeps -O --warnings=0 -e"root/usr/bin/weir" | sed -n 's/^shlibs:Depends=//p')
[ -n "$libs" ] || { echo "weir: error: dpkg-shlibdeps found no library" >&2; exit 1; }

mkdir -p "$root/DEBIAN"
size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
sed -e "s|@VERSION@|$version|; s|@ARCH@|$arch|; s|@MAINTAINER@|$maintainer|; s|@LIBS@|$libs|; s|@SIZE@|$size|" \
	"$here/control.in" >"$root/DEBIAN/control"
for script in postinst prerm postrm; do
	put 755 "$here/$script" "DEBIAN/$script"
done
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
chmod 644 "$root/DEBIAN/control" "$root/DEBIAN/md5sums"
find "$root" -exec touch -h -d "@$when" {} +

SOURCE_DATE_EPOCH=$when dpkg-deb --root-owner-group --build "$root" "$out/weir_${version}_$arch.deb" >/dev/null
echo "$out/weir_${version}_$arch.deb"
