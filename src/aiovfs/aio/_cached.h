/* Path operations that answer from memory or not at all: openat2(2) with RESOLVE_CACHED, statx(2) with
   AT_STATX_DONT_SYNC. Nothing here waits for a disk or asks a server. */

#ifndef AIOVFS_CACHED_H
#define AIOVFS_CACHED_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aiovfs/aio/_statx.h"

#ifndef __NR_openat2
#define __NR_openat2 437
#endif
#ifndef O_PATH
#define O_PATH 010000000
#endif

#define CACHED_RESOLVE 0x20
#define CACHED_DONT_SYNC 0x4000
#define CACHED_EMPTY_PATH 0x1000
#define CACHED_MASK 0xFFF

struct cached_how {
    uint64_t flags, mode, resolve;
};

/* A descriptor, or -errno; -EAGAIN when the lookup would have to wait. */
static inline int cached_open(int directory, const char *path, uint64_t flags)
{
    struct cached_how how = {flags | O_CLOEXEC, 0, CACHED_RESOLVE};
    int fd = (int)syscall(__NR_openat2, directory, path, &how, sizeof how);
    return fd < 0 ? -errno : fd;
}

/* The attributes that the kernel has of an open descriptor; 0 or -errno. */
static inline int cached_fstat(int fd, struct statx_result *result)
{
    return syscall(SYS_statx, fd, "", CACHED_EMPTY_PATH | CACHED_DONT_SYNC, CACHED_MASK, result) < 0 ? -errno : 0;
}

static inline uint64_t cached_device(const struct statx_result *result)
{
    return (uint64_t)result->stx_dev_major << 32 | result->stx_dev_minor;
}

/* Has the table of mounts changed since this was last asked? `fd` is open on /proc/self/mountinfo. */
static inline int cached_mounts_changed(int fd)
{
    struct pollfd entry = {fd, POLLPRI, 0};
    return poll(&entry, 1, 0) != 0;
}

#endif
