/* SPDX-License-Identifier: Apache-2.0 */
/* One epoll loop. Sources are removed safely from inside any callback, also their own. */
#pragma once
#include <stdint.h>

struct weir_loop;
struct weir_source;

typedef void (*weir_loop_cb)(uint32_t events, void *data); /* EPOLLIN, EPOLLOUT, ... */

int weir_loop_new(struct weir_loop **ret);
void weir_loop_free(struct weir_loop *l);
/* The fd stays the caller's and must outlive its source. */
int weir_loop_add(struct weir_loop *l, int fd, uint32_t events, weir_loop_cb cb, void *data, struct weir_source **ret);
int weir_loop_change(struct weir_source *s, uint32_t events);
void weir_loop_del(struct weir_source *s); /* takes NULL */
/* Until weir_loop_stop. 0 or negative errno. */
int weir_loop_run(struct weir_loop *l);
void weir_loop_stop(struct weir_loop *l);
/* One round; waits at most `ms` (-1: for ever). For tests. */
int weir_loop_once(struct weir_loop *l, int ms);
