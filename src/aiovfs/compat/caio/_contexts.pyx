# cython: language_level=3, boundscheck=False, wraparound=False
"""caio's low-level contexts and operations, in C: a ring, kernel AIO, and a pool of threads.

A context takes operations and gives their completions back, to whoever calls it and from whatever thread; there is no loop
in here. The three differ in what they give the requests to (`ring.h`; `kernel_aio.h` and `pool.h` of `aio.engines`) and in
who calls the callbacks: the caller of `process_events` or `flush`, or for threads the context's own courier thread.

Rules for people who edit this
- `in_flight` maps the number of a request to its operation, which owns the buffer: while the kernel or a worker may touch
  the buffer, the operation is in there. The garbage collector sees the dictionary, so `__del__` (which runs before
  anything is cleared) drains; operations that do not end in time are kept for ever rather than freed under the kernel.
- State changes come before callbacks: a callback may call the context again, or drop the last reference to it.
- Whatever may wait is called without the GIL. Everything else relies on it.
- Operations are one-shot; one that was begun is never begun again.
- A descriptor opened with O_DIRECT wants aligned memory, which `bytes` never is: such operations have a `bounce` buffer, as
  long as they live, and reads take the aligned range around what was asked for.
"""

import _thread
import atexit
import operator
import os
import threading
import time
import weakref

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_WriteUnraisable
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from aiovfs.compat.caio.errors import operation_error, submission_error

cdef extern from "poll.h":
    struct pollfd:
        int fd
        short events
        short revents
    int c_poll "poll"(pollfd *fds, unsigned long count, int timeout) nogil
    int POLLIN

cdef extern from "unistd.h":
    Py_ssize_t c_read "read"(int fd, void *buffer, size_t size) nogil
    Py_ssize_t c_write "write"(int fd, const void *buffer, size_t size) nogil
    int c_close "close"(int fd) nogil

cdef extern from "fcntl.h":
    int fcntl(int fd, int command, ...) nogil
    int F_GETFL, O_DIRECT

cdef extern from "stdlib.h":
    int posix_memalign(void **memory, size_t alignment, size_t size) nogil

cdef extern from "errno.h":
    int errno
    int EAGAIN, EBUSY, ECANCELED

cdef extern from "aiovfs/aio/engines/request.h" nogil:
    ctypedef struct request:
        unsigned char opcode
        unsigned char flags
        int32_t fd
        uint64_t off
        uint64_t addr
        uint32_t len
        uint32_t op_flags
        uint64_t user_data
    ctypedef struct completion:
        uint64_t user_data
        int32_t result
    int REQUEST_READ, REQUEST_WRITE, REQUEST_FSYNC, REQUEST_ASYNC_CANCEL, REQUEST_DATASYNC

cdef extern from "aiovfs/compat/caio/ring.h" nogil:
    ctypedef struct ring:
        int fd
        int eventfd
        uint32_t flags
        uint32_t features
    int RING_GETEVENTS, RING_SQPOLL
    int ring_open(ring *r, unsigned size, unsigned poll_ms)
    void ring_close(ring *r)
    unsigned ring_pending(ring *r)
    int ring_push(ring *r, const request *what)
    int ring_reap(ring *r, completion *out, int limit)
    int ring_needs_enter(ring *r)
    unsigned ring_to_submit(ring *r, unsigned *flags)
    int ring_enter(ring *r, unsigned count, unsigned minimum, unsigned flags)

cdef extern from "aiovfs/aio/engines/kernel_aio.h" nogil:
    ctypedef struct kernel_aio:
        unsigned capacity
        unsigned in_flight
        int eventfd
    int KERNEL_AIO_BATCH
    int kernel_aio_open(kernel_aio *k, unsigned capacity, int notify)
    void kernel_aio_close(kernel_aio *k)
    int kernel_aio_submit(kernel_aio *k, const request **requests, int count)
    int kernel_aio_reap(kernel_aio *k, completion *out, int limit, int minimum, double seconds)

cdef extern from "aiovfs/aio/engines/pool.h" nogil:
    ctypedef struct pool:
        unsigned threads
    ctypedef struct job:
        pass
    ctypedef struct channel:
        int eventfd
        unsigned in_flight
    pool *pool_new(unsigned threads)
    void pool_end(pool *p)
    channel *channel_new(pool *p)
    int channel_is_dead(const channel *c)
    job *channel_push(channel *c, const request *r)
    int channel_flush(channel *c)
    int channel_reap(channel *c, completion *out, int limit)
    void channel_stop_waiting(channel *c)
    void channel_free(channel *c)

SQPOLL_IDLE_MS = 2
"""How long the kernel thread of `sqpoll=True` polls for nothing before it sleeps. caio's ring keeps a core busy for a second."""

DRAIN_SECONDS = 10.0
"""How long the end of a context waits for operations that do not end; their buffers are then never freed."""

cdef enum:
    NEW = 0
    CLAIMED = 1
    DONE = 2

    BATCH = 64
    MAX_EVENTS = 1 << 20
    MAX_THREADS = 128
    MAX_QUEUE = 65536

    ALIGNMENT = 4096  # enough for every device

    OP_NOOP = -1
    OP_READ = 0
    OP_WRITE = 1
    OP_FSYNC = 2
    OP_FDSYNC = 3

cdef tuple MODES = ("read", "write", "fsync", "fdsync", "noop")
cdef uint64_t last_number = 0  # of all contexts, so that none takes another's operation for its own
cdef list abandoned = []


cdef uint64_t next_number() noexcept:
    global last_number
    last_number += 1
    return last_number


cdef class Operation:
    """What all three kinds of operation have. Not made directly: use `read`, `write`, `fsync`, `fdsync`."""

    cdef object __weakref__
    cdef object buffer
    cdef object callback
    cdef object owner
    cdef readonly int opcode
    cdef int state
    cdef int fd
    cdef Py_ssize_t size
    cdef uint64_t position
    cdef uint64_t number
    cdef readonly long priority
    cdef int64_t count
    cdef char *bounce
    cdef bint is_clean
    cdef readonly int error
    """errno of a failed operation, 0 otherwise."""

    def __cinit__(self):
        self.opcode = OP_NOOP

    def __dealloc__(self):
        free(self.bounce)

    @classmethod
    def read(cls, nbytes, fd, offset, priority=0):
        """A new operation that reads `nbytes` bytes at `offset`."""
        cdef Operation self = cls._make(OP_READ, fd, offset, priority)
        size = operator.index(nbytes)
        if not 0 <= size <= 0xFFFFFFFF:
            raise OverflowError(f"nbytes={size}: one operation reads at most {0xFFFFFFFF} bytes")
        self.size = size
        self.buffer = PyBytes_FromStringAndSize(NULL, self.size)
        return self

    @classmethod
    def write(cls, payload_bytes, fd, offset, priority=0):
        """A new operation that writes all of `payload_bytes` at `offset`."""
        cdef Operation self = cls._make(OP_WRITE, fd, offset, priority)
        if not isinstance(payload_bytes, bytes):
            raise ValueError(f"payload_bytes must be bytes, not {type(payload_bytes).__name__}")
        if len(payload_bytes) > 0xFFFFFFFF:
            raise OverflowError(f"{len(payload_bytes)} bytes: one operation writes at most {0xFFFFFFFF}")
        self.size = len(payload_bytes)
        self.buffer = payload_bytes
        return self

    @classmethod
    def fsync(cls, fd, priority=0):
        """A new operation that brings content and attributes to stable storage."""
        return cls._make(OP_FSYNC, fd, 0, priority)

    @classmethod
    def fdsync(cls, fd, priority=0):
        """A new operation that brings content to stable storage."""
        return cls._make(OP_FDSYNC, fd, 0, priority)

    @classmethod
    def _make(cls, int opcode, fd, offset, priority):
        cdef Operation self = cls()
        self.opcode = opcode
        self.fd = <int>(operator.index(fd) & 0xFFFFFFFF)
        self.position = operator.index(offset) & 0xFFFFFFFFFFFFFFFF
        self.priority = operator.index(priority)
        return self

    def get_value(self):
        """The bytes that were read, how many were written, or None. Raises an `OSError` that is a `SystemError` too when
        the operation failed, `RuntimeError` while it is in flight."""
        if self.state == CLAIMED:
            raise RuntimeError("get_value() is not available while the operation is in flight")
        if self.error:
            raise operation_error(self.error, f"{MODES[self.opcode]} of descriptor {self.fd}")
        if self.opcode == OP_READ:
            if self.state == NEW:
                return b""
            return self.buffer if self.count == PyBytes_GET_SIZE(self.buffer) else self.buffer[:self.count]
        if self.opcode == OP_WRITE:
            return self.count
        return None

    def set_callback(self, callback):
        """Have `callback(result)` called when the operation has ended; `result` is a count, or a negative errno."""
        if not callable(callback):
            raise ValueError(f"callback must be callable, not {callback!r}")
        self.callback = callback
        return True

    @property
    def fileno(self):
        """The descriptor."""
        return <uint32_t>self.fd

    @property
    def offset(self):
        """Where in the file."""
        return self.position

    @property
    def nbytes(self):
        """How many bytes: as asked for, and after a read as came."""
        if self.opcode == OP_READ and self.state == DONE and not self.error:
            return self.count
        return self.size

    @property
    def payload(self):
        """The buffer: what is written, or what was read followed by zeros; None for a sync."""
        if self.state == CLAIMED:
            raise RuntimeError("payload is not available while the operation is in flight")
        if self.opcode == OP_READ and not self.is_clean:
            # Nobody may see old memory; but most programs ask for the value only, and that is not worth a memset.
            self.is_clean = self.state == DONE
            if self.count < self.size:
                memset(PyBytes_AS_STRING(self.buffer) + self.count, 0, self.size - self.count)
        return self.buffer

    @property
    def result(self):
        """How many bytes, or a negative errno; 0 before the end."""
        return -self.error if self.error else self.count

    def __repr__(self):
        cls = type(self)
        return (
            f'<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: mode="{MODES[self.opcode]}", fd={self.fileno}, '
            f"offset={self.position}, result={self.result}>"
        )

    cdef void describe(self, request *r) noexcept:
        """Fill in the request."""
        memset(r, 0, sizeof(request))
        r.fd = self.fd
        r.user_data = self.number
        if self.opcode == OP_READ or self.opcode == OP_WRITE:
            r.opcode = REQUEST_READ if self.opcode == OP_READ else REQUEST_WRITE
            r.addr = <uint64_t><size_t>PyBytes_AS_STRING(self.buffer)
            r.len = <uint32_t>self.size
            r.off = self.position
            if self.bounce != NULL:
                r.addr = <uint64_t><size_t>self.bounce
                if self.opcode == OP_READ:
                    r.off -= self.position % ALIGNMENT
                    r.len = <uint32_t>self.aligned_size()
        elif self.opcode != OP_NOOP:
            r.opcode = REQUEST_FSYNC
            if self.opcode == OP_FDSYNC:
                r.op_flags = REQUEST_DATASYNC

    cdef bint claim(self, object owner) noexcept:
        """Take it for `owner`, unless somebody has."""
        if self.state != NEW:
            return False
        self.state = CLAIMED
        self.owner = owner
        self.number = next_number()
        return True

    cdef Py_ssize_t aligned_size(self) noexcept:
        """Bytes of the aligned range around what a read wants."""
        return (<Py_ssize_t>(self.position % ALIGNMENT) + self.size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT

    cdef int align(self) except -1:
        """Have aligned memory when the descriptor asks for it."""
        cdef int flags
        if (self.opcode != OP_READ and self.opcode != OP_WRITE) or self.size == 0:
            return 0
        flags = fcntl(self.fd, F_GETFL)
        if flags < 0 or not flags & O_DIRECT or self.bounce != NULL:
            return 0
        if posix_memalign(<void **>&self.bounce, ALIGNMENT, self.aligned_size()):
            self.bounce = NULL
            raise MemoryError("no aligned memory for an O_DIRECT operation")
        if self.opcode == OP_WRITE:
            memcpy(self.bounce, PyBytes_AS_STRING(self.buffer), self.size)
        return 0

    cdef void unclaim(self) noexcept:
        self.state = NEW
        self.owner = None

    cdef int32_t end(self, int32_t result) noexcept:
        """It ended with a count or a negative errno; returns the same, of what was asked for."""
        cdef Py_ssize_t before
        if self.bounce != NULL and self.opcode == OP_READ and result >= 0:
            before = <Py_ssize_t>(self.position % ALIGNMENT)
            result = <int32_t>max(0, min(<Py_ssize_t>result - before, self.size))
            memcpy(PyBytes_AS_STRING(self.buffer), self.bounce + before, result)
        if result < 0:
            self.error = -result
        else:
            self.count = result
        self.state = DONE
        return result


cdef void call_back(Operation operation, int32_t result) noexcept:
    callback = operation.callback
    if callback is not None:
        try:
            callback(result)
        except BaseException:
            PyErr_WriteUnraisable(callback)


cdef class UringOperation(Operation):
    """io_uring AIO operation"""

    @property
    def context(self):
        """The context while the operation is in flight, None before and after."""
        return self.owner


cdef class LinuxOperation(Operation):
    """linux aio operation representation"""

    @property
    def context(self):
        """The context while the operation is in flight, None before and after."""
        return self.owner


cdef class ThreadOperation(Operation):
    """thread aio operation representation"""

    @property
    def payload(self):
        """As for the others, but a write that has ended has let go of its bytes."""
        if self.opcode == OP_WRITE and self.state == DONE:
            return None
        return Operation.payload.__get__(self)


cdef class PolledContext:
    """What contexts have whose completions are fetched: `poll`, `process_events`, `fileno`."""

    cdef object __weakref__
    cdef readonly unsigned max_requests
    """How many requests the context was made for."""
    cdef dict in_flight
    cdef long long delivered
    cdef int pid
    cdef int event_fd

    @property
    def fileno(self):
        """The eventfd, readable when something has completed."""
        return self.event_fd

    def poll(self):
        """Read the eventfd: how many completions since the last time. `BlockingIOError` when none."""
        cdef uint64_t count = 0
        self.check()
        if c_read(self.event_fd, &count, sizeof(count)) < 0:
            raise BlockingIOError(errno, "no completion since the last poll")
        return count

    cdef int check(self) except -1:
        if self.event_fd < 0:
            raise RuntimeError("this context is closed")
        if self.pid != os.getpid():
            raise RuntimeError(
                "this context belongs to the process that this one was forked from; make a new one in the child"
            )
        return 0

    cdef int fetch(self, completion *out, int limit) except -1:
        """Take completions, without waiting."""
        raise NotImplementedError

    cdef int hand_over(self) except -1:
        return 0

    cdef long deliver(self, long limit) except -1:
        """End up to `limit` operations, and only then call their callbacks."""
        cdef completion batch[BATCH]
        cdef int got, i
        cdef list ended = []
        cdef Operation operation
        while len(ended) < limit:
            got = self.fetch(batch, <int>min(<long>BATCH, limit - len(ended)))
            for i in range(got):
                operation = self.in_flight.pop(batch[i].user_data, None)
                if operation is None:
                    continue  # the answer to a cancellation
                ended.append((operation, operation.end(batch[i].result)))
                operation.owner = None
                self.delivered += 1
            if got == 0:
                break
        operation = None
        count = len(ended)
        ended.reverse()
        while ended:
            pair = ended.pop()
            call_back(pair[0], pair[1])
            pair = None
        return count

    def process_events(self, max_requests=512, min_requests=0, timeout=0):
        """End up to `max_requests` operations that have completed and call their callbacks; returns how many.

        With `min_requests` waits for so many, at most `timeout` seconds (for ever when negative), without the GIL. If
        another thread ends them meanwhile the wait is over too. `ValueError` when the minimum exceeds the maximum.
        """
        cdef long most = self.bounded(max_requests)
        cdef long least = operator.index(min_requests)
        cdef long count
        cdef long long target
        cdef pollfd waiting
        cdef int patience
        cdef uint64_t value
        if least > most:
            raise ValueError(f"min_requests={least} must not exceed max_requests={most}")
        self.check()
        self.hand_over()
        target = self.delivered + least
        count = self.deliver(most)
        if count >= least:
            return count
        deadline = None if timeout < 0 else time.monotonic() + timeout
        while self.delivered < target and count < most:
            # In slices: somebody else may read the eventfd that this waits for.
            patience = 100
            if deadline is not None:
                patience = <int>max(0, min(100, int((deadline - time.monotonic()) * 1000 + 0.999)))
            waiting.fd = self.event_fd
            waiting.events = POLLIN
            with nogil:
                c_poll(&waiting, 1, patience)
            self.check()
            c_read(self.event_fd, &value, sizeof(value))
            count += self.deliver(most - count)
            if deadline is not None and time.monotonic() >= deadline:
                break
        return count

    cdef long bounded(self, object limit) except -1:
        cdef long long wanted = operator.index(limit)
        if not 0 <= wanted <= MAX_EVENTS:
            raise OverflowError(f"max_requests={limit}: at most {MAX_EVENTS} at once")
        return <long>wanted

    cdef tuple claimable(self, tuple operations, type cls):
        if not operations:
            raise ValueError("submit() needs at least one Operation")
        for index, operation in enumerate(operations):
            if not isinstance(operation, cls):
                raise TypeError(f"argument {index} is not an Operation of this implementation: {operation!r}")
        return operations

    cdef void cancel_all(self) noexcept:
        pass

    def __del__(self):
        """End what is in flight, without callbacks; buffers of what does not end are kept for ever."""
        cdef completion batch[BATCH]
        cdef int got, i
        cdef pollfd waiting
        cdef uint64_t value
        cdef Operation operation
        if self.event_fd < 0 or self.in_flight is None or self.pid != os.getpid():
            return
        deadline = time.monotonic() + DRAIN_SECONDS
        try:
            self.hand_over()
            self.cancel_all()
            while self.in_flight:
                got = self.fetch(batch, BATCH)
                for i in range(got):
                    operation = self.in_flight.pop(batch[i].user_data, None)
                    if operation is not None:
                        operation.end(batch[i].result)
                        operation.owner = None
                if got:
                    continue
                if time.monotonic() > deadline:
                    break
                waiting.fd = self.event_fd
                waiting.events = POLLIN
                with nogil:
                    c_poll(&waiting, 1, 100)
                c_read(self.event_fd, &value, sizeof(value))
        finally:
            if self.in_flight:
                abandoned.append(self.in_flight)
                self.in_flight = {}


cdef class UringContext(PolledContext):
    """io_uring AIO context"""

    cdef ring ring

    def __cinit__(self, *args, **kwargs):
        self.event_fd = -1
        self.ring.fd = self.ring.eventfd = -1

    def __init__(self, max_requests=32, sqpoll=False):
        cdef unsigned size
        cdef int status = -1
        if self.event_fd >= 0:
            raise RuntimeError("a context is initialised once")
        wanted = operator.index(max_requests) or 32
        if not 0 < wanted <= 32768:
            raise ValueError(f"max_requests={wanted}: a ring has between 1 and 32768 entries")
        size = <unsigned>wanted
        if sqpoll:
            status = ring_open(&self.ring, size, SQPOLL_IDLE_MS)
        if status < 0:
            with nogil:
                status = ring_open(&self.ring, size, 0)
        if status < 0:
            raise operation_error(-status, "no io_uring")
        self.pid = os.getpid()
        self.event_fd = self.ring.eventfd
        self.max_requests = size
        self.in_flight = {}

    def __dealloc__(self):
        if self.event_fd >= 0:
            ring_close(&self.ring)

    @property
    def sqpoll(self):
        """Whether a kernel thread polls the submission queue."""
        return bool(self.ring.flags & RING_SQPOLL)

    def submit(self, *operations):
        """Put operations into the ring; `flush` hands them to the kernel. Returns how many; one that was begun before is
        skipped. `OverflowError` when the ring is full: those before it are in."""
        cdef Operation operation
        cdef request r
        cdef long count = 0
        self.claimable(operations, UringOperation)
        self.check()
        for operation in operations:
            operation.align()
            if not operation.claim(self):
                continue
            operation.describe(&r)
            if not ring_push(&self.ring, &r):
                operation.unclaim()
                raise OverflowError(
                    f"the ring of {self.max_requests} requests is full: {count} of {len(operations)} operations were "
                    "put in; flush() first"
                )
            self.in_flight[operation.number] = operation
            count += 1
        return count

    def flush(self):
        """Hand what was submitted to the kernel, then end what has completed. Returns how many operations ended."""
        self.check()
        self.hand_over()
        return self.deliver(MAX_EVENTS)

    def cancel(self, operation):
        """Ask the kernel to stop an operation; it still ends, with ECANCELED if there was time. Always 0."""
        cdef request r
        cdef Operation which
        if not isinstance(operation, UringOperation):
            raise TypeError(f"Operation required, not {operation!r}")
        self.check()
        which = operation
        memset(&r, 0, sizeof(r))
        r.opcode = REQUEST_ASYNC_CANCEL
        r.fd = -1
        r.addr = which.number
        if not ring_push(&self.ring, &r):
            self.hand_over()
            if not ring_push(&self.ring, &r):
                raise OverflowError("the ring is full: flush() first")
        self.hand_over()
        return 0

    cdef void cancel_all(self) noexcept:
        cdef request r
        for number in list(self.in_flight):
            memset(&r, 0, sizeof(r))
            r.opcode = REQUEST_ASYNC_CANCEL
            r.fd = -1
            r.addr = <uint64_t>number
            try:
                if not ring_push(&self.ring, &r):
                    self.hand_over()
                    ring_push(&self.ring, &r)
            except OSError:
                return
        try:
            self.hand_over()
        except OSError:
            return

    cdef int hand_over(self) except -1:
        cdef unsigned flags, count
        cdef int status
        while True:
            count = ring_to_submit(&self.ring, &flags)
            if self.ring.flags & RING_SQPOLL:
                if not flags and not ring_needs_enter(&self.ring):
                    return 0
            elif not count and not ring_needs_enter(&self.ring):
                return 0
            with nogil:
                status = ring_enter(&self.ring, count, 0, flags | <unsigned>RING_GETEVENTS)
            if status == -EAGAIN or status == -EBUSY or self.ring.flags & RING_SQPOLL:
                return 0  # the kernel is out of room: it takes them when completions have been fetched
            if status < 0:
                raise operation_error(-status, "io_uring_enter")
            if status == 0 or <unsigned>status >= count:
                return 0

    cdef int fetch(self, completion *out, int limit) except -1:
        cdef int got = ring_reap(&self.ring, out, limit)
        if got == 0 and ring_needs_enter(&self.ring):
            with nogil:
                ring_enter(&self.ring, 0, 0, <unsigned>RING_GETEVENTS)
            got = ring_reap(&self.ring, out, limit)
        return got

    def __repr__(self):
        cls = type(self)
        return (
            f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: max_requests={self.max_requests}, "
            f"uring_fd={self.ring.fd}, eventfd={self.event_fd}, sqpoll={int(self.sqpoll)}>"
        )


cdef class LinuxContext(PolledContext):
    """linux aio context representation"""

    cdef kernel_aio kernel

    def __cinit__(self, *args, **kwargs):
        self.event_fd = -1
        self.kernel.eventfd = -1

    def __init__(self, max_requests=32):
        cdef int status
        cdef unsigned capacity
        if self.event_fd >= 0:
            raise RuntimeError("a context is initialised once")
        wanted = operator.index(max_requests) or 32
        if not 0 < wanted <= 0x7FFFFFFF:
            raise ValueError(f"max_requests={wanted} must be positive")
        capacity = <unsigned>wanted
        with nogil:
            status = kernel_aio_open(&self.kernel, capacity, -1)
        if status < 0:
            raise operation_error(-status, f"io_setup for {capacity} requests (/proc/sys/fs/aio-max-nr bounds them)")
        self.pid = os.getpid()
        self.event_fd = self.kernel.eventfd
        self.max_requests = capacity
        self.in_flight = {}

    def __dealloc__(self):
        if self.event_fd >= 0:
            kernel_aio_close(&self.kernel)

    def submit(self, *operations):
        """Hand operations to the kernel. Returns how many it took, from the front; one that was begun before is skipped.

        Raises what is `OSError`, `SystemError` and `ValueError` when the kernel refuses the first one, `OverflowError` when it
        has no room at all.
        """
        cdef Operation operation
        cdef list taken = []
        cdef request requests[64]
        cdef const request *pointers[64]
        cdef int count, status, i
        cdef long total = 0, done = 0
        self.claimable(operations, LinuxOperation)
        self.check()
        for operation in operations:
            operation.align()
        for operation in operations:
            if operation.claim(self):
                self.in_flight[operation.number] = operation
                taken.append(operation)
        total = len(taken)
        status = 0
        while done < total:
            count = <int>min(64, total - done)
            for i in range(count):
                operation = taken[done + i]
                operation.describe(&requests[i])
                pointers[i] = &requests[i]
            with nogil:
                status = kernel_aio_submit(&self.kernel, pointers, count)
            if status <= 0:
                break
            self.kernel.in_flight += <unsigned>status
            done += status
        for i in range(done, total):
            operation = taken[i]
            del self.in_flight[operation.number]
            operation.unclaim()
        if done == 0 and status < 0:
            if status == -EAGAIN:
                raise OverflowError(f"the kernel's context for {self.max_requests} requests is full")
            operation = taken[0]
            raise submission_error(-status, f"{MODES[operation.opcode]} of descriptor {operation.fd}")
        return done

    def cancel(self, operation):
        """Kernel AIO cannot stop what it has begun: always `ValueError`, and the operation ends by itself."""
        if not isinstance(operation, LinuxOperation):
            raise TypeError(f"Operation required, not {operation!r}")
        self.check()
        raise ValueError(
            "this operation is not in flight in this context"
            if (<Operation>operation).owner is not self
            else "kernel AIO does not stop an operation that has begun"
        )

    cdef int fetch(self, completion *out, int limit) except -1:
        cdef int got
        with nogil:
            got = kernel_aio_reap(&self.kernel, out, limit, 0, 0.0)
        if got < 0:
            raise operation_error(-got, "io_getevents")
        self.kernel.in_flight -= <unsigned>got
        return got

    def __repr__(self):
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: max_requests={self.max_requests}>"


cdef class Courier:
    """The threads of one `ThreadContext`, and the thread that calls callbacks. Ends after what was submitted has ended.

    Not part of the context, which may be let go by a callback: by the courier's own thread, which cannot wait for itself.
    """

    cdef pool *pool
    cdef channel *channel
    cdef dict in_flight
    cdef bint is_started, is_closing, is_ended
    cdef object ended
    cdef unsigned long thread_id
    cdef int pid

    def __cinit__(self, unsigned threads):
        self.in_flight = {}
        self.ended = _thread.allocate_lock()
        self.pid = os.getpid()
        self.pool = pool_new(threads)
        self.channel = channel_new(self.pool) if self.pool != NULL else NULL
        if self.channel == NULL:
            raise MemoryError("no memory or no descriptor for a pool of threads")

    def __dealloc__(self):
        if not self.is_started or self.pid != os.getpid():
            if self.channel != NULL:
                channel_free(self.channel)
            if self.pool != NULL:
                pool_end(self.pool)

    cdef int start(self) except -1:
        if not self.is_started:
            self.ended.acquire()
            self.is_started = True
            try:
                _thread.start_new_thread(self.run, ())
            except BaseException:
                self.is_started = False
                self.ended.release()
                raise
        return 0

    def run(self):
        cdef completion batch[BATCH]
        cdef pollfd waiting
        cdef uint64_t value
        cdef int got, i
        cdef int32_t result
        cdef Operation operation
        self.thread_id = threading.get_ident()
        waiting.fd = self.channel.eventfd
        waiting.events = POLLIN
        while True:
            got = channel_reap(self.channel, batch, BATCH)
            for i in range(got):
                operation = self.in_flight.pop(batch[i].user_data)
                result = operation.end(batch[i].result)
                if operation.opcode == OP_WRITE:
                    operation.buffer = b""
                call_back(operation, result)
                operation.owner = None
                operation = None
            if got:
                continue
            if self.is_closing and self.channel.in_flight == 0:
                break
            with nogil:
                c_poll(&waiting, 1, -1)
                c_read(waiting.fd, &value, sizeof(value))
        self.is_ended = True
        with nogil:
            pool_end(self.pool)
            channel_free(self.channel)
        self.ended.release()

    cdef int close(self, double timeout=-1) except -1:
        """Have what was submitted end, then the threads. Waits for that, unless it is the courier who closes."""
        cdef uint64_t one = 1
        if not self.is_started or self.pid != os.getpid():
            self.is_closing = True
            return 0
        if not self.is_closing:
            self.is_closing = True
            c_write(self.channel.eventfd, &one, sizeof(one))
        if threading.get_ident() != self.thread_id and self.ended.acquire(True, timeout):
            self.ended.release()
        return 0


cdef class ThreadContext:
    """thread aio context"""

    cdef object __weakref__
    cdef readonly unsigned max_requests
    """How many operations may wait for a thread."""
    cdef readonly unsigned pool_size
    """How many threads."""
    cdef Courier courier

    def __init__(self, max_requests=512, pool_size=8):
        if self.courier is not None:
            raise RuntimeError("a context is initialised once")
        threads = operator.index(pool_size)
        requests = operator.index(max_requests)
        threads = 8 if threads <= 0 else threads
        requests = 512 if requests <= 0 else requests
        if threads > MAX_THREADS:
            raise ValueError(f"pool_size={threads} is too large: at most {MAX_THREADS}")
        if requests >= MAX_QUEUE - 1:
            raise ValueError(f"max_requests={requests} is too large: less than {MAX_QUEUE - 1}")
        self.max_requests = requests
        self.pool_size = threads
        self.courier = Courier(self.pool_size)
        contexts.add(self)

    def submit(self, *operations):
        """Have threads do operations. Returns how many; one that was begun before is skipped. `RuntimeError` when
        too many wait: those before it are being done."""
        cdef Operation operation
        cdef Courier courier = self.courier
        cdef request r
        cdef long count = 0
        cdef int status = 0
        if not operations:
            raise ValueError("submit() needs at least one Operation")
        for index, given in enumerate(operations):
            if not isinstance(given, ThreadOperation):
                raise TypeError(f"argument {index} is not an Operation of this implementation: {given!r}")
        if courier.is_closing:
            raise RuntimeError("this context is closed")
        if courier.pid != os.getpid():
            raise RuntimeError(
                "this context belongs to the process that this one was forked from; make a new one in the child"
            )
        courier.start()
        try:
            for operation in operations:
                if operation.state != NEW:
                    continue
                if courier.channel.in_flight >= self.max_requests + self.pool_size:
                    raise RuntimeError(
                        f"{courier.channel.in_flight} operations wait or run, max_requests={self.max_requests}: "
                        f"{count} of {len(operations)} were taken"
                    )
                operation.align()
                operation.claim(self)
                operation.describe(&r)
                if channel_push(courier.channel, &r) == NULL:
                    operation.unclaim()
                    raise MemoryError("no memory for another request")
                courier.in_flight[operation.number] = operation
                count += 1
        finally:
            status = channel_flush(courier.channel)
        if status < 0:
            raise RuntimeError("no thread could be started for this context; the operations wait for the next submit()")
        return count

    def cancel(self, *operations):
        """Threads do not stop what they were given: always 0."""
        return 0

    def close(self):
        """Wait for what was submitted and end the threads. Again: nothing happens."""
        self.courier.close()

    def __del__(self):
        if self.courier is not None:
            self.courier.close()

    def __repr__(self):
        cls = type(self)
        return (
            f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: max_requests={self.max_requests}, "
            f"pool_size={self.pool_size}>"
        )


contexts = weakref.WeakSet()


def _close_all():
    cdef Courier courier
    for context in list(contexts):
        courier = (<ThreadContext>context).courier
        if courier.is_started and courier.pid == os.getpid() and not courier.is_ended:
            channel_stop_waiting(courier.channel)  # nobody is left who would write into a pipe
        courier.close(DRAIN_SECONDS)


# Later a courier could not get the GIL any more, and whoever waited for it would wait for ever.
atexit.register(_close_all)


def probe_uring():
    """Raise `ImportError` with the reason where rings cannot be made."""
    cdef ring r
    cdef int status = ring_open(&r, 1, 0)
    if status < 0:
        raise ImportError(f"io_uring cannot be used here: {os.strerror(-status)}")
    ring_close(&r)


def probe_sqpoll():
    """Whether a ring with a polling kernel thread can be made."""
    cdef ring r
    if ring_open(&r, 1, 1) < 0:
        return False
    ring_close(&r)
    return True


def probe_linux():
    """Raise `ImportError` with the reason where kernel AIO cannot be used."""
    cdef kernel_aio k
    cdef int status = kernel_aio_open(&k, 1, -1)
    if status < 0:
        raise ImportError(f"kernel AIO cannot be used here: {os.strerror(-status)}")
    kernel_aio_close(&k)
