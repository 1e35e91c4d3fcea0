/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tell the service manager that started us, if one did: "READY=1". sd_notify(3) without its library. */
void weir_notify(const char *state);
