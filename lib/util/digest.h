/* SPDX-License-Identifier: Apache-2.0 */
/* SHA256Update() of libmd, several times as fast where the processor has instructions for it. */
#pragma once
#include <sha256.h>

void weir_sha256_update(SHA2_CTX *sha, const void *data, size_t len);

/* SHA-256 of a blob that holds its own digest: the 32 bytes at `at` count as zero. */
void weir_blob_digest(const void *data, size_t size, size_t at, uint8_t ret[32]);
