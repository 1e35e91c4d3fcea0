# SPDX-License-Identifier: Apache-2.0
"""The package, and small Debians to put it into: their trees are made by debootstrap once and kept in
$WEIR_DEB_CACHE (~/.cache/weir-deb)."""
import glob
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

BUILD = os.environ.get("WEIR_BUILD") or f"{ROOT}/build"
CACHE = os.environ.get("WEIR_DEB_CACHE") or os.path.expanduser("~/.cache/weir-deb")
SUITE = "bookworm"
DEPENDS = "libbpf1,libyaml-0-2,libjansson4,libmnl0,libmd0,libseccomp2,nftables,adduser,init-system-helpers"
# what dpkg, adduser and systemd keep of their own
NOT_OURS = re.compile(r"^/(proc|sys|dev|tmp|root)(/|$)|^/var/(lib/dpkg|log/(dpkg|alternatives)|cache)|-$|\.lock$"
                      r"|^/var/lib/systemd/deb-systemd-helper|^/run/adduser$")


def build(out):
    need("dpkg-shlibdeps", "dpkg-deb", "strip")
    p = sh("sh", f"{ROOT}/packaging/deb/build.sh", BUILD, out, timeout=400)
    return p.stdout.strip().splitlines()[-1]


def newer(deb, d):
    """The same package with a higher version."""
    sh("dpkg-deb", "-R", deb, f"{d}/new")
    with open(f"{d}/new/DEBIAN/control") as f:
        text = f.read()
    with open(f"{d}/new/DEBIAN/control", "w") as f:
        f.write(re.sub(r"^Version: .*", "Version: 99", text, flags=re.M))
    sh("dpkg-deb", "--root-owner-group", "-b", f"{d}/new", f"{d}/new.deb")
    return f"{d}/new.deb"


def tree(also=""):
    """The archive of a small Debian with what weir depends on, and what else is named."""
    need("debootstrap", "unshare", "tar")
    path = f"{CACHE}/{'-'.join([SUITE, *also.split(',')]) if also else SUITE}.tar"
    if os.path.exists(path):
        return path
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        p = sh("debootstrap", "--variant=minbase", f"--include={DEPENDS}{',' if also else ''}{also}", SUITE, f"{scratch}/root",
               check=False, timeout=600)
        if p.returncode:
            raise Skip(f"debootstrap: {(p.stdout + p.stderr).strip().splitlines()[-1]}")
        for f in glob.glob(f"{scratch}/root/var/cache/apt/archives/*.deb"):
            os.unlink(f)
        sh("tar", "-C", f"{scratch}/root", "-cf", f"{scratch}/tar", ".")
        os.rename(f"{scratch}/tar", path)
    return path
