/* One io_uring, spoken to by its three system calls; no liburing.

   The structures are the kernel's (linux/io_uring.h), written down here because a distribution's header may be older
   than the kernel that runs: what a kernel lacks is found out by asking it, never by the header.

   Rules for people who edit this
   - The kernel writes the completion queue's tail and the submission queue's head; we write the other two. Whoever reads
     what the other side writes does so with acquire, and publishes with release.
   - Entries are written at call time and become visible to the kernel only in ring_enter, which is told their number.
   - A ring belongs to one thread. The mappings are not inherited by a forked child (MADV_DONTFORK): a child that
     touched them would put its completions into its parent's queue.

   Source: io_uring_setup(2), io_uring_enter(2), io_uring_register(2). */

#ifndef AIOVFS_RING_H
#define AIOVFS_RING_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#define __NR_io_uring_enter 426
#define __NR_io_uring_register 427
#endif

struct ring_sqe {
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
    int32_t splice_fd_in;
    uint64_t addr3;
    uint64_t pad;
};

struct ring_cqe {
    uint64_t user_data;
    int32_t res;
    uint32_t flags;
};

struct ring_sq_offsets {
    uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
    uint64_t user_addr;
};

struct ring_cq_offsets {
    uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
    uint64_t user_addr;
};

struct ring_params {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3];
    struct ring_sq_offsets sq_off;
    struct ring_cq_offsets cq_off;
};

struct ring_probe_op {
    uint8_t op, resv;
    uint16_t flags;
    uint32_t resv2;
};

struct ring_probe {
    uint8_t last_op, ops_len;
    uint16_t resv;
    uint32_t resv2[3];
    struct ring_probe_op ops[256];
};

struct ring_timespec {
    int64_t tv_sec;
    long long tv_nsec;
};

struct ring_getevents_arg {
    uint64_t sigmask;
    uint32_t sigmask_sz, min_wait_usec;
    uint64_t ts;
};

enum {
    RING_SETUP_CQSIZE = 1 << 3,
    RING_SETUP_CLAMP = 1 << 4,
    RING_SETUP_SUBMIT_ALL = 1 << 7,
    RING_SETUP_COOP_TASKRUN = 1 << 8,
    RING_SETUP_TASKRUN_FLAG = 1 << 9,
    RING_SETUP_SINGLE_ISSUER = 1 << 12,
    RING_SETUP_DEFER_TASKRUN = 1 << 13,

    RING_FEAT_SINGLE_MMAP = 1 << 0,
    RING_FEAT_NODROP = 1 << 1,
    RING_FEAT_EXT_ARG = 1 << 8,

    RING_ENTER_GETEVENTS = 1 << 0,
    RING_ENTER_EXT_ARG = 1 << 3,

    RING_SQ_CQ_OVERFLOW = 1 << 1,
    RING_SQ_TASKRUN = 1 << 2,

    RING_REGISTER_BUFFERS = 0,
    RING_UNREGISTER_BUFFERS = 1,
    RING_REGISTER_EVENTFD = 4,
    RING_REGISTER_PROBE = 8,
    RING_REGISTER_IOWQ_MAX_WORKERS = 19,

    RING_OP_NOP = 0,
    RING_OP_ASYNC_CANCEL = 14,

    RING_SQE_IO_LINK = 1 << 2,
    RING_SQE_ASYNC = 1 << 4,

    RING_CANCEL_ALL = 1 << 0,
    RING_CANCEL_ANY = 1 << 2,

    RING_PROBE_SUPPORTED = 1 << 0
};

struct ring {
    int fd;
    uint32_t setup_flags, features;
    uint32_t sq_entries, cq_entries, sq_mask, cq_mask;
    uint32_t sq_local_tail; /* entries written, also those the kernel was not told of */
    uint32_t to_submit;
    uint32_t *sq_head, *sq_tail, *sq_flags, *sq_array;
    uint32_t *cq_head, *cq_tail;
    struct ring_sqe *sqes;
    struct ring_cqe *cqes;
    void *rings;
    size_t rings_size, sqes_size;
    uint64_t submitted; /* entries that the kernel has taken, ever */
};

static inline int ring_sys_enter(int fd, unsigned submit, unsigned wait, unsigned flags, void *arg, size_t size)
{
    return (int)syscall(__NR_io_uring_enter, fd, submit, wait, flags, arg, size);
}

static inline int ring_sys_register(int fd, unsigned opcode, void *arg, unsigned count)
{
    return (int)syscall(__NR_io_uring_register, fd, opcode, arg, count);
}

static inline void ring_unmap(struct ring *ring)
{
    if (ring->sqes != NULL)
        munmap(ring->sqes, ring->sqes_size);
    if (ring->rings != NULL)
        munmap(ring->rings, ring->rings_size);
    ring->sqes = NULL;
    ring->rings = NULL;
}

/* Only when nothing is in flight: the kernel may write into memory that its requests name until then. */
static inline void ring_close(struct ring *ring)
{
    ring_unmap(ring);
    if (ring->fd >= 0)
        close(ring->fd);
    ring->fd = -1;
}

/* 0, or -errno. */
static inline int ring_open(struct ring *ring, uint32_t sq_entries, uint32_t cq_entries, uint32_t flags)
{
    struct ring_params params;
    size_t sq_size, cq_size;
    char *base;
    int error;

    memset(ring, 0, sizeof *ring);
    memset(&params, 0, sizeof params);
    params.flags = flags | RING_SETUP_CQSIZE;
    params.cq_entries = cq_entries;
    ring->fd = (int)syscall(__NR_io_uring_setup, sq_entries, &params);
    if (ring->fd < 0)
        return -errno;
    if (!(params.features & RING_FEAT_SINGLE_MMAP) || !(params.features & RING_FEAT_NODROP)) {
        ring_close(ring); /* before 5.5: completions can be lost */
        return -ENOSYS;
    }
    ring->setup_flags = params.flags;
    ring->features = params.features;
    ring->sq_entries = params.sq_entries;
    ring->cq_entries = params.cq_entries;
    sq_size = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
    cq_size = params.cq_off.cqes + params.cq_entries * sizeof(struct ring_cqe);
    ring->rings_size = sq_size > cq_size ? sq_size : cq_size;
    ring->sqes_size = params.sq_entries * sizeof(struct ring_sqe);
    base = mmap(NULL, ring->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, 0);
    if (base == MAP_FAILED)
        goto failed;
    ring->rings = base;
    ring->sqes = mmap(NULL, ring->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, 0x10000000);
    if (ring->sqes == MAP_FAILED) {
        ring->sqes = NULL;
        goto failed;
    }
    if (madvise(ring->rings, ring->rings_size, MADV_DONTFORK) || madvise(ring->sqes, ring->sqes_size, MADV_DONTFORK))
        goto failed;
    ring->sq_head = (uint32_t *)(base + params.sq_off.head);
    ring->sq_tail = (uint32_t *)(base + params.sq_off.tail);
    ring->sq_flags = (uint32_t *)(base + params.sq_off.flags);
    ring->sq_array = (uint32_t *)(base + params.sq_off.array);
    ring->sq_mask = *(uint32_t *)(base + params.sq_off.ring_mask);
    ring->cq_head = (uint32_t *)(base + params.cq_off.head);
    ring->cq_tail = (uint32_t *)(base + params.cq_off.tail);
    ring->cq_mask = *(uint32_t *)(base + params.cq_off.ring_mask);
    ring->cqes = (struct ring_cqe *)(base + params.cq_off.cqes);
    ring->sq_local_tail = *ring->sq_tail;
    for (uint32_t index = 0; index < ring->sq_entries; index++)
        ring->sq_array[index] = index;
    return 0;

failed:
    error = errno;
    ring_close(ring);
    return -error;
}

/* The next free submission entry, zeroed, or NULL when the queue is full. */
static inline struct ring_sqe *ring_next_sqe(struct ring *ring)
{
    uint32_t head = __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
    if (ring->sq_local_tail - head >= ring->sq_entries)
        return NULL;
    struct ring_sqe *sqe = &ring->sqes[ring->sq_local_tail & ring->sq_mask];
    ring->sq_local_tail++;
    ring->to_submit++;
    return sqe;
}

/* Hand what was written to the kernel. The number that it took, or -errno. */
static inline int ring_submit(struct ring *ring, unsigned wait, unsigned flags)
{
    __atomic_store_n(ring->sq_tail, ring->sq_local_tail, __ATOMIC_RELEASE);
    int taken = ring_sys_enter(ring->fd, ring->to_submit, wait, flags, NULL, 0);
    if (taken < 0)
        return -errno;
    ring->to_submit -= (uint32_t)taken;
    ring->submitted += (uint32_t)taken;
    return taken;
}

/* Wait for at least one completion, at most `seconds`. 0, or -errno (-ETIME when none came). */
static inline int ring_wait(struct ring *ring, double seconds)
{
    struct ring_timespec limit = {(int64_t)seconds, (long long)((seconds - (double)(int64_t)seconds) * 1e9)};
    struct ring_getevents_arg arg = {0, 0, 0, (uint64_t)(uintptr_t)&limit};
    __atomic_store_n(ring->sq_tail, ring->sq_local_tail, __ATOMIC_RELEASE);
    if (!(ring->features & RING_FEAT_EXT_ARG)) {
        int taken = ring_sys_enter(ring->fd, ring->to_submit, 1, RING_ENTER_GETEVENTS, NULL, 0);
        if (taken < 0)
            return -errno;
        ring->to_submit -= (uint32_t)taken;
        ring->submitted += (uint32_t)taken;
        return 0;
    }
    int taken = ring_sys_enter(ring->fd, ring->to_submit, 1, RING_ENTER_GETEVENTS | RING_ENTER_EXT_ARG, &arg, sizeof arg);
    if (taken < 0)
        return -errno;
    ring->to_submit -= (uint32_t)taken;
    ring->submitted += (uint32_t)taken;
    return 0;
}

/* The oldest completion, or NULL; ring_seen afterwards. */
static inline struct ring_cqe *ring_peek(struct ring *ring)
{
    uint32_t head = *ring->cq_head;
    if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
        return NULL;
    return &ring->cqes[head & ring->cq_mask];
}

static inline void ring_seen(struct ring *ring)
{
    __atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
}

/* Does the kernel hold completions back, or work that it does only when it is entered? */
static inline int ring_needs_enter(struct ring *ring)
{
    return (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & (RING_SQ_CQ_OVERFLOW | RING_SQ_TASKRUN)) != 0;
}

#endif
