#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every example in the docs works: complete policies (```yaml blocks with `version:`) pass check and lint, other
yaml blocks with rules pass inside of a policy, and commands in ```console blocks exist with their options.

A block that shows a mistake says so in the info string: ```yaml wrong. One that needs files of its own, or
shows another program's file, says ```yaml skip."""
import glob
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

FENCES = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```\s*$", re.M | re.S)


def blocks(kinds):
    """(place, info words, text) of the fenced blocks of README.md and docs/."""
    for path in [f"{ROOT}/README.md", *sorted(glob.glob(f"{ROOT}/docs/**/*.md", recursive=True))]:
        if not os.path.exists(path):
            continue
        text = open(path).read()
        for m in FENCES.finditer(text):
            info = m.group(2).split()
            if info and info[0] in kinds:
                indent = len(m.group(1))
                body = "".join(x[indent:] if x[:indent].isspace() else x for x in m.group(3).splitlines(True))
                yield f"{os.path.relpath(path, ROOT)}:{text.count(chr(10), 0, m.start()) + 1}", info[1:], body


def weir(*args):
    return subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60 * SLOW, env=dict(os.environ, NO_COLOR="1"))


def test_policies():
    found = 0
    with tempfile.TemporaryDirectory() as d:
        for place, words, text in blocks({"yaml", "yml"}):
            if "skip" in words:
                continue
            if not re.search(r"^version:", text, re.M):
                if not re.match(r"\s*(#.*\n\s*)*(-|[a-z_]+:)", text):
                    continue
                # a part: rules in a list, or keys of the file
                text = "version: 1\n" + ("rules:\n" + text if text.lstrip().startswith("-") else text)
            found += 1
            path = f"{d}/policy.yaml"
            with open(path, "w") as f:
                f.write(text)
            for command in ("check", "lint"):
                p = weir(command, path)
                if "wrong" in words:
                    if command == "check":
                        equal(p.returncode, 1, f"{place}: {command} accepts what the docs call wrong")
                else:
                    equal(p.returncode, 0, f"{place}: {command}: {p.stdout}{p.stderr}")
    must(found, "the docs show no policy")


# Where the entries of a section of the reference stand in a policy, and which others are needed beside one; a section that
# is not here is a key of the policy.
RULE = "{ action: drop, ports: 7 }"
SECTIONS = {
    "policy": ("@", {"version": "1"}),
    "included": ("@", {}),
    "defaults": ("default: { @ }", {}),
    "staged-verdict": ("default: { inbound: { @ } }", {"action": "drop"}),
    "failsafe-entry": ("failsafe: [ { @ } ]", {"name": "dhcp"}),
    "staged-drop": ("on_error: { @ }", {"action": "drop"}),
    "interface-options": ("interfaces: { eth0: { @ } }", {}),
    "set": ("sets: { one: { @ } }", {}),
    "address-file": ("sets: { one: { addresses: { @ } } }", {}),
    "limit": ("limits: [ { @ } ]", {"name": "one", "per": "source", "count": "packets", "rate": "1/s"}),
    "rule-limit": ("rules: [ { action: allow, ports: 7, limit: { @ } } ]", {"rate": "1/s"}),
    "rule": ("rules: [ { @ } ]", {"action": "allow", "ports": "7"}),
    "conditions": ("rules: [ { @ } ]", {"action": "drop"}),
    "group": ("rules: [ { @ } ]", {"group": "one", "when": "{ direction: inbound }", "rules": f"[ {RULE} ]"}),
    "otherwise": (f"rules: [ {{ group: one, rules: [ {RULE} ], otherwise: {{ @ }} }} ]", {"action": "allow"}),
}
BESIDE = {
    "failsafe-entry.name": {"ports": "22"}, "limit.ban": {"action": "ban"},
    "rule-limit.v4": {"per": "prefix"}, "rule-limit.v6": {"per": "prefix"},
    "limit.v4": {"per": "prefix"}, "limit.v6": {"per": "prefix"}, "rule.ban": {"action": "ban"},
    "otherwise.ban": {"action": "ban"},
}


def key_policy(section, key, example):
    """A policy around one entry of a section."""
    place, beside = SECTIONS.get(section, (f"{section}: {{ @ }}", {}))
    others = {k: v for k, v in {**beside, **BESIDE.get(f"{section}.{key}", {})}.items() if k != key}
    if place == "@":
        return "".join(f"{k}: {v}\n" for k, v in others.items()) + example + "\n"
    return f"version: 1\n{place}\n".replace("@", ", ".join([*(f"{k}: {v}" for k, v in others.items()), example]))


def test_keys():
    """Every key of the reference is shown with an example, and weir takes each in its place."""
    found = 0
    with tempfile.TemporaryDirectory() as d:
        for folder in ("policy.d", "lists"):
            os.mkdir(f"{d}/{folder}")
        with open(f"{d}/lists/ips.txt", "w") as f:
            f.write("192.0.2.1\n")
        for section in open(f"{ROOT}/docs/policy.md").read().split("\n### ")[1:]:
            name = section.split("\n", 1)[0]
            for key, example in re.findall(r"^\| `(\w+)`.* \| `(.*)` \|$", section, re.M):
                text = key_policy(name, key, example)
                part, whole = (text, "version: 1\ninclude: policy.d/part.yaml\n") if name == "included" else ("", text)
                sets = sorted(set(re.findall(r"\$([\w-]+)", text)))
                if sets:
                    whole += "sets:\n" + "".join(f"  {x}: {{ addresses: 192.0.2.0/28 }}\n" for x in sets)
                for path, body in (("policy.d/part.yaml", part or "version: 1\n"), ("policy.yaml", whole)):
                    with open(f"{d}/{path}", "w") as f:
                        f.write(body)
                p = weir("check", f"{d}/policy.yaml")
                equal(p.returncode, 0, f"{name}: {key}: {p.stdout}{p.stderr}\n{whole}{part}")
                found += 1
    must(found > 80, f"the reference has {found} keys")


def test_profiles():
    """The policies that weir itself writes pass too."""
    with tempfile.TemporaryDirectory() as d:
        for profile in ("laptop", "server", "router", "containers", "agent"):
            p = weir("init", "--profile", profile)
            if not equal(p.returncode, 0, f"init --profile {profile}: {p.stderr}"):
                continue
            with open(f"{d}/{profile}.yaml", "w") as f:
                f.write(p.stdout)
            for command in ("check", "lint"):
                q = weir(command, f"{d}/{profile}.yaml")
                equal(q.returncode, 0, f"{profile}: {command}: {q.stdout}{q.stderr}")


def test_commands():
    """`$ weir ...` and `sudo weir ...` lines: the command exists and knows the options that it is shown with."""
    lines = []
    for place, words, text in blocks({"console", "sh", "shell", "bash"}):
        if "skip" in words:
            continue
        for line in text.replace("\\\n", " ").splitlines():
            m = re.match(r"(?:[$#] )?(?:sudo )?(?:build/)?weir( .*)?$", line.strip())
            if m:
                lines.append((place, (m.group(1) or "").strip()))
    must(lines, "the docs show no command")
    for place, line in lines:
        words = shlex.split(line, comments=True)  # a '>' inside quotes is part of a packet, not of the shell
        words = words[:next((i for i, w in enumerate(words) if w in ("|", ">", ">>", "<", "&&", "||", ";", "&")), None)]
        name = [w for w in words[:2] if not w.startswith("-")]
        if not name:
            continue
        p = weir(*name, "--help")
        if p.returncode and len(name) == 2:
            p = weir(name[0], "--help")
        if not equal(p.returncode, 0, f"{place}: weir {line}: no such command: {p.stderr}"):
            continue
        known = p.stdout + weir("--help").stdout
        for word in words:
            if word.startswith("--") and word != "--":
                option = word.split("=")[0]
                check(option in known, f"{place}: weir {line}: the help does not know {option}")


def test_help():
    """Every command shows how it is typed, and explains each option of its usage line."""
    table = [c for c in json.loads(weir("__commands").stdout) if not c["hidden"]]
    must(table, "no commands")
    for c in table:
        check(any(re.match(rf"  (.*\W)?weir {c['name']}\b", line) for line in c["help"].splitlines())
              or c["name"] == "status show", f"weir {c['name']} --help has no example:\n{c['help']}")
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", c["args"]):
            check(option in c["help"], f"weir {c['name']} --help does not explain {option}")


if __name__ == "__main__":
    main(globals())
