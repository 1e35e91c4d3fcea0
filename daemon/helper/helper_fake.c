/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/helper/helper_fake.h"

int weir_helper_new_local(struct weir_helper **ret)
{
	*ret = calloc(1, sizeof **ret);
	return *ret ? 0 : -ENOMEM;
}

int weir_helper_new_fd(int fd, struct weir_helper **ret)
{
	close(fd);
	return weir_helper_new_local(ret);
}

void weir_helper_free(struct weir_helper *h)
{
	free(h);
}

void weir_helper_renew(struct weir_helper *h, int fd)
{
	close(fd);
}

void weir_helper_use(struct weir_helper *h, struct weir_owners *owners)
{
}

int weir_helper_sandbox(struct weir_helper *h, struct weir_sandbox *ret)
{
	return -ENOSYS;
}

int weir_helper_firewalls(struct weir_helper *h, struct weir_firewall ret[WEIR_FIREWALLS_MAX], size_t *ret_n)
{
	*ret_n = 0;
	return 0;
}

int weir_helper_open(struct weir_helper *h, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int weir_helper_sshd(struct weir_helper *h, struct weir_sshd *ret)
{
	struct weir_sshd s = { 0 };

	if (h->ssh_port) {
		s.ports = malloc(sizeof *s.ports);
		s.addrs = malloc(sizeof *s.addrs);
		if (!s.ports || !s.addrs) {
			weir_sshd_free(&s);
			return -ENOMEM;
		}
		s.ports[s.n_ports++] = h->ssh_port;
		if (h->ssh_addr)
			s.addrs[s.n_addrs++] = strdup(h->ssh_addr);
	}
	*ret = s;
	return 0;
}

int weir_helper_sessions(struct weir_helper *h, pid_t pid, struct weir_session ret[WEIR_SESSIONS_MAX])
{
	if (h->n_sessions > 0)
		memcpy(ret, h->sessions, (size_t)h->n_sessions * sizeof *ret);
	return h->n_sessions;
}

int weir_helper_kill(struct weir_helper *h, struct weir_kill *v, size_t n)
{
	for (size_t i = 0; i < n && h->n_killed < WEIR_FAKE_KILLS; i++) {
		v[i].result = h->kill_result;
		h->killed[h->n_killed++] = v[i];
	}
	return 0;
}

int weir_helper_passages(struct weir_helper *h, struct weir_passage **ret, size_t *ret_n)
{
	*ret = NULL;
	*ret_n = 0;
	return 0;
}

int weir_helper_holders(struct weir_helper *h, struct weir_holder **ret, size_t *ret_n)
{
	*ret = NULL;
	*ret_n = 0;
	return 0;
}

int weir_helper_process(struct weir_helper *h, uint32_t pid, struct weir_process *ret)
{
	memset(ret, 0, sizeof *ret);
	return 0;
}
