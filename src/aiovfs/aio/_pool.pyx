# cython: language_level=3, boundscheck=False, wraparound=False
"""The engines without io_uring: a pool of threads in C, and the same with kernel AIO for O_DIRECT files.

`PoolEngine` gives every request to the process's pool (`engines/pool.h`) through a channel of its own: staged when it is
submitted, handed over once a tick, done by a thread that has nothing to do with Python, and told by one write to an
eventfd for each batch. What the page cache has never gets here: see `_engine.pyx`.

`LinuxEngine` is the same, but reads and writes of files opened with O_DIRECT go to kernel AIO (`engines/kernel_aio.h`), the
one thing that is asynchronous there, and that container runtimes allow. Its context is made for the first such file.
What the kernel does not take (no room, a descriptor that it refuses) goes to the pool, which does it or says what is
wrong.

Who owns what
- An operation that was submitted is referenced by its request (`user_data` is its address) and keeps its memory. The
  reference is given back when the completion is taken out, and at no other time.
- `Operation.serial` holds the address of the pool's job, for cancelling, and 0 while kernel AIO has the request.
- Closing waits for what is in flight. What does not end within `PATIENCE` (a dead network mount) keeps its memory, and
  the engine, for the rest of the process.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t

import os
import time
import weakref

import anyio

from aiovfs.aio._engine cimport NativeEngine
from aiovfs.aio._operation cimport Operation

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int timeout)
    int POLLIN

cdef extern from "unistd.h" nogil:
    Py_ssize_t read(int fd, void *buffer, size_t size)
    Py_ssize_t write(int fd, const void *buffer, size_t size)

cdef extern from "aiovfs/aio/engines/request.h" nogil:
    ctypedef struct request:
        uint8_t opcode
        uint64_t user_data
    ctypedef struct completion:
        uint64_t user_data
        int32_t result
    int REQUEST_READV, REQUEST_WRITEV, REQUEST_FSYNC, REQUEST_FALLOCATE, REQUEST_OPENAT, REQUEST_CLOSE, REQUEST_STATX
    int REQUEST_READ, REQUEST_WRITE, REQUEST_FADVISE, REQUEST_RENAMEAT, REQUEST_UNLINKAT, REQUEST_MKDIRAT
    int REQUEST_SYMLINKAT, REQUEST_LINKAT, REQUEST_FSETXATTR, REQUEST_SETXATTR, REQUEST_FGETXATTR, REQUEST_GETXATTR
    int REQUEST_FTRUNCATE
    bint request_is_transfer(const request *r)

cdef extern from "aiovfs/aio/engines/pool.h" nogil:
    ctypedef struct pool:
        unsigned threads
        unsigned limit
    ctypedef struct job:
        pass
    ctypedef struct channel:
        pool *pool
        int eventfd
        unsigned staged_count
        unsigned in_flight
        job *ready
    pool *pool_shared(unsigned threads)
    unsigned pool_default_threads()
    channel *channel_new(pool *p)
    job *channel_push(channel *c, const request *r)
    int channel_flush(channel *c)
    int channel_cancel(job *j)
    void channel_cancel_all(channel *c)
    int channel_reap(channel *c, completion *out, int limit)
    void channel_free(channel *c)

cdef extern from "aiovfs/aio/engines/kernel_aio.h" nogil:
    ctypedef struct kernel_aio:
        unsigned in_flight
    int kernel_aio_open(kernel_aio *k, unsigned capacity, int notify)
    void kernel_aio_close(kernel_aio *k)
    int kernel_aio_submit(kernel_aio *k, const request **requests, int count)
    int kernel_aio_reap(kernel_aio *k, completion *out, int limit, int minimum, double seconds)

cdef enum:
    BATCH = 16  # requests staged before they are handed over within a tick
    REAP = 64
    DIRECT_REQUESTS = 256  # in flight in kernel AIO at a time, by engine
    IS_DIRECT = 1  # of `NativeEngine.look_at`

PATIENCE = 10.0
"""Seconds that closing in place waits for threads and the kernel."""

OPCODES = (
    REQUEST_READV, REQUEST_WRITEV, REQUEST_FSYNC, REQUEST_FALLOCATE, REQUEST_OPENAT, REQUEST_CLOSE, REQUEST_STATX,
    REQUEST_READ, REQUEST_WRITE, REQUEST_FADVISE, REQUEST_RENAMEAT, REQUEST_UNLINKAT, REQUEST_MKDIRAT,
    REQUEST_SYMLINKAT, REQUEST_LINKAT, REQUEST_FSETXATTR, REQUEST_SETXATTR, REQUEST_FGETXATTR, REQUEST_GETXATTR,
    REQUEST_FTRUNCATE,
)
"""What `request_execute` does."""

_live = weakref.WeakSet()
_kept = []


def probe():
    """What the pool would be; it works wherever there are threads."""
    return {"threads": pool_default_threads()}


def probe_kernel_aio():
    """The same, and that kernel AIO can be used; raises `OSError` with what is in the way."""
    cdef kernel_aio kernel
    cdef int status = kernel_aio_open(&kernel, 1, 0)
    if status < 0:
        raise OSError(-status, f"io_setup: {os.strerror(-status)}")
    kernel_aio_close(&kernel)
    return {"threads": pool_default_threads(), "direct_requests": DIRECT_REQUESTS}


cdef class PoolEngine(NativeEngine):
    """Threads in C."""

    cdef channel *channel
    cdef readonly int64_t pending
    """Requests that were submitted and whose completions were not taken out."""
    cdef readonly int64_t handed_over
    """How often requests were given to the pool."""
    cdef bint is_closing
    cdef completion taken[64]
    cdef int taken_next, taken_count

    name = "pool"

    def __cinit__(self, driver, *args, **kwargs):
        self.channel = NULL

    def __init__(self, driver, *, unsigned threads=0):
        cdef pool *shared = pool_shared(threads)
        self.channel = channel_new(shared) if shared != NULL else NULL
        if self.channel == NULL:
            raise OSError(24, "no descriptor or no memory for a disk engine")
        for opcode in OPCODES:
            self.supports[opcode] = 1
        _live.add(self)
        self.driver.watch(self.channel.eventfd, self.drain)
        self.begin()

    @property
    def threads_started(self):
        """How many threads the process's pool has."""
        return self.channel.pool.threads

    def fileno(self):
        """The eventfd."""
        return self.channel.eventfd

    # Submitting.

    cdef int submit(self, Operation operation) except -1:
        return self.give_to_pool(operation)

    cdef int give_to_pool(self, Operation operation) except -1:
        cdef job *given
        operation.request.user_data = <uint64_t><uintptr_t><PyObject *>operation
        given = channel_push(self.channel, <request *>&operation.request)
        if given == NULL:
            raise MemoryError("no memory for another request")
        operation.serial = <uint64_t><uintptr_t>given
        Py_INCREF(operation)
        self.pending += 1
        if self.channel.staged_count >= BATCH:
            self.hand_over()
        return self.need_tick()

    cdef int hand_over(self) except -1:
        cdef int status
        if self.channel.staged_count == 0:
            return 0
        self.handed_over += 1
        status = channel_flush(self.channel)
        if status < 0:
            raise OSError(-status, f"no thread for disk operations could be started: {os.strerror(-status)}")
        return 0

    cdef bint has_queued(self):
        return self.channel.staged_count > 0

    cdef int flush_queue(self) except -1:
        return self.hand_over()

    # Reaping.

    def drain(self):
        """The loop says that there are completions."""
        cdef uint64_t count
        if not self.is_closed and not self.is_foreign():
            read(self.channel.eventfd, &count, sizeof(count))
            self.pump()

    cdef int take(self, completion *out, int limit) except -1:
        return channel_reap(self.channel, out, limit)

    cdef bint end_one(self) except -1:
        """End the next operation that is done; False when there is none."""
        cdef Operation operation
        cdef completion *next
        if self.taken_next == self.taken_count:
            self.taken_next = 0
            self.taken_count = self.take(self.taken, REAP)
            if self.taken_count == 0:
                return False
        next = &self.taken[self.taken_next]
        self.taken_next += 1
        self.pending -= 1
        operation = <Operation><PyObject *><uintptr_t>next.user_data
        Py_DECREF(operation)  # the request's reference; ours is `operation`
        self.ended(operation, next.result)
        return True

    cdef int reap_some(self, int most) except -1:
        cdef uint64_t one = 1
        cdef int total = 0
        while total < most and not self.is_closed and self.failure is None:
            if not self.end_one():
                return total
            total += 1
        if not self.is_closed:
            write(self.channel.eventfd, &one, sizeof(one))  # there may be more; the loop is to call again
        return total

    # Cancelling.

    cdef bint cancel_submitted(self, Operation operation) except -1:
        if operation.serial and channel_cancel(<job *><uintptr_t>operation.serial):
            return True  # no thread has begun with it, and none will
        return operation.row.detaches

    # Closing.

    cdef int cancel_all(self) except -1:
        if self.deferred is not None:
            self.run_deferred()
        channel_cancel_all(self.channel)
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
        cdef pollfd waiting
        cdef uint64_t count
        if self.is_closed:
            return
        if self.is_foreign():
            self.abandon()
            return
        self.is_closed = True
        self.driver.unwatch()
        _live.discard(self)
        if self.threads is not None:
            self.threads.close()
            self.threads.drain()
        self.cancel_all()
        waiting.fd = self.channel.eventfd
        waiting.events = POLLIN
        until = time.monotonic() + PATIENCE
        while self.pending:
            if self.end_one():
                continue
            if time.monotonic() > until:
                break
            with nogil:
                poll(&waiting, 1, 100)
            read(self.channel.eventfd, &count, sizeof(count))
        self.failure = None
        if self.pending:
            _kept.append(self)  # somebody still writes where the requests say
            return
        self.let_go()

    cdef int let_go(self) except -1:
        if self.channel != NULL:
            channel_free(self.channel)
            self.channel = NULL
        return 0

    def abandon(self):
        """In a forked child: let go of the descriptors; everything else is the parent's."""
        if self.is_foreign():
            self.let_go()

    def __dealloc__(self):
        # Whoever got here has no operation in flight: each one holds a reference to its engine.
        if self.channel != NULL:
            channel_free(self.channel)


cdef class LinuxEngine(PoolEngine):
    """Threads in C, and kernel AIO for O_DIRECT."""

    cdef kernel_aio kernel
    cdef bint has_kernel
    cdef bint is_refused
    cdef list staged

    name = "linux"

    def __cinit__(self, driver, *args, **kwargs):
        self.staged = []

    @property
    def uses_kernel_aio(self):
        """Whether a file opened with O_DIRECT was read or written."""
        return self.has_kernel

    cdef int submit(self, Operation operation) except -1:
        if (
            self.is_refused
            or not request_is_transfer(<request *>&operation.request)
            or not self.look_at(operation.request.fd) & IS_DIRECT
        ):
            return self.give_to_pool(operation)
        if not self.has_kernel:
            if kernel_aio_open(&self.kernel, DIRECT_REQUESTS, self.channel.eventfd) < 0:
                self.is_refused = True
                return self.give_to_pool(operation)
            self.has_kernel = True
        operation.request.user_data = <uint64_t><uintptr_t><PyObject *>operation
        operation.serial = 0
        operation.is_queued = True
        self.staged.append(operation)
        if len(self.staged) >= BATCH:
            self.hand_over_direct()
        return self.need_tick()

    cdef int hand_over_direct(self) except -1:
        cdef const request *pointers[64]
        cdef Operation operation
        cdef list staged = self.staged
        cdef Py_ssize_t total, done = 0
        cdef int count, index, status
        self.staged = []
        kept = []
        for operation in staged:
            operation.is_queued = False
            if operation.state == 0:
                kept.append(operation)
            else:
                self.in_flight -= 1
                operation.release()
        total = len(kept)
        while done < total:
            count = <int>min(64, total - done)
            for index in range(count):
                operation = kept[done + index]
                pointers[index] = <request *>&operation.request
                Py_INCREF(operation)
            with nogil:
                status = kernel_aio_submit(&self.kernel, pointers, count)
            index = max(0, status)
            self.kernel.in_flight += <unsigned>index
            self.pending += index
            for index in range(index, count):
                operation = kept[done + index]
                Py_DECREF(operation)
            if status <= 0:
                # No room, or something is wrong with this one: a thread does it, or says what.
                self.give_to_pool(kept[done])
                status = 1
            done += status
        return 0

    cdef bint has_queued(self):
        return self.channel.staged_count > 0 or len(self.staged) > 0

    cdef int flush_queue(self) except -1:
        if self.staged:
            self.hand_over_direct()
        return self.hand_over()

    cdef int take(self, completion *out, int limit) except -1:
        cdef int got = channel_reap(self.channel, out, limit)
        cdef int more
        if got < limit and self.has_kernel and self.kernel.in_flight:
            more = kernel_aio_reap(&self.kernel, out + got, limit - got, 0, 0.0)
            if more > 0:
                self.kernel.in_flight -= <unsigned>more
                got += more
        return got

    cdef int cancel_all(self) except -1:
        if self.staged:
            self.hand_over_direct()
        return PoolEngine.cancel_all(self)

    cdef int let_go(self) except -1:
        if self.has_kernel:
            kernel_aio_close(&self.kernel)
            self.has_kernel = False
        return PoolEngine.let_go(self)

    def __dealloc__(self):
        if self.has_kernel:
            kernel_aio_close(&self.kernel)


def _after_fork_in_child():
    for engine in list(_live):
        engine.abandon()
    _live.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
