#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads every BPF program on the kernels that weir promises: boots Debian's cloud kernels in qemu.

    matrix.py WORK PROGRAM      WORK: a scratch folder; PROGRAM: what runs in the machine (weir-loadtest)

The kernels come from Debian through a private apt configuration (own sources, lists and cache; the host's apt
is only asked for its mirror and proxy) and stay in $WEIR_VM_CACHE (~/.cache/weir-vm), so that later runs need no
network; WEIR_VM_REFRESH=1 looks for newer ones. The machine is an initramfs with busybox, the program and its
libraries; emulation without KVM, so that it runs everywhere ($WEIR_VM_ACCEL overrides).

Speaks TAP: a case per kernel, which is skipped by name when its kernel cannot be had. PROGRAM prints
`NAME key=number ...` per BPF program; those lines become the table at the end.
"""
import glob
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile

# (suite, what its kernel must be, what the program must have found there: a fallback must not go unseen)
FULL = ("tc=tcx", "xdp=generic", "guard: bpf netfilter")
CLSACT = ("tc=clsact", "xdp=generic")
MATRIX = [("bullseye", "5.10", CLSACT), ("bookworm", "6.1", CLSACT), ("trixie", "6.12", FULL), ("sid", "newest", FULL)]
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ARCHIVE = "http://archive.debian.org/debian"
BOOT_TIMEOUT = 120
MODULES = ("sch_ingress", "cls_bpf")  # clsact, for kernels before tcx
KEYS = ("verified", "xlated", "jited")


class Unavailable(Exception):
    """The reason why a kernel cannot be tested here."""


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


def fetch(suite, cache):
    """The kernel image of a suite, from the cache or from Debian: (vmlinuz, release)."""
    kept = f"{cache}/{suite}"
    if os.path.exists(f"{kept}/modules.cpio") and os.environ.get("WEIR_VM_REFRESH") != "1":
        with open(f"{kept}/release", encoding="utf-8") as f:
            return f"{kept}/vmlinuz", f.read().strip()
    if not shutil.which("apt-get"):
        raise Unavailable("no apt-get to download a Debian kernel with")
    os.makedirs(cache, exist_ok=True)
    why = None
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        for uri in dict.fromkeys((mirror(), ARCHIVE)):
            try:
                return download(suite, uri, scratch, kept)
            except subprocess.CalledProcessError as e:
                why = why or f"{uri}: {last_line(e)}"
    raise Unavailable(f"kernel of {suite} cannot be downloaded: {why}")


def download(suite, uri, scratch, kept):
    apt = Apt(f"{scratch}/apt", suite, uri)
    apt.get("update", "--error-on=any")
    depends = apt.depends("linux-image-cloud-amd64")
    image = next((d for d in depends if re.match(r"linux-image-\d.*-cloud-amd64$", d)), None)
    if not image:
        raise Unavailable(f"{suite} has no linux-image-cloud-amd64")
    # since 7.0 the image lies in a package of its own, linux-binary-VERSION
    apt.get("download", image, *[d for d in apt.depends(image) if d.startswith("linux-binary-")], cwd=scratch)
    for deb in glob.glob(f"{scratch}/*.deb"):
        run("dpkg", "-x", deb, f"{scratch}/root")
    release = image[len("linux-image-"):]
    found = glob.glob(f"{scratch}/root/boot/vmlinuz-*") + glob.glob(f"{scratch}/root/usr/lib/modules/*/vmlinuz")
    if not found:
        raise Unavailable(f"{image} of {suite} holds no vmlinuz")
    os.makedirs(f"{scratch}/new")
    shutil.copy(found[0], f"{scratch}/new/vmlinuz")
    pack_modules(f"{scratch}/root", f"{scratch}/new/modules.cpio", scratch)
    with open(f"{scratch}/new/release", "w", encoding="utf-8") as f:
        f.write(release + "\n")
    shutil.rmtree(kept, ignore_errors=True)
    os.rename(f"{scratch}/new", kept)
    return f"{kept}/vmlinuz", release


def cpio(root, path):
    names = run("find", ".", cwd=root)
    with open(path, "wb") as f:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], input=names.encode(), stdout=f, cwd=root,
                       check=True)


def pack_modules(root, path, scratch):
    """The modules that attaching needs, as an archive that is appended to the initramfs."""
    top = f"{scratch}/modules"
    os.makedirs(f"{top}/modules")
    for name in MODULES:
        for ko in glob.glob(f"{root}/**/{name}.ko*", recursive=True)[:1]:
            out = f"{top}/modules/{name}.ko"
            if ko.endswith(".xz"):
                with lzma.open(ko) as packed, open(out, "wb") as f:
                    shutil.copyfileobj(packed, f)
            else:
                shutil.copy(ko, out)
    cpio(top, path)


def libraries(program):
    """What the loader would map, as `ldd` says it."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    if "not found" in out:
        raise Unavailable(f"{program}: {out.strip()}")
    return re.findall(r"(/\S+) \(0x", out)


def initramfs(work, program):
    busybox = shutil.which("busybox", path="/bin:/usr/bin")
    if not busybox or libraries(busybox):
        raise Unavailable("no static busybox (package busybox-static)")
    if not shutil.which("cpio"):
        raise Unavailable("no cpio")
    root = f"{work}/root"
    shutil.rmtree(root, ignore_errors=True)
    for d in ("bin", "dev", "proc", "sys", "run", "tmp", "etc"):
        os.makedirs(f"{root}/{d}")
    shutil.copy(busybox, f"{root}/bin/busybox")
    shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "init"), f"{root}/init")
    os.chmod(f"{root}/init", 0o755)
    shutil.copy(program, f"{root}/program")
    for lib in libraries(program):
        os.makedirs(root + os.path.dirname(lib), exist_ok=True)
        shutil.copy(lib, root + lib)
    cpio(root, f"{work}/initramfs")
    return f"{work}/initramfs"


def boot(work, suite, vmlinuz, initrd):
    """(exit status or None, output of the program, console)"""
    out, console = f"{work}/{suite}.out", f"{work}/{suite}.console"
    for f in (out, console):
        open(f, "w", encoding="utf-8").close()
    cmd = ["qemu-system-x86_64", "-accel", os.environ.get("WEIR_VM_ACCEL", "tcg"), "-machine", "q35", "-cpu", "qemu64", "-m", "512", "-smp", "1",
           "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{console}", "-serial",
           f"file:{out}", "-kernel", vmlinuz, "-initrd", initrd, "-append",
           "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic random.trust_cpu=on tsc=reliable mitigations=off"]
    try:
        subprocess.run(cmd, timeout=BOOT_TIMEOUT, stdin=subprocess.DEVNULL, check=True, stderr=subprocess.PIPE, text=True)
        end = ""
    except subprocess.TimeoutExpired:
        end = f"no end after {BOOT_TIMEOUT} s\n"
    except subprocess.CalledProcessError as e:
        end = f"qemu: {last_line(e)}\n"
    with open(out, encoding="utf-8", errors="replace") as f:
        text = f.read().replace("\r", "")
    with open(console, encoding="utf-8", errors="replace") as f:
        said = f.read().replace("\r", "") + end
    status = re.search(r"^status (\d+)$", text, re.M)
    return int(status.group(1)) if status else None, text, said


def numbers(text):
    """{program: {key: number}} of the lines `NAME key=number ...`; the largest of a name counts."""
    found = {}
    for line in text.splitlines():
        m = re.match(r"(\w+)((?: +\w+=\d+)+)\s*$", line)
        if m:
            row = found.setdefault(m.group(1), {})
            for key, value in re.findall(r"(\w+)=(\d+)", m.group(2)):
                row[key] = max(row.get(key, 0), int(value))
    return found


def print_table(results):
    """Lines that begin with '| ' are repeated by the test runner in its report."""
    programs = sorted({p for rows in results.values() for p in rows})
    if not programs:
        return
    width = max(map(len, programs + ["program"]))
    columns = [max(len(kernel), 20) for kernel in results]
    print(f"| {'instructions: ' + '/'.join(KEYS)}")
    print("| " + "  ".join([f"{'program':{width}}"] + [f"{k:>{w}}" for k, w in zip(results, columns)]))
    for program in programs:
        cells = []
        for rows, w in zip(results.values(), columns):
            row = rows.get(program)
            cells.append(f"{'/'.join(str(row.get(k) or '-') for k in KEYS) if row else 'not there':>{w}}")
        print("| " + "  ".join([f"{program:{width}}"] + cells))


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    work, program = sys.argv[1:]
    if not shutil.which("qemu-system-x86_64"):
        print("skipped: no qemu-system-x86_64 (package qemu-system-x86)")
        return 77
    if os.uname().machine != "x86_64":
        print("skipped: the programs of this host do not run in an x86_64 machine")
        return 77
    os.makedirs(work, exist_ok=True)
    cache = os.environ.get("WEIR_VM_CACHE") or os.path.expanduser("~/.cache/weir-vm")
    try:
        initrd = initramfs(work, program)
    except Unavailable as e:
        print(f"skipped: {e}")
        return 77
    results, failed = {}, 0
    print(f"1..{len(MATRIX)}", flush=True)
    for i, (suite, version, must_say) in enumerate(MATRIX, 1):
        try:
            vmlinuz, release = fetch(suite, cache)
        except Unavailable as e:
            print(f"ok {i} - {suite} ({version}) # SKIP {e}", flush=True)
            continue
        whole = f"{work}/{suite}.initramfs"
        with open(whole, "wb") as f:
            for part in (initrd, os.path.join(os.path.dirname(vmlinuz), "modules.cpio")):
                with open(part, "rb") as p:
                    shutil.copyfileobj(p, f)
        for _ in range(3):
            status, text, console = boot(work, suite, vmlinuz, whole)
            if status is not None or text.strip():
                break
            # under emulation 6.12 dies now and then in its own early boot, before anything of ours has run
            print(f"# {suite}: the machine died before the program began; again", flush=True)
        wrong = None
        if status is None:
            wrong = "the machine did not come to its end"
        elif status:
            wrong = f"the program failed with status {status}"
        elif version != "newest" and not release.startswith(version + "."):
            wrong = f"this is {release}, not {version}"
        elif any(words not in text for words in must_say):
            wrong = f"did not say {', '.join(words for words in must_say if words not in text)}"
        print(f"{'not ok' if wrong else 'ok'} {i} - {suite} {release}{': ' + wrong if wrong else ''}", flush=True)
        if wrong:
            failed += 1
            print("\n".join("  " + line for line in (console + text).splitlines()[-60:]), flush=True)
        results[release.replace("-cloud-amd64", "")] = numbers(text)
    print_table(results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
