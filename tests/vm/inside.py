#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in the machine: the tests that a disk names, one after the other; writes what became of them to a serial port.

    inside.py MANIFEST PORT     MANIFEST: a disk with JSON, filled up with zeros; PORT: one line of JSON per message

Messages: {"features": {...}}, {"start": name}, {"done": name, "status": n, "seconds": s, "output": text}, {"end": 1}.
A test that takes longer than its time is killed and has the status "timeout".
"""
import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import tty

KEEP = 24000  # characters of a test's output


def landlock():
    """The version of Landlock's interface."""
    libc = ctypes.CDLL(None, use_errno=True)
    v = libc.syscall(444, None, 0, 1)  # landlock_create_ruleset, LANDLOCK_CREATE_RULESET_VERSION
    return f"v{v}" if v > 0 else "no"


def sock_destroy():
    """Asked to end a conversation that there is none of, a kernel that could says ENOENT."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as s:  # NETLINK_SOCK_DIAG
        ask = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
        ask += struct.pack("!HH4s12s4s12s", 9, 9, b"\x7f\0\0\1", b"", b"\x7f\0\0\1", b"") + struct.pack("=III", 0, ~0 & 0xFFFFFFFF, ~0 & 0xFFFFFFFF)
        s.send(struct.pack("=IHHII", 16 + len(ask), 21, 5, 1, 0) + ask)  # SOCK_DESTROY, REQUEST|ACK
        s.settimeout(5)
        error = -struct.unpack_from("=i", s.recv(4096), 16)[0]
    return {2: "yes", 0: "yes"}.get(error, f"no ({os.strerror(error)})")


def features(loadtest):
    """What differs between kernels and what weir makes of it."""
    out = {"kernel": os.uname().release, "BTF": "yes" if os.path.exists("/sys/kernel/btf/vmlinux") else "no",
           "Landlock": landlock(), "SOCK_DESTROY": sock_destroy()}
    said = subprocess.run([loadtest], capture_output=True, text=True).stdout
    for key, pattern in (("TC", r"^tc=(\S+)"), ("XDP", r"xdp=(\S+)"), ("guard", r"^guard: (.*)$")):
        m = re.search(pattern, said, re.M)
        out[key] = m.group(1) if m else "no"
    with open("/proc/self/status", encoding="ascii") as f:
        out["seccomp"] = "yes" if "Seccomp_filters" in (text := f.read()) or "Seccomp:" in text else "no"
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as f:
        out["CAP_BPF"] = "yes" if int(f.read()) >= 39 else "no"
    return out


def kill_group(p):
    try:
        os.killpg(p.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def one(test, slow):
    """(status, output) of a test, which gets a session of its own; what it leaves behind dies with its group."""
    env = dict(os.environ, WEIR_TEST_SLOW=str(slow), **test["env"])
    log = "/tmp/output"
    with open(log, "wb") as out:
        p = subprocess.Popen(test["cmd"], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                             cwd=test.get("cwd"), start_new_session=True)
        try:
            status = p.wait(test["timeout"] * slow)
        except subprocess.TimeoutExpired:
            status = "timeout"
            os.kill(p.pid, signal.SIGUSR1)  # faulthandler of tests/harness: where it hangs
            time.sleep(1)
            p.terminate()  # it still tears its namespaces down
            try:
                p.wait(30)
            except subprocess.TimeoutExpired:
                pass
        kill_group(p)
        p.wait()
    with open(log, "r", encoding="utf-8", errors="replace") as f:
        text = f.read()
    return status, text if len(text) <= KEEP else text[:KEEP // 2] + "\n[...]\n" + text[-KEEP // 2:]


def main():
    with open(sys.argv[1], "rb") as f:
        manifest = json.loads(f.read().rstrip(b"\0"))
    fd = os.open(sys.argv[2], os.O_WRONLY | os.O_NOCTTY)
    tty.setraw(fd)

    def say(**message):
        data = (json.dumps(message) + "\n").encode()
        while data:
            data = data[os.write(fd, data):]
        termios.tcdrain(fd)

    for what, where in (("source", manifest["source"]), ("build", manifest["build"])):
        os.makedirs(where, exist_ok=True)
        subprocess.run(["mount", "--bind", f"/mnt/checkout/{what}", where], check=True)
    say(features=features(manifest["loadtest"]))
    for test in manifest["tests"]:
        say(start=test["name"])
        start = time.monotonic()
        status, output = one(test, manifest["slow"])
        say(done=test["name"], status=status, seconds=round(time.monotonic() - start), output=output)
    say(end=1)


if __name__ == "__main__":
    main()
