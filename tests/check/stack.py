#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""stack.py CLANG OBJECT...: do the deepest calls of each BPF program fit the kernel's stack?

The verifier adds up the frames of a chain of calls, each rounded up to 32 bytes before 6.8 (16 since then, with a JIT):
512 bytes and eight frames at most (check_max_stack_depth, kernel/bpf/verifier.c). A kernel of today takes what 5.10
refuses, so the sum is made here, from the object, without a kernel.
"""
import os
import struct
import subprocess
import sys
import tempfile

STACK, FRAMES, ROUND = 512, 8, 32
FUNC, SECTION, RELOC = 2, 3, 9
CALL, MOV, ADD = 0x85, 0xBF, 0x07
FRAME_POINTER = 10


class Object:
    """The functions of an ELF64 object: name, (section, begin, end) in bytes; code by section; calls with a relocation."""

    def __init__(self, blob):
        offset, = struct.unpack_from("<Q", blob, 40)
        count, = struct.unpack_from("<H", blob, 60)
        heads = [struct.unpack_from("<IIQQQQIIQQ", blob, offset + i * 64) for i in range(count)]
        body = [b"" if h[1] == 8 else blob[h[4]:h[4] + h[5]] for h in heads]
        table = next(i for i, h in enumerate(heads) if h[1] == 2)
        names = body[heads[table][6]]
        self.code, self.symbols, self.relocations = body, [], {}
        for at in range(0, len(body[table]), 24):
            name, info, _, section, value, size = struct.unpack_from("<IBBHQQ", body[table], at)
            text = names[name:names.index(b"\0", name)].decode()
            self.symbols.append((text, info & 15, section, value, size))
        for h, b in zip(heads, body):
            if h[1] == RELOC:
                for at in range(0, len(b), 16):
                    where, info = struct.unpack_from("<QQ", b, at)
                    self.relocations[h[7], where] = self.symbols[info >> 32]
        self.functions = {(s[2], s[3]): s for s in self.symbols if s[1] == FUNC and s[4]}

    def target(self, section, at, imm):
        """The function that a call at this place leads to."""
        symbol = self.relocations.get((section, at))
        if symbol is None:
            return self.functions.get((section, at + 8 + imm * 8))
        if symbol[1] == SECTION:
            return self.functions.get((symbol[2], (imm + 1) * 8))
        return self.functions.get((symbol[2], symbol[3]))

    def frame(self, function):
        """Bytes of its frame, and whom it calls."""
        _, _, section, begin, size = function
        deepest, calls, points = 0, set(), {FRAME_POINTER: 0}
        for at in range(begin, begin + size, 8):
            op, registers, off, imm = struct.unpack_from("<BBhi", self.code[section], at)
            dst, src = registers & 15, registers >> 4
            kind = op & 7
            if kind in (2, 3) or kind == 1:
                base = src if kind == 1 else dst
                if base in points:
                    deepest = min(deepest, points[base] + off)
            if op == CALL and src == 1:
                calls.add(self.target(section, at, imm))
            if op == MOV and src in points:
                points[dst] = points[src]
            elif op == ADD and dst in points and dst != FRAME_POINTER:
                points[dst] += imm
                deepest = min(deepest, points[dst])
            elif kind in (0, 1, 4, 7) and dst != FRAME_POINTER:
                points.pop(dst, None)
        return -deepest, calls

    def deepest(self, function, known):
        """The chain of calls from here with the largest sum, and the one with the most frames: (sum, chain), (frames, chain)."""
        if function not in known:
            own, calls = self.frame(function)
            size = (max(own, 1) + ROUND - 1) // ROUND * ROUND
            step = f"{function[0]} {own}"
            sums, counts = (0, []), (0, [])
            for f in calls:
                below = self.deepest(f, known)
                sums, counts = max(sums, below[0]), max(counts, below[1])
            known[function] = (sums[0] + size, [step] + sums[1]), (counts[0] + 1, [step] + counts[1])
        return known[function]


def faults(blob):
    """Of each chain of calls that the kernel refuses, and the deepest sum of all."""
    o, known, found = Object(blob), {}, []
    for f in o.functions.values():
        total, count = o.deepest(f, known)
        if total[0] > STACK:
            found.append(f"{f[0]}: {total[0]} bytes of stack, at most {STACK}: {', '.join(total[1])}")
        if count[0] > FRAMES:
            found.append(f"{f[0]}: {count[0]} frames, at most {FRAMES}: {', '.join(count[1])}")
    return found, max(k[0][0] for k in known.values())


def planted(clang, frames, size):
    """The faults of a chain of so many functions whose frames hold so many bytes each."""
    lines = ["#define N __attribute__((noinline))", "N int f0(int a) { asm volatile(\"\" : \"+r\"(a)); return a; }"]
    for i in range(1, frames):
        lines.append(f"N int f{i}(int a) {{ volatile char b[{size}]; b[a] = a; return f{i - 1}(b[a ^ 1]) + 1; }}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.o")
        subprocess.run([clang, "-target", "bpf", "-mcpu=v3", "-O2", "-c", "-x", "c", "-", "-o", path], check=True,
                       input="\n".join(lines), text=True)
        with open(path, "rb") as f:
            return faults(f.read())


def selftest(clang):
    """What is planted is found, and no more than that."""
    for frames, size, most, expected in ((5, 120, 544, 1), (5, 96, 416, 0), (8, 8, 256, 0), (9, 8, 288, 1), (3, 8, 96, 0)):
        found, sum_of_all = planted(clang, frames, size)
        if bool(found) != bool(expected) or sum_of_all != most:
            print(f"selftest: {frames} frames with {size} bytes: {sum_of_all} instead of {most}, {found}")
            return 1
    return 0


def main():
    if len(sys.argv) < 3:
        print(f"usage: {sys.argv[0]} CLANG OBJECT...", file=sys.stderr)
        return 2
    status = selftest(sys.argv[1])
    for path in sys.argv[2:]:
        with open(path, "rb") as f:
            found, most = faults(f.read())
        print("\n".join(found) if found else f"{path}: {most} of {STACK} bytes at most")
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main())
