# SPDX-License-Identifier: Apache-2.0
"""A qemu machine: its initramfs, its disks, its end. Emulation without KVM, so that it runs everywhere
($WEIR_VM_ACCEL overrides). Its console is the first serial port, what it has to say comes over the second."""
import os
import re
import shutil
import subprocess

from debian import Unavailable, cpio

HERE = os.path.dirname(os.path.abspath(__file__))
COMMAND = ["qemu-system-x86_64", "-machine", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
# What was translated of a program or library serves the next process, too, where it lies at the same address: norandmaps.
APPEND = ("console=ttyS0 quiet loglevel=4 panic=-1 oops=panic random.trust_cpu=on tsc=reliable mitigations=off "
          "rcupdate.rcu_cpu_stall_suppress=1 nowatchdog norandmaps")


def libraries(program):
    """What the loader would map, as `ldd` says it."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    if "not found" in out:
        raise Unavailable(f"{program}: {out.strip()}")
    return re.findall(r"(/\S+) \(0x", out)


def initramfs(work, program=None):
    """Busybox and `init`, and a program with its libraries, which then is all that the machine runs."""
    busybox = shutil.which("busybox", path="/bin:/usr/bin")
    if not busybox or libraries(busybox):
        raise Unavailable("no static busybox (package busybox-static)")
    if not shutil.which("cpio"):
        raise Unavailable("no cpio")
    root = f"{work}/root"
    shutil.rmtree(root, ignore_errors=True)
    for d in ("bin", "dev", "proc", "sys", "run", "tmp", "etc", "root"):
        os.makedirs(f"{root}/{d}")
    shutil.copy(busybox, f"{root}/bin/busybox")
    shutil.copy(f"{HERE}/init", f"{root}/init")
    os.chmod(f"{root}/init", 0o755)
    if program:
        shutil.copy(program, f"{root}/program")
        for lib in libraries(program):
            os.makedirs(root + os.path.dirname(lib), exist_ok=True)
            shutil.copy(lib, root + lib)
    cpio(root, f"{work}/initramfs")
    return f"{work}/initramfs"


def start(work, name, kernel, initrd, disks=(), memory=512, cpus=1):
    """The machine as a process, and the files of its two serial ports. Nothing is ever written to its disks."""
    out, console, whole = (f"{work}/{name}.{x}" for x in ("out", "console", "initramfs"))
    for f in (out, console):
        open(f, "w", encoding="utf-8").close()
    with open(whole, "wb") as f:
        for part in (initrd, f"{kernel}/early.cpio"):
            with open(part, "rb") as p:
                shutil.copyfileobj(p, f)
    accel = os.environ.get("WEIR_VM_ACCEL") or ("tcg,thread=multi" if cpus > 1 else "tcg")
    cmd = [*COMMAND, "-accel", accel, "-cpu", "qemu64,-cx16", "-m", str(memory), "-smp", str(cpus), "-serial", f"file:{console}",
           "-serial", f"file:{out}", "-kernel", f"{kernel}/vmlinuz", "-initrd", whole, "-append", APPEND]
    for disk in disks:
        cmd += ["-drive", f"file={disk},if=virtio,format=raw,snapshot=on,cache=unsafe"]
    return subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True), \
        out, console


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read().replace("\r", "")
