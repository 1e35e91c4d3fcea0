# SPDX-License-Identifier: Apache-2.0
"""What the test machines are made of: Debian's cloud kernels, and a root file system of this host's release.

All of it comes through apt and debootstrap and stays in $WEIR_VM_CACHE (~/.cache/weir-vm), so that later runs need
no network; WEIR_VM_REFRESH=1 looks for newer ones. Nothing here touches the host's own packages. What cannot be had
is told by Unavailable, whose text is the reason of a skip.
"""
import glob
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ARCHIVE = "http://archive.debian.org/debian"
CACHE = os.environ.get("WEIR_VM_CACHE") or os.path.expanduser("~/.cache/weir-vm")
# What has to be there before a disk is: clsact for kernels before tcx, then the disk itself. With what they need.
EARLY = ("sch_ingress", "cls_bpf", "virtio_pci", "virtio_blk")
# Of the packages that build and test: what only the host uses. The rest is in the machine, new ones too.
HOST_ONLY = re.compile(r"^(make|gcc|meson|ninja-build|clang.*|pkgconf|pkg-config|git|qemu.*|nodejs|npm|cpio|libclang.*|"
                       r"libcmocka.*|libc6-dev|debootstrap|e2fsprogs)$")
ALSO = ("kmod", "python3", "util-linux")


class Unavailable(Exception):
    """The reason why something cannot be tested here."""


def run(*cmd, **kw):
    return subprocess.run(cmd, check=True, capture_output=True, text=True, **kw).stdout


def mirror():
    """Where this host's apt finds Debian itself."""
    try:
        out = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(ORIGIN)", "Created-By: Packages")
        for line in sorted(out.splitlines()):
            words = line.split()
            if len(words) == 3 and words[2] == "Debian" and not re.search(r"-(security|updates|backports)$", words[1]):
                return words[0].rstrip("/")
    except (OSError, subprocess.CalledProcessError):
        pass
    return "http://deb.debian.org/debian"


def last_line(e):
    lines = (e.stderr or "").strip().splitlines()
    return lines[-1] if lines else str(e)


class Apt:
    """An apt of one suite that shares nothing with the host's but proxy and keys.

    Signatures are checked, the date until which a list is valid is not: an archived suite is past it for ever,
    and a kernel that is out of date does no harm inside of an emulator.
    """

    def __init__(self, top, suite, uri):
        self.top = top
        for d in ("etc", "state/lists/partial", "cache/archives/partial"):
            os.makedirs(f"{top}/{d}", exist_ok=True)
        open(f"{top}/status", "w", encoding="utf-8").close()
        with open(f"{top}/etc/sources.list", "w", encoding="utf-8") as f:
            f.write(f"deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n")
        options = {"Dir::Etc::SourceList": f"{top}/etc/sources.list", "Dir::Etc::SourceParts": "-",
                   "Dir::Etc::Preferences": "-", "Dir::Etc::PreferencesParts": "-", "Dir::State": f"{top}/state",
                   "Dir::State::Status": f"{top}/status", "Dir::Cache": f"{top}/cache", "APT::Architecture": "amd64",
                   "APT::Architectures": "amd64", "APT::Sandbox::User": "root", "Acquire::Languages": "none",
                   "Acquire::Check-Valid-Until": "false",
                   "Acquire::Retries": "2", "Acquire::http::Timeout": "30"}
        self.options = [o for k, v in options.items() for o in ("-o", f"{k}={v}")]

    def get(self, *args, **kw):
        return run("apt-get", *self.options, "-q", *args, **kw)

    def depends(self, package):
        return re.findall(r"Depends: (\S+)", run("apt-cache", *self.options, "depends", "--important", package))


def refresh():
    return os.environ.get("WEIR_VM_REFRESH") == "1"


def kernel(suite):
    """The folder with a suite's kernel, from the cache or from Debian: vmlinuz, release, early.cpio, modules.img."""
    kept = f"{CACHE}/{suite}"
    if os.path.exists(f"{kept}/modules.img") and not refresh():
        return kept
    if not shutil.which("apt-get"):
        raise Unavailable("no apt-get to download a Debian kernel with")
    tools("cpio", "depmod", "mke2fs")
    os.makedirs(CACHE, exist_ok=True)
    why = None
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        for uri in dict.fromkeys((mirror(), ARCHIVE)):
            try:
                return download(suite, uri, scratch, kept)
            except subprocess.CalledProcessError as e:
                why = why or f"{uri}: {last_line(e)}"
    raise Unavailable(f"kernel of {suite} cannot be downloaded: {why}")


def tools(*names):
    for name in names:
        if not shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            raise Unavailable(f"no {name} (see tools/deps.sh)")


def download(suite, uri, scratch, kept):
    apt = Apt(f"{scratch}/apt", suite, uri)
    apt.get("update", "--error-on=any")
    depends = apt.depends("linux-image-cloud-amd64")
    image = next((d for d in depends if re.match(r"linux-image-\d.*-cloud-amd64$", d)), None)
    if not image:
        raise Unavailable(f"{suite} has no linux-image-cloud-amd64")
    # since 7.0 the image is spread over packages: linux-binary-, linux-modules- and linux-base-VERSION
    parts = [d for d in apt.depends(image) if re.match(r"linux-(binary|modules|base)-\d", d)]
    apt.get("download", image, *parts, cwd=scratch)
    for deb in glob.glob(f"{scratch}/*.deb"):
        run("dpkg", "-x", deb, f"{scratch}/root")
    release = image[len("linux-image-"):]
    found = glob.glob(f"{scratch}/root/boot/vmlinuz-*") + glob.glob(f"{scratch}/root/usr/lib/modules/*/vmlinuz")
    if not found:
        raise Unavailable(f"{image} of {suite} holds no vmlinuz")
    os.makedirs(f"{scratch}/new")
    shutil.move(found[0], f"{scratch}/new/vmlinuz")
    pack_modules(f"{scratch}/root", release, f"{scratch}/new", scratch)
    with open(f"{scratch}/new/release", "w", encoding="utf-8") as f:
        f.write(release + "\n")
    shutil.rmtree(kept, ignore_errors=True)
    os.rename(f"{scratch}/new", kept)
    return kept


def cpio(root, path):
    names = run("find", ".", cwd=root)
    with open(path, "wb") as f:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], input=names.encode(), stdout=f, cwd=root,
                       check=True)


def image(tree, path, spare_mb=16):
    """An ext4 file system of a tree. Sparse: what is free costs nothing."""
    size = int(run("du", "-sm", "--apparent-size", tree).split()[0]) * 13 // 10 + spare_mb
    run("/usr/sbin/mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, path, f"{size}m")


def pack_modules(root, release, new, scratch):
    """All modules as the image that becomes /lib/modules, and the early ones as a part of the initramfs, in order."""
    tree = f"{scratch}/modules/lib/modules"
    os.makedirs(tree)
    found = next(iter(glob.glob(f"{root}/lib/modules/{release}") + glob.glob(f"{root}/usr/lib/modules/{release}")))
    shutil.move(found, tree)
    for config in glob.glob(f"{root}/boot/config-*"):
        shutil.copy(config, f"{tree}/{release}/config")
    subprocess.run(["/usr/sbin/depmod", "-b", f"{scratch}/modules", release], check=True, capture_output=True)
    image(tree, f"{new}/modules.img")
    needs = {}
    with open(f"{tree}/{release}/modules.dep", encoding="utf-8") as f:
        for line in f:
            path, _, deps = line.partition(":")
            needs[os.path.basename(path).split(".")[0].replace("-", "_")] = (path, deps.split())
    order = []
    for name in EARLY:
        path, deps = needs.get(name, (None, []))  # a built-in one is not listed
        order += [p for p in [*reversed(deps), path] if p and p not in order]
    os.makedirs(f"{scratch}/early/modules")
    for number, path in enumerate(order):
        ko, out = f"{tree}/{release}/{path}", f"{scratch}/early/modules/{number:02}-{os.path.basename(path).split('.')[0]}.ko"
        if ko.endswith(".xz"):
            with lzma.open(ko) as packed, open(out, "wb") as f:
                shutil.copyfileobj(packed, f)
        else:
            shutil.copy(ko, out)
    cpio(f"{scratch}/early", f"{new}/early.cpio")


def packages(source):
    """What the tests need in the machine: the lists of tools/deps.sh without what builds and what boots machines."""
    named = run("sh", f"{source}/tools/deps.sh", "list", "build", "test").split()
    return sorted({p for p in [*named, *ALSO] if not HOST_ONLY.match(p)})


def root(source):
    """The image of the root file system: made anew when the list of packages or the release of this host changes."""
    with open("/etc/os-release", encoding="utf-8") as f:
        release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', f.read(), re.M))
    # the programs under test were linked here and run there, so the machine has this host's release
    suite = release.get("VERSION_CODENAME")
    if release.get("ID") != "debian" or not suite:
        raise Unavailable("the root file system of the machines is made on Debian only")
    wanted = packages(source)
    key = hashlib.sha256("\n".join([suite, *wanted]).encode()).hexdigest()[:16]
    kept = f"{CACHE}/root-{suite}-{key}.img"
    if os.path.exists(kept) and not refresh():
        return kept
    tools("debootstrap", "mke2fs")
    if os.geteuid():
        raise Unavailable("only root can make the root file system of the machines")
    os.makedirs(CACHE, exist_ok=True)
    print(f"# making the root file system of the machines: {len(wanted)} packages of {suite}", flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        tree = f"{scratch}/tree"
        made = subprocess.run(["debootstrap", "--variant=minbase", f"--include={','.join(wanted)}", suite, tree, mirror()],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if made.returncode:
            raise Unavailable(f"debootstrap: {(made.stdout.strip().splitlines() or ['?'])[-1]}")
        for d in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
            shutil.rmtree(f"{tree}/{d}", ignore_errors=True)
        os.makedirs(f"{tree}/mnt/checkout")
        os.makedirs(f"{tree}/lib/modules", exist_ok=True)
        image(tree, f"{scratch}/root.img", 512)
        for old in glob.glob(f"{CACHE}/root-*.img"):
            os.unlink(old)
        os.rename(f"{scratch}/root.img", kept)
    return kept
