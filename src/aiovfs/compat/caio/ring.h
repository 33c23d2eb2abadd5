/* The ring of a low-level context: made, filled, entered, emptied by raw system calls.
 *
 * Not the ring of the disk engine (aio/_ring.h), which belongs to one thread and never has more in flight than fits. This
 * one may be used from any thread, has an eventfd, takes whatever it is given, and may have a polling kernel thread.
 *
 * - Flags are probed downwards: what a kernel does not know it refuses with EINVAL, and the next weaker set is tried.
 * - All mappings are MADV_DONTFORK and the descriptor is close-on-exec: a forked child has no ring to write into. A child
 *   that shared it would put its own pointers into the parent's completions.
 * - `ring_push` writes an entry and does not call the kernel; `ring_enter` does. The two may be called by different
 *   threads only under a lock of the caller (the GIL); `ring_enter` itself waits without it.
 * - The completion queue is twice the submission queue. When more are in flight than fit, the kernel keeps the rest
 *   (IORING_FEAT_NODROP) and `ring_enter` with `RING_GETEVENTS` fetches them: `ring_needs_enter`.
 *
 * Source: io_uring_setup(2), io_uring_enter(2), io_uring_register(2); linux/io_uring.h.
 */
#ifndef AIOVFS_CAIO_RING_H
#define AIOVFS_CAIO_RING_H

#include "aiovfs/aio/engines/request.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

enum {
    RING_SQPOLL = 1 << 1,
    RING_CLAMP = 1 << 4,
    RING_SUBMIT_ALL = 1 << 7,
    RING_COOP_TASKRUN = 1 << 8,

    RING_FEAT_SINGLE_MMAP = 1 << 0,
    RING_FEAT_NODROP = 1 << 1,

    RING_GETEVENTS = 1 << 0, /* io_uring_enter */
    RING_SQ_WAKEUP = 1 << 1,
    RING_EXT_ARG = 1 << 3,

    RING_SQ_NEED_WAKEUP = 1 << 0, /* the word of flags in the submission queue */
    RING_SQ_CQ_OVERFLOW = 1 << 1,
    RING_SQ_TASKRUN = 1 << 2,

    RING_REGISTER_EVENTFD = 4,
};

typedef struct ring_offsets {
    uint32_t head, tail, ring_mask, ring_entries, flags_or_overflow, dropped_or_cqes, array_or_flags, resv1;
    uint64_t user_addr;
} ring_offsets;

typedef struct ring_parameters {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3];
    ring_offsets sq_off, cq_off;
} ring_parameters;

_Static_assert(sizeof(ring_parameters) == 120, "struct io_uring_params has 120 bytes");

typedef struct ring {
    int fd, eventfd;
    uint32_t flags, features;
    unsigned sq_entries, cq_entries, sq_mask, cq_mask;
    _Atomic uint32_t *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
    uint32_t *sq_array;
    request *entries;
    completion *completions;
    void *mapping, *entries_mapping;
    size_t mapping_size, entries_size;
    uint32_t submitted; /* value of sq_tail that the kernel has been told of */
    pid_t pid;
} ring;

static inline void ring_close(ring *r)
{
    if (r->mapping && r->pid == getpid()) { /* in a child they are not mapped, and something else may be there */
        munmap(r->mapping, r->mapping_size);
        if (r->entries_mapping)
            munmap(r->entries_mapping, r->entries_size);
    }
    r->mapping = r->entries_mapping = NULL;
    if (r->fd >= 0)
        close(r->fd);
    if (r->eventfd >= 0)
        close(r->eventfd);
    r->fd = r->eventfd = -1;
}

/* Make a ring of at least `size` entries with an eventfd for its completions. `poll_ms` > 0 asks for a kernel thread that
 * polls the submission queue and sleeps after so many idle milliseconds. Returns 0 or -errno (-EPERM and -ENOSYS: forbidden
 * by a filter or a setting; -ENOMEM: RLIMIT_MEMLOCK of kernels before 5.12). */
static inline int ring_open(ring *r, unsigned size, unsigned poll_ms)
{
    static const uint32_t tries[] = {RING_SUBMIT_ALL | RING_COOP_TASKRUN | RING_CLAMP, RING_SUBMIT_ALL | RING_CLAMP,
                                     RING_CLAMP, 0};
    ring_parameters p;
    int error = EINVAL;
    memset(r, 0, sizeof *r);
    r->fd = r->eventfd = -1;
    r->pid = getpid();
    for (unsigned i = 0; i < sizeof tries / sizeof *tries && r->fd < 0 && error == EINVAL; i++) {
        memset(&p, 0, sizeof p);
        p.flags = tries[i];
        if (poll_ms) {
            p.flags = (p.flags & ~(uint32_t)RING_COOP_TASKRUN) | RING_SQPOLL; /* the two exclude each other */
            p.sq_thread_idle = poll_ms;
        }
        r->fd = (int)syscall(SYS_io_uring_setup, size, &p);
        error = errno;
    }
    if (r->fd < 0)
        return -error;
    r->flags = p.flags;
    r->features = p.features;
    if (!(p.features & RING_FEAT_SINGLE_MMAP) || !(p.features & RING_FEAT_NODROP)) {
        ring_close(r);
        return -ENOSYS; /* before 5.5: completions could get lost */
    }
    r->sq_entries = p.sq_entries;
    r->cq_entries = p.cq_entries;
    r->mapping_size = p.sq_off.array_or_flags + p.sq_entries * sizeof(uint32_t);
    if (r->mapping_size < p.cq_off.dropped_or_cqes + p.cq_entries * sizeof(completion))
        r->mapping_size = p.cq_off.dropped_or_cqes + p.cq_entries * sizeof(completion);
    r->entries_size = p.sq_entries * sizeof(request);
    void *mapping = mmap(NULL, r->mapping_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, 0);
    void *entries = mmap(NULL, r->entries_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, 0x10000000);
    error = errno;
    r->mapping = mapping == MAP_FAILED ? NULL : mapping;
    r->entries_mapping = entries == MAP_FAILED ? NULL : entries;
    if (!r->mapping || !r->entries_mapping)
        goto failed;
    madvise(mapping, r->mapping_size, MADV_DONTFORK);
    madvise(entries, r->entries_size, MADV_DONTFORK);
    char *base = mapping;
    r->sq_head = (void *)(base + p.sq_off.head);
    r->sq_tail = (void *)(base + p.sq_off.tail);
    r->sq_mask = *(uint32_t *)(void *)(base + p.sq_off.ring_mask);
    r->sq_flags = (void *)(base + p.sq_off.flags_or_overflow);
    r->sq_array = (void *)(base + p.sq_off.array_or_flags);
    r->cq_head = (void *)(base + p.cq_off.head);
    r->cq_tail = (void *)(base + p.cq_off.tail);
    r->cq_mask = *(uint32_t *)(void *)(base + p.cq_off.ring_mask);
    r->completions = (void *)(base + p.cq_off.dropped_or_cqes);
    r->entries = entries;
    for (unsigned i = 0; i < r->sq_entries; i++)
        r->sq_array[i] = i;
    r->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->eventfd < 0 || syscall(SYS_io_uring_register, r->fd, RING_REGISTER_EVENTFD, &r->eventfd, 1) < 0) {
        error = errno;
        goto failed;
    }
    return 0;
failed:
    ring_close(r);
    return -error;
}

/* Entries that were pushed and that the kernel has not taken yet. */
static inline unsigned ring_pending(ring *r)
{
    return atomic_load_explicit(r->sq_tail, memory_order_relaxed) - atomic_load_explicit(r->sq_head, memory_order_acquire);
}

/* Write an entry; 0 when the submission queue is full. */
static inline int ring_push(ring *r, const request *what)
{
    uint32_t tail = atomic_load_explicit(r->sq_tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(r->sq_head, memory_order_acquire) >= r->sq_entries)
        return 0;
    r->entries[tail & r->sq_mask] = *what;
    atomic_store_explicit(r->sq_tail, tail + 1, memory_order_release);
    return 1;
}

/* Take up to `limit` completions, oldest first. No system call. */
static inline int ring_reap(ring *r, completion *out, int limit)
{
    uint32_t head = atomic_load_explicit(r->cq_head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(r->cq_tail, memory_order_acquire);
    int count = 0;
    for (; head != tail && count < limit; head++)
        out[count++] = r->completions[head & r->cq_mask];
    atomic_store_explicit(r->cq_head, head, memory_order_release);
    return count;
}

/* Whether only an enter will fetch what has completed. */
static inline int ring_needs_enter(ring *r)
{
    return (atomic_load_explicit(r->sq_flags, memory_order_relaxed) & (RING_SQ_CQ_OVERFLOW | RING_SQ_TASKRUN)) != 0;
}

/* How many entries an enter has to hand over now; with a polling thread none, but it may have to be woken. */
static inline unsigned ring_to_submit(ring *r, unsigned *flags)
{
    *flags = 0;
    if (r->flags & RING_SQPOLL) {
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(r->sq_flags, memory_order_relaxed) & RING_SQ_NEED_WAKEUP)
            *flags = RING_SQ_WAKEUP;
        return ring_pending(r);
    }
    return ring_pending(r);
}

/* io_uring_enter(2): hand over `count` entries, then fetch what has completed (`flags` with RING_GETEVENTS). Wants no GIL.
 * Returns how many entries were taken, or -errno. */
static inline int ring_enter(ring *r, unsigned count, unsigned minimum, unsigned flags)
{
    long done;
    do {
        done = syscall(SYS_io_uring_enter, r->fd, count, minimum, flags, NULL, 0);
    } while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : (int)done;
}

#endif
