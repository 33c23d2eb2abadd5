# cython: language_level=3, boundscheck=False, wraparound=False
"""The engine on io_uring: one ring a loop, entered once a tick and after each `BATCH` entries.

Why so
- never SQPOLL: a kernel thread that polls costs a core at twenty reads a second, and makes a single read slower;
- COOP_TASKRUN: completions do not interrupt the loop's thread. Work that runs in kernel threads (buffered writes, fsync,
  metadata) is four to six times cheaper with it. Flags are probed downwards, as kernels have them;
- entries are handed over in small batches: a queue that is filled only at the end of a tick lets the device run dry;
- the ring's own descriptor is in the loop's epoll: nothing to write, nothing to read, one descriptor a loop.

Who owns what
- An operation that the kernel has is referenced by the ring (its address is the entry's `user_data`), and keeps its
  memory. The reference is given back when its completion is taken out, and at no other time.
- `pending` counts entries without completion, also those of cancellations. It bounds what is submitted, so the
  completion queue cannot overflow; the rest waits in `backlog`.
- Closing waits for `pending` to become zero. If the kernel does not let go within `PATIENCE` (a dead network mount), the
  ring and all memory that it names are kept for the rest of the process.

In a forked child nothing of the ring may be touched; it is closed there, which leaves the parent's alone.

Source: io_uring(7), io_uring_enter(2), io_uring_register(2).
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset
from posix.unistd cimport close as close_fd

import os
import weakref

import anyio

from aiovfs.aio._engine cimport NativeEngine
from aiovfs.aio._operation cimport PENDING, Operation, ring_sqe

from aiovfs.aio._engine import forget

cdef extern from "aiovfs/aio/_ring.h" nogil:
    struct ring_cqe:
        uint64_t user_data
        int32_t res
        uint32_t flags
    struct ring_probe_op:
        uint16_t flags
    struct ring_probe:
        uint8_t last_op
        ring_probe_op ops[256]
    struct ring:
        int fd
        uint32_t setup_flags
        uint32_t features
        uint32_t sq_entries
        uint32_t cq_entries
        uint32_t to_submit
        uint64_t submitted
    int ring_open(ring *, uint32_t sq_entries, uint32_t cq_entries, uint32_t flags)
    void ring_close(ring *)
    ring_sqe *ring_next_sqe(ring *)
    int ring_submit(ring *, unsigned wait, unsigned flags)
    int ring_wait(ring *, double seconds)
    ring_cqe *ring_peek(ring *)
    void ring_seen(ring *)
    bint ring_needs_enter(ring *)
    int ring_sys_register(int fd, unsigned opcode, void *arg, unsigned count)
    enum:
        RING_SETUP_CLAMP, RING_SETUP_SUBMIT_ALL, RING_SETUP_COOP_TASKRUN, RING_SETUP_SINGLE_ISSUER
        RING_ENTER_GETEVENTS
        RING_REGISTER_PROBE, RING_REGISTER_IOWQ_MAX_WORKERS
        RING_OP_NOP, RING_OP_ASYNC_CANCEL
        RING_SQE_ASYNC
        RING_CANCEL_ALL, RING_CANCEL_ANY
        RING_PROBE_SUPPORTED

cdef extern from "<errno.h>" nogil:
    int errno
    int EAGAIN, EBUSY, ECANCELED, EINTR, ETIME

cdef enum:
    OP_FSYNC = 3
    OP_OPENAT = 18
    SQ_ENTRIES = 128
    CQ_ENTRIES = 4096
    BATCH = 16
    LARGE = 262144  # bytes that another core copies meanwhile, when something else is to do
    GIL_FREE = 65536

PATIENCE = 10.0
"""Seconds that closing in place waits for the kernel."""

SETUPS = (
    ("6.0", RING_SETUP_CLAMP | RING_SETUP_SUBMIT_ALL | RING_SETUP_COOP_TASKRUN | RING_SETUP_SINGLE_ISSUER),
    ("5.19", RING_SETUP_CLAMP | RING_SETUP_SUBMIT_ALL | RING_SETUP_COOP_TASKRUN),
    ("5.18", RING_SETUP_CLAMP | RING_SETUP_SUBMIT_ALL),
    ("5.6", RING_SETUP_CLAMP),
)
"""Flags by the kernel that has them, best first."""

_live = weakref.WeakSet()
_kept = []


cdef int open_best(ring *into, uint32_t sq_entries, uint32_t cq_entries) except -1:
    """Set up a ring with the best flags that the kernel takes; the index in SETUPS."""
    cdef int error = 0
    for index, (_, flags) in enumerate(SETUPS):
        error = ring_open(into, sq_entries, cq_entries, flags)
        if error == 0:
            return index
        if error != -22:
            break
    raise OSError(-error, f"io_uring_setup: {os.strerror(-error)}")


def probe():
    """What the kernel's rings can do; raises `OSError` with what is in the way.

    Tries what engines do: set up a ring, ask for its operations, and let one NOP through (a filter may allow the first
    and forbid the rest).
    """
    cdef ring trial
    cdef ring_probe operations
    cdef ring_sqe *sqe
    cdef int result
    cdef int setup = open_best(&trial, 4, 8)
    try:
        memset(&operations, 0, sizeof(operations))
        result = ring_sys_register(trial.fd, RING_REGISTER_PROBE, &operations, 256)
        if result < 0:
            raise OSError(errno, f"io_uring_register: {os.strerror(errno)}")
        sqe = ring_next_sqe(&trial)
        memset(sqe, 0, sizeof(ring_sqe))
        result = ring_submit(&trial, 1, RING_ENTER_GETEVENTS)
        if result < 0:
            raise OSError(-result, f"io_uring_enter: {os.strerror(-result)}")
        if ring_peek(&trial) == NULL:
            raise OSError(EAGAIN, "io_uring: a NOP did not complete")
        return {
            "setup": SETUPS[setup][0],
            "features": trial.features,
            "operations": frozenset(
                [index for index in range(operations.last_op + 1) if operations.ops[index].flags & RING_PROBE_SUPPORTED]
            ),
        }
    finally:
        ring_close(&trial)


cdef class UringEngine(NativeEngine):
    """io_uring; `features` is what `probe` returned."""

    cdef ring ring
    cdef readonly object features
    cdef readonly int64_t pending
    cdef readonly int64_t enters
    cdef readonly int64_t submitted
    cdef uint64_t written
    cdef bint is_heavy
    cdef bint is_closing
    cdef Operation backlog
    cdef Operation backlog_last

    name = "uring"

    def __cinit__(self, driver, features, *, workers=None):
        self.ring.fd = -1

    def __init__(self, driver, features, *, workers=None):
        cdef uint32_t limits[2]
        open_best(&self.ring, SQ_ENTRIES, CQ_ENTRIES)
        self.features = features
        for opcode in features["operations"]:
            self.supports[opcode] = 1
        if workers is not None:
            limits[0] = limits[1] = workers
            ring_sys_register(self.ring.fd, RING_REGISTER_IOWQ_MAX_WORKERS, limits, 2)
        _live.add(self)
        self.driver.watch(self.ring.fd, self.drain)
        self.begin()

    def fileno(self):
        """The ring's descriptor."""
        return self.ring.fd

    # Submitting.

    cdef int submit(self, Operation operation) except -1:
        cdef ring_sqe *sqe
        cdef uint32_t length = operation.request.len
        if self.backlog is not None or self.pending >= self.ring.cq_entries:
            return self.put_back(operation)
        sqe = self.next_sqe()
        if sqe == NULL:
            return self.put_back(operation)
        sqe[0] = operation.request
        sqe.user_data = <uint64_t><uintptr_t><PyObject *>operation
        if operation.row.is_whole and length >= GIL_FREE:
            self.is_heavy = True
            if length >= LARGE and self.pending > 0:
                sqe.flags |= RING_SQE_ASYNC
        if sqe.opcode == OP_OPENAT or (operation.row.is_whole and sqe.opcode != OP_FSYNC and self.is_served(sqe.fd)):
            sqe.flags |= RING_SQE_ASYNC  # what may ask a server asks from another thread
        Py_INCREF(operation)
        self.pending += 1
        self.submitted += 1
        self.written += 1
        operation.serial = self.written
        if self.ring.to_submit >= BATCH:
            self.enter(0)
        if self.ring.to_submit:
            self.need_tick()
        return 0

    cdef ring_sqe *next_sqe(self) except? NULL:
        cdef ring_sqe *sqe = ring_next_sqe(&self.ring)
        if sqe == NULL:
            self.enter(0)
            sqe = ring_next_sqe(&self.ring)
        if sqe != NULL:
            memset(sqe, 0, sizeof(ring_sqe))
        return sqe

    cdef int put_back(self, Operation operation) except -1:
        """Wait in our own queue until the kernel has room."""
        operation.is_queued = True
        if self.backlog_last is None:
            self.backlog = operation
        else:
            self.backlog_last.next = operation
        self.backlog_last = operation
        return self.need_tick()

    cdef int take_backlog(self) except -1:
        cdef Operation operation = self.backlog
        cdef Operation following
        self.backlog = None
        self.backlog_last = None
        while operation is not None:
            following = operation.next
            operation.next = None
            operation.is_queued = False
            if operation.state != PENDING:
                self.in_flight -= 1
                operation.release()
            else:
                self.submit(operation)
                if self.backlog is not None:
                    # No room again: what comes behind stays behind.
                    self.backlog.next = following
                    if following is not None:
                        while following.next is not None:
                            following = following.next
                        self.backlog_last = following
                    return 0
            operation = following
        return 0

    cdef bint has_queued(self):
        return self.ring.to_submit > 0

    cdef int flush_queue(self) except -1:
        if self.backlog is not None and self.pending < self.ring.cq_entries:
            self.take_backlog()
        if self.ring.to_submit:
            self.enter(0)
        return 0

    cdef int enter(self, unsigned flags) except -1:
        """Hand the queue to the kernel. What it does not take now stays queued."""
        cdef int taken
        self.enters += 1
        if self.is_heavy:
            self.is_heavy = False
            with nogil:
                taken = ring_submit(&self.ring, 0, flags)
        else:
            taken = ring_submit(&self.ring, 0, flags)
        if taken < 0 and taken != -EINTR and taken != -EAGAIN and taken != -EBUSY:
            raise OSError(-taken, f"io_uring_enter: {os.strerror(-taken)}")
        return 0

    # Reaping.

    cdef int reap_some(self, int most) except -1:
        cdef int count = 0
        cdef bint has_entered = False
        cdef ring_cqe *cqe
        cdef uint64_t address
        cdef int result
        cdef Operation operation
        while count < most and not self.is_closed and self.failure is None:
            cqe = ring_peek(&self.ring)
            if cqe == NULL:
                if not has_entered and ring_needs_enter(&self.ring):
                    has_entered = True
                    self.enter(RING_ENTER_GETEVENTS)
                    continue
                break
            address = cqe.user_data
            result = cqe.res
            ring_seen(&self.ring)
            self.pending -= 1
            if address:
                operation = <Operation><PyObject *><uintptr_t>address
                Py_DECREF(operation)  # the ring's reference; ours is `operation`
                self.ended(operation, result)
                count += 1
        if self.backlog is not None and not self.is_closed and self.pending < self.ring.cq_entries:
            self.take_backlog()
        return count

    # Cancelling.

    cdef bint cancel_submitted(self, Operation operation) except -1:
        cdef ring_sqe *sqe
        if operation.serial > self.written - self.ring.to_submit:
            # The kernel looks descriptors up when it takes the entry; until then the number must stay what it is.
            self.enter(0)
            if operation.serial > self.written - self.ring.to_submit:
                return False
        sqe = self.next_sqe()
        if sqe != NULL:
            sqe.opcode = RING_OP_ASYNC_CANCEL
            sqe.fd = -1
            sqe.addr = <uint64_t><uintptr_t><PyObject *>operation
            self.written += 1
            self.pending += 1
            self.need_tick()
        return operation.row.detaches

    # Closing.

    cdef int cancel_all(self) except -1:
        cdef ring_sqe *sqe
        cdef Operation operation = self.backlog
        cdef Operation following
        self.backlog = None
        self.backlog_last = None
        while operation is not None:
            following = operation.next
            operation.next = None
            operation.is_queued = False
            self.in_flight -= 1
            operation.complete(-ECANCELED)
            operation = following
        if self.deferred is not None:
            self.run_deferred()
        if self.pending == 0:
            return 0
        sqe = self.next_sqe()
        if sqe != NULL:
            sqe.opcode = RING_OP_ASYNC_CANCEL
            sqe.fd = -1
            sqe.op_flags = RING_CANCEL_ALL | RING_CANCEL_ANY
            self.written += 1
            self.pending += 1
        self.enter(0)
        return 0

    async def aclose(self):
        """Cancel what can be, wait for the rest without blocking the loop, and free everything. Again: nothing."""
        if self.is_closed or self.is_closing:
            return
        self.check()
        self.is_closing = True
        try:
            for job in list(self.jobs):
                job.operation.cancel()
            self.cancel_all()
            while self.in_flight or self.pending:
                emptied = anyio.Event()
                self.emptied = emptied.set
                await emptied.wait()
        finally:
            self.emptied = None
            self.close()

    def close(self):
        """Cancel what can be, wait in place for the rest, and free everything. Again: nothing happens."""
        cdef int result
        cdef double rest = PATIENCE
        if self.is_closed:
            return
        if self.is_foreign():
            self.abandon()
            return
        self.is_closed = True
        forget(self)
        self.driver.unwatch()
        _live.discard(self)
        if self.threads is not None:
            self.threads.close()
            self.threads.drain()
        self.cancel_all()
        self.reap_rest()
        while self.pending and rest > 0:
            with nogil:
                result = ring_wait(&self.ring, 0.1)
            if result < 0 and result != -ETIME and result != -EINTR and result != -EAGAIN and result != -EBUSY:
                break
            rest -= 0.1 if result == -ETIME else 0.001
            self.reap_rest()
        self.failure = None
        if self.pending:
            _kept.append(self)  # the kernel still writes where its requests say
            return
        ring_close(&self.ring)

    cdef int reap_rest(self) except -1:
        cdef ring_cqe *cqe
        cdef Operation operation
        cdef int result
        cdef uint64_t address
        while True:
            cqe = ring_peek(&self.ring)
            if cqe == NULL:
                return 0
            address = cqe.user_data
            result = cqe.res
            ring_seen(&self.ring)
            self.pending -= 1
            if address:
                operation = <Operation><PyObject *><uintptr_t>address
                Py_DECREF(operation)
                self.ended(operation, result)

    def abandon(self):
        """In a forked child: let go of the parent's ring without touching it."""
        if self.ring.fd >= 0 and self.is_foreign():
            close_fd(self.ring.fd)
            self.ring.fd = -1

    def __dealloc__(self):
        # Whoever got here has no operation in flight: each one holds a reference to its engine.
        if self.ring.fd >= 0 and not self.is_foreign():
            ring_close(&self.ring)


def _after_fork_in_child():
    for engine in list(_live):
        engine.abandon()
    _live.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
