/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership that a reader can check in one function: a local that owns says so at its declaration and is
 * freed at the end of its scope; what escapes is taken with TAKE_PTR or TAKE_FD.
 */
#pragma once
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void weir_freep(void *p)
{
	free(*(void **)p);
}

static inline void weir_closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void weir_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void weir_closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(weir_freep)
#define _cleanup_close_ _cleanup_(weir_closep)
#define _cleanup_fclose_ _cleanup_(weir_fclosep)
#define _cleanup_closedir_ _cleanup_(weir_closedirp)

#define TAKE_PTR(p)                        \
	({                                 \
		__typeof__(p) take_p_ = (p); \
		(p) = NULL;                \
		take_p_;                   \
	})

#define TAKE_FD(fd)               \
	({                        \
		int take_fd_ = (fd); \
		(fd) = -1;        \
		take_fd_;         \
	})
