/* SPDX-License-Identifier: Apache-2.0 */
/* SHA256Update() of libmd, several times as fast where the processor has instructions for it. */
#pragma once
#include <sha256.h>

void weir_sha256_update(SHA2_CTX *sha, const void *data, size_t len);
