/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a whole small file that somebody else may have prepared: regular files only (a symbolic link to
 * one will do), never waiting, never more than `max` bytes, also when it grows meanwhile.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * *ret is malloced, with a NUL behind its *ret_len bytes. -EISDIR, -ENODEV (a device, FIFO or socket),
 * -EFBIG (more than max), or what open and read said.
 */
int weir_file_read(const char *path, size_t max, char **ret, size_t *ret_len);
/* The same of an open file, from where it stands; the fd stays the caller's. */
int weir_fd_read(int fd, size_t max, char **ret, size_t *ret_len);

/* A number for which file it is, its size and when it was written; never 0. */
uint64_t weir_fd_mark(int fd);

/* Open a file as weir_file_read does; an fd or negative errno. What it is has to be looked at still. */
int weir_file_open(const char *path);
/* False only where it can be said that there is none. */
bool weir_file_exists(const char *path);
/* The files that a pattern with * ? [] names, sorted. -ENOENT: none; else a folder could not be read. */
int weir_file_list(const char *pattern, char ***ret, size_t *ret_n);
void weir_file_list_free(char **v, size_t n);

/*
 * Where this process may not open files itself: somebody who does it. Holds for all of the above, in the whole process,
 * but not for weir_fd_read. NULL: directly. What is pointed to is copied.
 */
struct weir_file_source {
	int (*open)(const char *path, void *data);
	int (*list)(const char *pattern, char ***ret, size_t *ret_n, void *data);
	void *data;
};
void weir_file_ask(const struct weir_file_source *s);
bool weir_file_asks(void); /* so -EACCES says that it is not for us, not that we are the wrong user */
