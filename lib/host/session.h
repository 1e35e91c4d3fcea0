/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of the search for a session. Private to lib/host. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Parent and controlling terminal (0: none) from a /proc/PID/stat text. -EBADMSG: it is none. */
int weir_session_stat_parse(const char *stat, uint32_t *ret_parent, uint32_t *ret_tty);
uint32_t weir_session_tty(uint32_t n); /* the number that stat has for /dev/pts/n */
bool weir_session_is_sshd(const char *comm);
bool weir_session_is_server(const char *comm); /* of terminals, which others attach to */
