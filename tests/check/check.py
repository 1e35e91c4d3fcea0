#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the compiler does not see: who includes whom, licences, sizes, reason numbers, traces of a machine.

    check.py NAME [ROOT]     one check over the files that git knows (or all files, without git)
    check.py selftest        plants a violation of each kind in a scratch tree and expects it to be found

Every check prints `place: what is wrong` and fails when it printed anything.
"""
import fnmatch
import os
import re
import subprocess
import sys
import tempfile

SOURCE = (".c", ".h", ".def", ".py", ".sh", ".mjs", ".js")
FILE_MAX, FUNCTION_MAX = 600, 70
DEFENCE = "This file is long because"
FUNCTION_DEFENCE = "This function is long because"

# Headers that come with the compiler and need no libc.
FREESTANDING = {"stdint.h", "stddef.h", "stdbool.h", "stdarg.h", "limits.h", "stdalign.h", "stdnoreturn.h", "iso646.h",
                "float.h"}

# Who stands on whom. A room may include itself and what is named here; the first pattern that fits a path
# decides. Pairs are (files, rooms whose headers they may include).
ROOMS = [
    ("core/*", ["core/"]),
    ("bpf/*", ["core/", "bpf/", "vmlinux.h"]),
    ("lib/util/*", ["core/", "lib/util/"]),
    ("lib/sandbox/*", ["core/", "lib/util/", "lib/sandbox/"]),
    ("lib/policy/*", ["core/", "lib/util/", "lib/policy/"]),
    ("lib/host/*", ["core/", "lib/util/", "lib/host/", "lib/kern/kern.h"]),  # the words of the seam, not libbpf
    ("lib/kern/*", ["core/", "lib/util/", "lib/kern/", "bpf/"]),
    ("lib/event/*", ["core/", "lib/util/", "lib/policy/", "lib/host/", "lib/kern/", "lib/event/"]),
    ("lib/state/*", ["core/", "lib/util/", "lib/policy/", "lib/host/", "lib/kern/", "lib/event/", "lib/state/"]),
    ("lib/*", ["core/", "lib/"]),
    ("daemon/keeper/*", ["core/", "lib/util/", "lib/host/", "lib/kern/", "lib/event/", "daemon/keeper/"]),
    ("daemon/helper/*", ["core/", "lib/util/", "lib/sandbox/", "lib/host/", "daemon/helper/"]),
    ("daemon/*", ["core/", "lib/", "daemon/"]),
    ("cli/*", ["core/", "lib/", "cli/", "daemon/"]),
    ("wasm/*", ["core/", "wasm/"]),
]
# Where the rights are, no text of a user is parsed.
NO_TEXT = ("lib/kern/*", "lib/sandbox/*", "daemon/keeper/*", "daemon/helper/*", "daemon/run.c", "daemon/crew.*",
           "daemon/spawner.*", "daemon/listen.*", "daemon/rundir.*", "daemon/notify.*")
TEXT = ("lib/policy/", "yaml.h", "jansson.h")


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def files(root):
    """Those of the repository; in an unpacked archive, all but what a build leaves behind."""
    try:
        out = subprocess.run(["git", "-c", f"safe.directory={os.path.realpath(root)}", "-C", root, "ls-files", "-z",
                              "--cached", "--others", "--exclude-standard"], check=True, capture_output=True)
        names = [n for n in out.stdout.decode().split("\0") if n]
    except (OSError, subprocess.CalledProcessError):
        names = [os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs]
        names = [n for n in names if not re.match(r"(\.git|build[^/]*|node_modules)/", n)]
    return sorted(n for n in names if os.path.isfile(os.path.join(root, n)))


def includes(text):
    """(line, header, quoted) of each #include, comments aside."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    for m in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', text, re.M):
        yield text.count("\n", 0, m.start()) + 1, m.group(2), m.group(1) == '"'


def is_test(path):
    return os.path.basename(path).startswith("test_")


def include_fault(path, header, quoted, all_files):
    """Why `path` may not include `header`, or None."""
    room = next((r for pattern, r in ROOMS if fnmatch.fnmatch(path, pattern)), None)
    if room is None:
        return None
    generated = header.endswith(".skel.h")
    if any(fnmatch.fnmatch(path, p) for p in NO_TEXT) and not is_test(path) and \
            any(header == t or header.startswith(t) for t in TEXT):
        return "stands where the rights are and must not see policy text"
    if (header.startswith("bpf/") and not quoted) or generated:
        return None if fnmatch.fnmatch(path, "lib/kern/*") or (path.startswith("bpf/") and not generated) \
            else "only lib/kern sees libbpf and the skeletons"
    if header in ("bpf.h", "libbpf.h") or header.startswith("linux/bpf"):
        return None if path.startswith("lib/kern/") else "only lib/kern speaks to the kernel's BPF"
    if is_test(path) and (not quoted or header.startswith("tests/")):
        return None  # a test runs on the host
    if path.startswith("core/"):
        if quoted:
            return None if header.startswith("core/") else "core includes core only, with the folder in the name"
        return None if header in FREESTANDING else "core knows neither libc nor the kernel"
    if path.startswith("bpf/") and not quoted:
        return None if header in FREESTANDING else "bpf includes core, bpf, <bpf/...> and vmlinux.h only"
    if not quoted:
        return None
    if any(header == r or (r.endswith("/") and header.startswith(r)) for r in room):
        return None
    # what the build makes lies beside the file that wants it and has no folder
    if "/" not in header and header.endswith(".h") and os.path.join(os.path.dirname(path), header) not in all_files:
        return None
    return f"may include {', '.join(room)} only, with the folder in the name"


def reaches_text(root, path, known, seen):
    """The way of quoted includes from `path` to a header of TEXT, or None."""
    seen.add(path)
    for _, header, quoted in includes(read(root, path)):
        if any(header == t or header.startswith(t) for t in TEXT):
            return [path, header]
        if quoted and header in known and header not in seen:
            way = reaches_text(root, header, known, seen)
            if way:
                return [path] + way
    return None


def check_no_text(root, names):
    """Also by a header of a header: where the rights are, nothing of what parses can even be named."""
    known = set(names)
    for path in names:
        if path.endswith((".c", ".h")) and any(fnmatch.fnmatch(path, p) for p in NO_TEXT) and not is_test(path):
            way = reaches_text(root, path, known, set())
            if way and len(way) > 2:
                yield f"{path}:1: sees {way[-1]} through {' > '.join(way[1:-1])}"


def check_layers(root, names):
    known = set(names)
    yield from check_no_text(root, names)
    for path in names:
        if path.endswith((".c", ".h", ".def")):
            for line, header, quoted in includes(read(root, path)):
                why = include_fault(path, header, quoted, known)
                if why:
                    yield f"{path}:{line}: includes {header}: {why}"


def check_spdx(root, names):
    """Who may take it under which licence is the first thing that a file says."""
    for path in names:
        base = os.path.basename(path)
        if not (path.endswith(SOURCE) or base in ("meson.build", "meson_options.txt", "Makefile") or path == ".ci/run"):
            continue
        want = "Apache-2.0"
        if path.startswith(("core/", "bpf/")) and not is_test(path) and base != "meson.build":
            want = "GPL-2.0-only OR BSD-2-Clause"
        lines = read(root, path).split("\n", 2)
        line = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
        m = re.fullmatch(r"(?:/\*|//|#) SPDX-License-Identifier: (.+?)(?: \*/)?", line.strip())
        if not m:
            yield f"{path}:1: no SPDX-License-Identifier"
        elif m.group(1) != want:
            yield f"{path}:1: licence '{m.group(1)}', want '{want}'"


def functions(text):
    """(first line, length, name) of each function body: a brace in column 0 opens and closes it."""
    start = None
    lines = text.split("\n")
    for i, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = i
        elif line.startswith("}") and start:
            head = " ".join(lines[max(0, start - 4):start - 1])
            name = re.findall(r"(\w+)\s*\(", head)
            if not line.startswith("};"):
                yield start, i - start - 1, name[-1] if name else "?"
            start = None


def check_sizes(root, names):
    """One idea a file, one a function; who needs more says why at its head."""
    for path in names:
        if not path.endswith((".c", ".h", ".py", ".sh")) or path == "bpf/vmlinux.h":
            continue
        text = read(root, path)
        count = text.count("\n")
        if count > FILE_MAX and DEFENCE not in text[:3000]:
            yield f"{path}: {count} lines, at most {FILE_MAX} (or a head comment with '{DEFENCE} ...')"
        if not path.endswith((".c", ".h")):
            continue
        lines = text.split("\n")
        for start, length, name in functions(text):
            head = "\n".join(lines[max(0, start - 16):start + 3])
            if length > FUNCTION_MAX and FUNCTION_DEFENCE not in head:
                yield f"{path}:{start}: {name} has {length} lines, at most {FUNCTION_MAX} " \
                      f"(or a comment above it with '{FUNCTION_DEFENCE} ...')"


REASON = re.compile(r"^X\((\w+),\s*(\d+),\s*\"([^\"]+)\"", re.M)


def check_reasons(root, names):
    """Numbers are in other people's dashboards: what was given out once stays."""
    got = REASON.findall(read(root, "core/reason.def"))
    if not got:
        yield "core/reason.def: no reasons"
    for field, what in ((0, "constant"), (1, "number"), (2, "name")):
        seen = {}
        for reason in got:
            if reason[field] in seen:
                yield f"core/reason.def: {what} {reason[field]} twice: {seen[reason[field]]}, {reason[0]}"
            seen[reason[field]] = reason[0]
    now = {name: int(number) for _, number, name in got}
    listed = {}
    for i, line in enumerate(read(root, "tests/check/reasons.txt").splitlines(), 1):
        if line and not line.startswith("#"):
            number, name = line.split()
            listed[name] = int(number)
            if name not in now:
                yield f"tests/check/reasons.txt:{i}: reason {number} {name} is gone; numbers are never given up"
            elif now[name] != int(number):
                yield f"core/reason.def: {name} was {number}, is {now[name]}; numbers never change"
    for name, number in now.items():
        if name not in listed:
            yield f"core/reason.def: new reason {number} {name}: add it to tests/check/reasons.txt"


# Spelled in pieces, so that this file does not name them either.
LEAKS = re.compile("|".join([r"\.\./" + "shared", "/wo" + "rk/(?:main|wt-|shared|brief)",
                             "BEGIN (?:RSA |EC |OPENSSH )?PRIVATE" + " KEY",
                             r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bXX" + r"X\b"]))


def check_leaks(root, names):
    """No trace of the machine that it was written on, nothing left for later."""
    for path in names:
        if path.startswith(("LICENSE", "tests/fuzz/corpus/")) or path.endswith((".png", ".ico", "package-lock.json")):
            continue
        for i, line in enumerate(read(root, path).split("\n"), 1):
            m = LEAKS.search(line)
            if m:
                yield f"{path}:{i}: '{m.group()}' does not belong here"


CHECKS = {"layers": check_layers, "spdx": check_spdx, "sizes": check_sizes, "reasons": check_reasons, "leaks": check_leaks}

C = "/* SPDX-License-Identifier: Apache-2.0 */\n"
PURE = "/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */\n"
LONG_FUNCTION = "int f(void)\n{\n" + "\tg();\n" * (FUNCTION_MAX + 1) + "}\n"
# (check, path, text, found): each planted file alone in a scratch tree
PLANTED = [
    ("layers", "core/a.h", '#include "core/types.h"\n#include <stdint.h>\n', False),
    ("layers", "core/a.h", "#include <stdio.h>\n", True),
    ("layers", "core/a.h", '  # include "lib/util/diag.h"\n', True),
    ("layers", "core/a.h", '/*\n#include "lib/util/diag.h"\n*/\n', False),
    ("layers", "core/test_a.c", '#include <cmocka.h>\n#include "tests/harness/packet.h"\n#include "core/a.h"\n', False),
    ("layers", "core/test_a.c", '#include "lib/policy/policy.h"\n', True),
    ("layers", "lib/util/test_a.c", "#include <bpf/libbpf.h>\n", True),
    ("layers", "bpf/a.bpf.c", '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#include "core/parse.h"\n', False),
    ("layers", "bpf/a.bpf.c", "#include <linux/if_ether.h>\n", True),
    ("layers", "bpf/a.bpf.c", '#include "lib/kern/kern.h"\n', True),
    ("layers", "lib/util/a.c", '#include "lib/policy/policy.h"\n', True),
    ("layers", "daemon/keeper/a.c", '#include "lib/util/through.h"\n', True),
    ("layers", "daemon/worker/a.c", '#include "lib/util/through.h"\n', False),
    ("layers", "lib/policy/a.c", "#include <yaml.h>\n", False),
    ("layers", "lib/policy/a.c", '#include "lib/kern/kern.h"\n', True),
    ("layers", "lib/policy/a.c", "#include <bpf/libbpf.h>\n", True),
    ("layers", "lib/kern/a.c", '#include <bpf/libbpf.h>\n#include "weir.skel.h"\n', False),
    ("layers", "lib/kern/a.c", "#include <yaml.h>\n", True),
    ("layers", "lib/kern/a.c", '#include "lib/policy/policy.h"\n', True),
    ("layers", "lib/event/a.c", '#include "lib/state/state.h"\n', True),
    ("layers", "lib/state/a.c", '#include "lib/event/event.h"\n', False),
    ("layers", "lib/state/a.c", '#include "daemon/keeper/keeper.h"\n', True),
    ("layers", "lib/state/a.c", '#include "cli/cmd.h"\n', True),
    ("layers", "daemon/keeper/a.c", "#include <jansson.h>\n", True),
    ("layers", "daemon/keeper/a.c", '#include "lib/policy/policy.h"\n', True),
    ("layers", "daemon/worker/a.c", '#include "lib/policy/policy.h"\n', False),
    ("layers", "cli/a.c", '#include "weir.skel.h"\n', True),
    ("spdx", "lib/util/a.c", C, False),
    ("spdx", "lib/util/a.c", "int a;\n", True),
    ("spdx", "core/a.h", C, True),
    ("spdx", "core/a.h", PURE, False),
    ("spdx", "tools/a.sh", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n", False),
    ("sizes", "lib/util/a.c", C + "int a;\n" * (FILE_MAX + 1), True),
    ("sizes", "lib/util/a.c", C + f"/* {DEFENCE} it is a table. */\n" + "int a;\n" * (FILE_MAX + 1), False),
    ("sizes", "lib/util/a.c", C + LONG_FUNCTION, True),
    ("sizes", "lib/util/a.c", C + f"/* {FUNCTION_DEFENCE} it is a list. */\n" + LONG_FUNCTION, False),
    ("reasons", "core/reason.def", 'X(NONE, 0, "none", "m")\nX(BAN, 1, "ban", "m")\n', False),
    ("reasons", "core/reason.def", 'X(NONE, 0, "none", "m")\nX(BAN, 2, "ban", "m")\n', True),
    ("reasons", "core/reason.def", 'X(NONE, 0, "none", "m")\n', True),
    ("reasons", "core/reason.def", 'X(NONE, 0, "none", "m")\nX(BAN, 1, "ban", "m")\nX(NEW, 1, "new", "m")\n', True),
    ("leaks", "docs/a.md", "see ../" + "shared/plan.md\n", True),
    ("leaks", "lib/util/a.c", "/* TO" + "DO */\n", True),
    ("leaks", "lib/util/a.c", "/* in the root of the tree */\n", False),
]


def selftest():
    bad = 0
    for check, path, text, expected in PLANTED:
        with tempfile.TemporaryDirectory() as root:
            tree = {path: text}
            if check == "reasons":
                tree["tests/check/reasons.txt"] = "0 none\n1 ban\n"
            if check == "layers":
                tree["lib/util/through.h"] = "#include <jansson.h>\n"
            for name, content in tree.items():
                os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
                with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                    f.write(content)
            found = list(CHECKS[check](root, sorted(tree)))
        if bool(found) != expected:
            bad += 1
            print(f"selftest: {check}: {'missed' if expected else 'false alarm on'} {path}: {text[:80]!r} {found}")
    print(f"{len(PLANTED)} planted files, {bad} misjudged")
    return bad


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name == "selftest":
        return 1 if selftest() else 0
    if name not in CHECKS:
        print(f"usage: check.py {' | '.join(CHECKS)} | selftest [ROOT]", file=sys.stderr)
        return 2
    root = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    names = files(root)
    faults = list(CHECKS[name](root, names))
    print("\n".join(faults) if faults else f"{len(names)} files")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
