/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

/* Tell the service manager that started us, if one did: "READY=1". sd_notify(3) without its library. */
void weir_notify(const char *state);
/* A call of the kernel begins, or ends, that may take long on a busy machine: the watchdog has more patience for it. */
void weir_notify_busy(bool busy);
