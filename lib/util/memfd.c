/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/util/cleanup.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int weir_memfd_new(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd < 0 ? -errno : fd;
}

int weir_memfd_seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, SEALS) ? -errno : 0;
}

int weir_memfd_of(const char *name, const void *data, size_t size)
{
	_cleanup_close_ int fd = weir_memfd_new(name);
	const char *p = data;
	int r;

	if (fd < 0)
		return fd;
	while (size) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		size -= (size_t)n;
	}
	r = weir_memfd_seal(fd);
	return r ? r : TAKE_FD(fd);
}

int weir_memfd_map(int fd, size_t max, struct weir_memmap *ret)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *p;

	if (seals < 0)
		return -errno;
	if ((seals & SEALS) != SEALS)
		return -EPERM;
	if (fstat(fd, &st))
		return -errno;
	if (st.st_size < 0 || (unsigned long long)st.st_size > max)
		return -EFBIG;
	if (!st.st_size) {
		*ret = (struct weir_memmap){ NULL, 0 };
		return 0;
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = (struct weir_memmap){ p, (size_t)st.st_size };
	return 0;
}

void weir_memfd_unmap(struct weir_memmap *m)
{
	if (m->data)
		munmap((void *)m->data, m->size);
	*m = (struct weir_memmap){ NULL, 0 };
}
