#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# pure.sh CLANG ROOT: core/ compiles where there is nothing: for wasm32, freestanding, without any libc header.
# Each header also stands alone, with the image accessors in front of it that its user must bring.
set -eu
clang=$1
cd "$2"
flags='--target=wasm32 -ffreestanding -nostdlibinc -std=gnu11 -O2 -Wall -Wextra -Wconversion -Wno-unused-function
-Wno-sign-conversion -Wno-unused-parameter -Werror -I. -c -o /dev/null -x c -'

printf 'int main;\n' | $clang --target=wasm32 -c -o /dev/null -x c - 2>/dev/null ||
	{ echo "skipped: $clang has no wasm32 target"; exit 77; }

headers=$(find core -name '*.h' ! -name 'test_*' | LC_ALL=C sort)
sources=$(find core -name '*.c' ! -name 'test_*' | LC_ALL=C sort)
status=0
compile() {
	# shellcheck disable=SC2086 # words on purpose
	$clang $flags || { echo "failed: $1"; status=1; }
}
for h in $headers; do
	printf '#include "core/image_blob.h"\n#include "%s"\n' "$h" | compile "$h alone"
done
for f in $headers $sources; do
	case $f in *image_blob.h) continue ;; esac
	printf '#include "%s"\n' "$f"
done | { echo '#include "core/image_blob.h"'; cat; } | compile "all of core together"
echo "$(echo "$headers" "$sources" | wc -w) files"
exit $status
