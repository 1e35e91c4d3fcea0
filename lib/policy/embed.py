#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# embed.py OUT NAME=FILE ...: each file as a C string, so that texts stay files that people and tests can read.
import sys

with open(sys.argv[1], "w") as out:
    out.write("/* Made by embed.py. */\n")
    for item in sys.argv[2:]:
        name, path = item.split("=", 1)
        data = open(path, "rb").read()
        body = "".join(
            chr(c) if 32 <= c < 127 and c not in b'"\\?' else "\\%03o" % c if c != 10 else '\\n"\n"' for c in data
        )
        out.write('extern const char %s[];\nconst char %s[] = "%s";\n' % (name, name, body))
