#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tools/fmt.sh [--all]: formats the C files that differ from the last commit, or all of them.
set -eu
cd "$(dirname "$0")/.."
command -v clang-format >/dev/null || { echo "clang-format is missing: apt-get install clang-format" >&2; exit 1; }
if [ "${1:-}" = --all ]; then
	git ls-files -z '*.c' '*.h'
else
	git diff -z --name-only --diff-filter=d HEAD -- '*.c' '*.h'
	git ls-files -z --others --exclude-standard -- '*.c' '*.h'
fi | xargs -0 -r clang-format -i
