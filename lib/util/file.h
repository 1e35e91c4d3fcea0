/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a whole small file that somebody else may have prepared: regular files only (a symbolic link to
 * one will do), never waiting, never more than `max` bytes, also when it grows meanwhile.
 */
#pragma once
#include <stddef.h>

/*
 * *ret is malloced, with a NUL behind its *ret_len bytes. -EISDIR, -ENODEV (a device, FIFO or socket),
 * -EFBIG (more than max), or what open and read said.
 */
int weir_file_read(const char *path, size_t max, char **ret, size_t *ret_len);
/* The same of an open file, from where it stands; the fd stays the caller's. */
int weir_fd_read(int fd, size_t max, char **ret, size_t *ret_len);
