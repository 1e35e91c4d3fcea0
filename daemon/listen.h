/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A control socket of this name, 0600 from its first moment. It replaces one that a dead daemon left: the caller holds
 * the lock of the directory. An fd (not blocking) or negative errno.
 */
int weir_listen(const char *path);
