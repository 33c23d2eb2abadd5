/* Kernel AIO: io_setup(2), io_submit(2), io_getevents(2), with completions on an eventfd.
 *
 * Asynchronous for files opened with O_DIRECT only: a buffered read is done inside io_submit(2), by the thread that calls
 * it. So the engine gives it O_DIRECT requests and nothing else; `compat.caio`'s low-level contexts give it whatever they are
 * told, without the GIL. What it has over io_uring is that container runtimes allow it.
 *
 * - Contexts are kept in a small store when they are let go: io_destroy(2) waits for an RCU grace period (30-60 ms), and the
 *   number of requests of all contexts of a machine is bounded (/proc/sys/fs/aio-max-nr).
 * - A context belongs to the address space: a forked child has none of them, and calls there get EINVAL.
 * - Completions are read from the ring that io_setup(2) maps, without a system call, as libaio does. AIO_RING_MAGIC says
 *   whether the layout is the one we know.
 */
#ifndef AIOVFS_KERNEL_AIO_H
#define AIOVFS_KERNEL_AIO_H

#include "request.h"

#include <linux/aio_abi.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#define KERNEL_AIO_KEPT 8
#define KERNEL_AIO_MAGIC 0xa10a10a1
#define KERNEL_AIO_BATCH 128

typedef struct kernel_aio_ring { /* struct aio_ring of fs/aio.c */
    unsigned id, count;
    _Atomic unsigned head, tail;
    unsigned magic, compatible, incompatible, header_length;
    struct io_event events[];
} kernel_aio_ring;

typedef struct kernel_aio {
    aio_context_t context;
    unsigned capacity;
    unsigned in_flight; /* accepted by the kernel and not yet reaped */
    int eventfd, owns_eventfd;
    pid_t pid;
} kernel_aio;

static struct {
    aio_context_t context;
    unsigned capacity;
    pid_t pid;
} kernel_aio_kept[KERNEL_AIO_KEPT];
static atomic_flag kernel_aio_keeping = ATOMIC_FLAG_INIT;

static inline void kernel_aio_lock(void)
{
    while (atomic_flag_test_and_set_explicit(&kernel_aio_keeping, memory_order_acquire))
        ;
}

static inline void kernel_aio_unlock(void)
{
    atomic_flag_clear_explicit(&kernel_aio_keeping, memory_order_release);
}

/* 0, or -errno: -EAGAIN when the machine's aio-max-nr is used up, -ENOSYS where the kernel has no AIO. Completions are told
 * to `notify`, an eventfd of the caller's, or to one that is made when that is -1. */
static inline int kernel_aio_open(kernel_aio *k, unsigned capacity, int notify)
{
    memset(k, 0, sizeof *k);
    k->pid = getpid();
    k->capacity = capacity;
    k->eventfd = notify;
    if (notify < 0) {
        k->owns_eventfd = 1;
        k->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (k->eventfd < 0)
            return -errno;
    }
    kernel_aio_lock();
    for (int i = 0; i < KERNEL_AIO_KEPT; i++)
        if (kernel_aio_kept[i].context && kernel_aio_kept[i].pid == k->pid && kernel_aio_kept[i].capacity == capacity) {
            k->context = kernel_aio_kept[i].context;
            kernel_aio_kept[i].context = 0;
            break;
        }
    kernel_aio_unlock();
    if (!k->context && syscall(SYS_io_setup, capacity, &k->context) < 0) {
        int error = errno;
        if (k->owns_eventfd)
            close(k->eventfd);
        k->eventfd = -1;
        return -error;
    }
    return 0;
}

/* Let go. With requests in flight this waits for them (io_destroy does); otherwise the context is kept for the next one. */
static inline void kernel_aio_close(kernel_aio *k)
{
    if (k->context && k->pid == getpid()) {
        int is_kept = 0;
        kernel_aio_lock();
        for (int i = 0; i < KERNEL_AIO_KEPT && !k->in_flight && !is_kept; i++)
            if (!kernel_aio_kept[i].context || kernel_aio_kept[i].pid != k->pid) {
                kernel_aio_kept[i].context = k->context;
                kernel_aio_kept[i].capacity = k->capacity;
                kernel_aio_kept[i].pid = k->pid;
                is_kept = 1;
            }
        kernel_aio_unlock();
        if (!is_kept)
            syscall(SYS_io_destroy, k->context);
    }
    k->context = 0;
    if (k->eventfd >= 0 && k->owns_eventfd)
        close(k->eventfd);
    k->eventfd = -1;
}

/* The request as an iocb; -EINVAL when kernel AIO has no such thing. */
static inline int kernel_aio_translate(const kernel_aio *k, const request *r, struct iocb *iocb)
{
    memset(iocb, 0, sizeof *iocb);
    switch (r->opcode) {
    case REQUEST_READ:
        iocb->aio_lio_opcode = IOCB_CMD_PREAD;
        break;
    case REQUEST_WRITE:
        iocb->aio_lio_opcode = IOCB_CMD_PWRITE;
        break;
    case REQUEST_READV:
        iocb->aio_lio_opcode = IOCB_CMD_PREADV;
        break;
    case REQUEST_WRITEV:
        iocb->aio_lio_opcode = IOCB_CMD_PWRITEV;
        break;
    case REQUEST_FSYNC:
        iocb->aio_lio_opcode = r->op_flags & REQUEST_DATASYNC ? IOCB_CMD_FDSYNC : IOCB_CMD_FSYNC;
        break;
    default:
        return -EINVAL;
    }
    if (r->opcode != REQUEST_FSYNC) {
        iocb->aio_buf = r->addr;
        iocb->aio_nbytes = r->len;
        iocb->aio_offset = (int64_t)r->off;
        iocb->aio_rw_flags = (int)r->op_flags;
    }
    iocb->aio_fildes = (uint32_t)r->fd;
    iocb->aio_data = r->user_data;
    iocb->aio_flags = IOCB_FLAG_RESFD;
    iocb->aio_resfd = (uint32_t)k->eventfd;
    return 0;
}

/* Hand over up to KERNEL_AIO_BATCH requests, in order. Returns how many the kernel took; less than `count` when the next
 * one was refused; -errno when the first one was (-EAGAIN: the context is full). May block; wants no GIL. */
static inline int kernel_aio_submit(kernel_aio *k, const request *const *requests, int count)
{
    struct iocb iocbs[KERNEL_AIO_BATCH], *pointers[KERNEL_AIO_BATCH];
    int usable = 0, error = 0;
    long taken;
    if (count > KERNEL_AIO_BATCH)
        count = KERNEL_AIO_BATCH;
    for (; usable < count; usable++) {
        if ((error = kernel_aio_translate(k, requests[usable], &iocbs[usable])))
            break;
        pointers[usable] = &iocbs[usable];
    }
    if (!usable)
        return error;
    do {
        taken = syscall(SYS_io_submit, k->context, (long)usable, pointers);
    } while (taken < 0 && errno == EINTR);
    return taken < 0 ? -errno : (int)taken;
}

static inline int kernel_aio_take(kernel_aio *k, completion *out, const struct io_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        out[i].user_data = events[i].data;
        out[i].result = (int32_t)events[i].res;
        out[i].flags = 0;
    }
    (void)k;
    return count;
}

/* Take up to `limit` completions. With `minimum` > 0 wait for so many, at most `seconds` (for ever when negative).
 * Returns how many, or -errno. Counting `in_flight` down is the caller's, who knows which thread may. */
static inline int kernel_aio_reap(kernel_aio *k, completion *out, int limit, int minimum, double seconds)
{
    struct io_event events[KERNEL_AIO_BATCH];
    struct timespec timeout = {0, 0};
    kernel_aio_ring *ring = (kernel_aio_ring *)(uintptr_t)k->context;
    long got;
    if (limit > KERNEL_AIO_BATCH)
        limit = KERNEL_AIO_BATCH;
    if (minimum > limit)
        minimum = limit;
    if (minimum <= 0 && ring->magic == KERNEL_AIO_MAGIC &&
        atomic_load_explicit(&ring->head, memory_order_relaxed) == atomic_load_explicit(&ring->tail, memory_order_acquire))
        return 0;
    if (seconds > 0) {
        timeout.tv_sec = (time_t)seconds;
        timeout.tv_nsec = (long)((seconds - (double)timeout.tv_sec) * 1e9);
    }
    got = syscall(SYS_io_getevents, k->context, (long)minimum, (long)limit, events, seconds < 0 ? NULL : &timeout);
    if (got < 0)
        return -errno;
    return kernel_aio_take(k, out, events, (int)got);
}

#endif
