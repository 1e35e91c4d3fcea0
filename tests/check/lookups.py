#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lookups.py CLANG OBJECT...: does each lookup name one map?

Where two branches end in a lookup the compiler may merge them into one call with either map. Then the kernel cannot put
the short way into an array or a table in its place: the call goes through the helper and an indirect call, three to six
times as long. See WEIR_APART.
"""
import os
import struct
import subprocess
import sys
import tempfile

from stack import Object

CALL, LOAD_IMM64, LOOKUP, MAP_ARG = 0x85, 0x18, 1, 1


def writes(op, dst):
    """The register that this instruction writes."""
    return dst if op & 7 in (0, 1, 4, 7) else None


def merged(o, function):
    """The lookups of this function whose map is not named just before, in the same straight piece of code."""
    _, _, section, begin, size = function
    code, ends, found, named = o.code[section], set(), [], False
    for at in range(begin, begin + size, 8):
        op, _, off, imm = struct.unpack_from("<BBhi", code, at)
        if op & 7 in (5, 6) and op not in (CALL, 0x95):
            ends.add(at + 8 + (imm if op == 0x06 else off) * 8)
    at = begin
    while at < begin + size:
        op, registers, _, imm = struct.unpack_from("<BBhi", code, at)
        named = named and at not in ends
        if op == CALL:
            if registers >> 4 == 0 and imm == LOOKUP and not named:
                found.append((at - begin) // 8)
            named = False
        elif op == LOAD_IMM64 and registers & 15 == MAP_ARG:
            named = (section, at) in o.relocations
        elif writes(op, registers & 15) == MAP_ARG:
            named = False
        at += 16 if op == LOAD_IMM64 else 8
    return found


def faults(blob):
    o = Object(blob)
    return [f"{f[0]}: a lookup with one of several maps, instruction {i}" for f in o.functions.values() for i in merged(o, f)]


PLANTED = """
static void *(*lookup)(void *, const void *) = (void *)1;
struct { int (*type)[2]; int (*max_entries)[4]; int *key; long *value; } a __attribute__((section(".maps"))), b __attribute__((section(".maps")));
__attribute__((noinline)) long f(int which, int key)
{
	long *v;
	if (which) { v = lookup(&a, &key); APART } else { v = lookup(&b, &key); }
	return v ? *v : 0;
}
"""


def planted(clang, apart):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.o")
        subprocess.run([clang, "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c", "-x", "c", "-", "-o", path], check=True,
                       input=PLANTED.replace("APART", apart), text=True)
        with open(path, "rb") as f:
            return faults(f.read())


def main():
    if len(sys.argv) < 3:
        print(f"usage: {sys.argv[0]} CLANG OBJECT...", file=sys.stderr)
        return 2
    status = 0
    for apart, count in (("", 1), ('asm volatile("" : "+r"(v));', 0)):
        found = planted(sys.argv[1], apart)
        if len(found) != count:
            print(f"selftest: {found} where {count} should be found")
            status = 1
    for path in sys.argv[2:]:
        with open(path, "rb") as f:
            found = faults(f.read())
        print("\n".join(found) if found else f"{path}: each lookup names its map")
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main())
