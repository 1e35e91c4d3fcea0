#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tools/lint.sh BUILD: what reads the source and does not run it. Needs the packages of `tools/deps.sh list lint`.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
tools/deps.sh check lint
status=0
# POSIX sh and bash alike; data and node_modules are not ours
scripts=$(git ls-files '*.sh' .ci/run)
# shellcheck disable=SC2086 # a list of files without spaces
shellcheck -S warning $scripts || status=1
meson test -C "$build" --no-rebuild --print-errorlogs --suite check || status=1
# The compile commands of gcc name flags that clang does not know.
files=$(git ls-files 'lib/*.c' 'daemon/*.c' 'cli/*.c' | grep -v '/test_' || true)
for f in $files; do
	clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-ignored-optimization-argument \
		"$f" 2>/dev/null || status=1
done
exit $status
