/* One request, in the words of io_uring: the submission entry (`struct io_uring_sqe`) and the completion entry.
 *
 * Every native engine takes the same 64 bytes. A ring hands them to the kernel; the pool has `request_execute` below do
 * what they say with ordinary system calls; kernel AIO takes reads, writes and fsync out of them. So whoever fills in a
 * request need not know which engine it goes to.
 *
 * The structs are spelled out here because the kernel headers of the build machine may be older than the kernel.
 * Source: io_uring_enter(2); linux/io_uring.h.
 */
#ifndef AIOVFS_REQUEST_H
#define AIOVFS_REQUEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

typedef struct request {
    uint8_t opcode;
    uint8_t flags;
    uint16_t ioprio;
    int32_t fd;
    uint64_t off;
    uint64_t addr;
    uint32_t len;
    uint32_t op_flags;
    uint64_t user_data;
    uint16_t buf_index;
    uint16_t personality;
    int32_t file_index;
    uint64_t addr3;
    uint64_t pad;
} request;

typedef struct completion {
    uint64_t user_data;
    int32_t result; /* what the system call gave, or -errno */
    uint32_t flags;
} completion;

_Static_assert(sizeof(request) == 64, "a submission entry has 64 bytes");
_Static_assert(sizeof(completion) == 16, "a completion entry has 16 bytes");

enum {
    REQUEST_NOP = 0,
    REQUEST_READV = 1,
    REQUEST_WRITEV = 2,
    REQUEST_FSYNC = 3,
    REQUEST_ASYNC_CANCEL = 14,
    REQUEST_FALLOCATE = 17,
    REQUEST_OPENAT = 18,
    REQUEST_CLOSE = 19,
    REQUEST_STATX = 21,
    REQUEST_READ = 22,
    REQUEST_WRITE = 23,
    REQUEST_FADVISE = 24,
    REQUEST_MADVISE = 25,
    REQUEST_OPENAT2 = 28,
    REQUEST_RENAMEAT = 35,
    REQUEST_UNLINKAT = 36,
    REQUEST_MKDIRAT = 37,
    REQUEST_SYMLINKAT = 38,
    REQUEST_LINKAT = 39,
    REQUEST_FSETXATTR = 41,
    REQUEST_SETXATTR = 42,
    REQUEST_FGETXATTR = 43,
    REQUEST_GETXATTR = 44,
    REQUEST_FTRUNCATE = 55,

    REQUEST_DATASYNC = 1,          /* IORING_FSYNC_DATASYNC */
};

/* Whether this reads or writes a descriptor, so that it may wait for another process (a pipe, a socket, a terminal). */
static inline int request_is_transfer(const request *r)
{
    return r->opcode == REQUEST_READ || r->opcode == REQUEST_WRITE || r->opcode == REQUEST_READV ||
           r->opcode == REQUEST_WRITEV;
}

static inline int request_is_write(const request *r)
{
    return r->opcode == REQUEST_WRITE || r->opcode == REQUEST_WRITEV;
}

/* A read or write at its offset; -1 and errno ESPIPE on what has no positions. */
static inline int64_t request_transfer(const request *r, int with_offset)
{
    struct iovec one = {(void *)(uintptr_t)r->addr, r->len}, *parts = &one;
    int count = 1;
    int64_t offset = with_offset ? (int64_t)r->off : -1, done;
    if (r->opcode == REQUEST_READV || r->opcode == REQUEST_WRITEV) {
        parts = (struct iovec *)(uintptr_t)r->addr;
        count = (int)r->len;
    }
    do {
        done = request_is_write(r) ? pwritev2(r->fd, parts, count, offset, (int)r->op_flags)
                                   : preadv2(r->fd, parts, count, offset, (int)r->op_flags);
    } while (done < 0 && errno == EINTR);
    return done;
}

/* Do what the request says, in this thread; returns what the system call gave, or -errno. */
static inline int32_t request_execute(const request *r)
{
    void *addr = (void *)(uintptr_t)r->addr, *off = (void *)(uintptr_t)r->off;
    const char *path = addr;
    int64_t done;
    switch (r->opcode) {
    case REQUEST_NOP:
        return 0;
    case REQUEST_READ:
    case REQUEST_READV:
    case REQUEST_WRITE:
    case REQUEST_WRITEV:
        done = request_transfer(r, 1);
        if (done < 0 && errno == ESPIPE) /* a ring ignores the offset on pipes and sockets too */
            done = request_transfer(r, 0);
        break;
    case REQUEST_FSYNC:
        if (r->len)
            done = sync_file_range(r->fd, (off_t)r->off, r->len,
                                   SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        else
            done = r->op_flags & REQUEST_DATASYNC ? fdatasync(r->fd) : fsync(r->fd);
        break;
    case REQUEST_FALLOCATE:
        done = fallocate(r->fd, (int)r->len, (off_t)r->off, (off_t)r->addr);
        break;
    case REQUEST_OPENAT:
        done = openat(r->fd, path, (int)r->op_flags, (mode_t)r->len);
        break;
    case REQUEST_CLOSE:
        done = close(r->fd);
        break;
    case REQUEST_STATX:
        done = statx(r->fd, path ? path : "", (int)r->op_flags, r->len, off);
        break;
    case REQUEST_FADVISE:
        done = posix_fadvise(r->fd, (off_t)r->off, r->addr ? (off_t)r->addr : r->len, (int)r->op_flags);
        return (int32_t)-done; /* this one returns the error instead of setting errno */
    case REQUEST_RENAMEAT:
        done = syscall(SYS_renameat2, r->fd, path, (int)r->len, off, r->op_flags);
        break;
    case REQUEST_UNLINKAT:
        done = unlinkat(r->fd, path, (int)r->op_flags);
        break;
    case REQUEST_MKDIRAT:
        done = mkdirat(r->fd, path, (mode_t)r->len);
        break;
    case REQUEST_SYMLINKAT:
        done = symlinkat(path, r->fd, off);
        break;
    case REQUEST_LINKAT:
        done = linkat(r->fd, path, (int)r->len, off, (int)r->op_flags);
        break;
    case REQUEST_FSETXATTR:
        done = fsetxattr(r->fd, path, off, r->len, (int)r->op_flags);
        break;
    case REQUEST_SETXATTR:
        done = setxattr((const char *)(uintptr_t)r->addr3, path, off, r->len, (int)r->op_flags);
        break;
    case REQUEST_FGETXATTR:
        done = fgetxattr(r->fd, path, off, r->len);
        break;
    case REQUEST_GETXATTR:
        done = getxattr((const char *)(uintptr_t)r->addr3, path, off, r->len);
        break;
    case REQUEST_FTRUNCATE:
        done = ftruncate(r->fd, (off_t)r->off);
        break;
#ifdef SYS_openat2
    case REQUEST_OPENAT2:
        done = syscall(SYS_openat2, r->fd, path, off, (size_t)r->len);
        break;
#endif
    default:
        return -EINVAL; /* what a ring says to an opcode it does not know */
    }
    return done < 0 ? -errno : (int32_t)done;
}

#endif
