/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversations older than weir: those of local sockets, and those that pass through as connection tracking
 * knows them. A translated one has two faces, and both are told: packets meet the hooks before translation
 * on one side and behind it on the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/host/conntrack.h"
#include "lib/host/host.h"
#include "lib/util/cleanup.h"

static bool sock_is_live(const struct weir_sock *s)
{
	if (s->proto != WEIR_IPPROTO_TCP)
		return s->state == WEIR_SOCK_ESTABLISHED;
	return s->state == WEIR_SOCK_ESTABLISHED || s->state == WEIR_SOCK_FIN_WAIT1 || s->state == WEIR_SOCK_FIN_WAIT2 ||
	       s->state == WEIR_SOCK_CLOSE_WAIT || s->state == WEIR_SOCK_LAST_ACK || s->state == WEIR_SOCK_CLOSING;
}

/*
 * Direction of the two faces. Who really speaks decides: the source before translation, the destination
 * behind it. A published port is inbound where the host was asked and forwarded behind it.
 */
static size_t ct_seeds(const struct weir_ct *c, const uint8_t (*addrs)[16], size_t n, struct weir_seed out[2])
{
	bool nat = memcmp(&c->orig, &c->reply, sizeof c->orig);

	out[0].t = c->orig;
	out[1].t = c->reply;
	if (weir_addrs_have(addrs, n, c->orig.src)) {
		out[0].dir = out[1].dir = WEIR_DIR_OUT;
	} else if (weir_addrs_have(addrs, n, c->reply.dst)) {
		out[0].dir = out[1].dir = WEIR_DIR_IN;
	} else {
		out[0].dir = weir_addrs_have(addrs, n, c->orig.dst) ? WEIR_DIR_IN : WEIR_DIR_FWD;
		out[1].dir = WEIR_DIR_FWD;
	}
	return nat ? 2 : 1;
}

/* The same conversation twice (socket and connection tracking) is one seed. */
static int seed_cmp(const void *a, const void *b)
{
	const struct weir_seed *x = a, *y = b;

	return memcmp(&x->t, &y->t, sizeof x->t);
}

static size_t seeds_unique(struct weir_seed *v, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++)
		if (!out || seed_cmp(&v[out - 1], &v[i]))
			v[out++] = v[i];
	return out;
}

int weir_seeds_read(struct weir_seed **ret, size_t *ret_n, char *why, size_t why_size)
{
	_cleanup_free_ struct weir_sock *socks = NULL;
	_cleanup_free_ struct weir_ct *ct = NULL;
	_cleanup_free_ uint8_t(*addrs)[16] = NULL;
	_cleanup_free_ struct weir_seed *v = NULL;
	size_t n_socks = 0, n_ct = 0, n_addrs = 0, n = 0;
	int e;

	e = weir_socks_read(&socks, &n_socks, NULL);
	if (e >= 0)
		e = weir_ct_read(&ct, &n_ct, why, why_size);
	if (e >= 0)
		e = weir_addrs_read(&addrs, &n_addrs);
	if (e < 0)
		return e;
	v = calloc(n_socks + 2 * n_ct + 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < n_socks; i++)
		if (sock_is_live(&socks[i]) && weir_sock_tuple(&socks[i], &v[n].t, &v[n].dir))
			n++;
	for (size_t i = 0; i < n_ct; i++)
		if (ct[i].seen_reply)
			n += ct_seeds(&ct[i], (const uint8_t(*)[16])addrs, n_addrs, &v[n]);
	qsort(v, n, sizeof *v, seed_cmp);
	*ret_n = seeds_unique(v, n);
	*ret = TAKE_PTR(v);
	return 0;
}
