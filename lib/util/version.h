/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Of this build, as `weir --version` says it. */
const char *weir_version(void);
