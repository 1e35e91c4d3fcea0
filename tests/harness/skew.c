/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into the daemon: a clock that can be set without setting the machine's. WEIR_SKEW names a file whose first
 * eight bytes are the seconds to add.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *skew;

__attribute__((constructor)) static void look(void)
{
	const char *path = getenv("WEIR_SKEW");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *m = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *skew, PROT_READ, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	if (m != MAP_FAILED)
		skew = m;
}

time_t time(time_t *ret)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += skew ? (time_t)*skew : 0;
	if (ret)
		*ret = t.tv_sec;
	return t.tv_sec;
}
