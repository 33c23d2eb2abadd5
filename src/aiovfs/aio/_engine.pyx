# cython: language_level=3, boundscheck=False, wraparound=False
"""What all engines in C share: starting operations, cache hits in place, ticks and drains, jobs for threads.

Cache hits. A read is first tried where it is asked for, with `RWF_NOWAIT`: what the page cache has is copied, and
nothing is waited for. That costs what a blocking read costs, and would let one busy task keep all others from running:
an `await` of something that is done does not suspend. So there is a *budget* a tick. When it is used up, reads are
*deferred*: their tasks suspend, and the next tick tries them again. The loop's timers and sockets have had their turn
by then.

What may be tried in place:
- not files opened with O_DIRECT: `RWF_NOWAIT` does not keep the kernel from waiting for the device there. Descriptors
  are looked at once a tick, as a number may come to mean another file;
- a file system that answers EOPNOTSUPP is asked again only after a while. FUSE is one of those: the kernel refuses
  before it asks the server, which may be waiting in this very thread;
- memory (tmpfs) answers EOPNOTSUPP too, and never waits for anything. F_GET_SEALS tells it from all others without
  asking a file system.

A tick (`pump`) begins when the loop calls us: deferred reads, completions, and what resumed tasks asked for is flushed
and collected again, at most `MOST_A_TICK` operations, then the loop has its turn.

A derived engine brings `submit`, `flush_queue`, `has_queued`, `reap_some`, `cancel_submitted` (see `_engine.pxd`) and
`close`, calls `begin` when it is ready, and hands each result to `ended`. It keeps a reference to every operation from
`submit` to `ended`.

- `submit(operation)` queues it: write down `operation.request`. Never complete it in there.
- `flush_queue()` gives the queue away. `need_tick()` after `submit` has that done in this tick.
- `reap_some(most)` calls `ended` for at most `most` that are done, and stops early when `self.failure` is set or
  `self.is_closed`. Returns their number.
- `cancel_submitted(operation)`: True when the caller may go on, see `aiovfs.aio.engine`.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.errno cimport EAGAIN, EINTR, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, errno
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

import os
import sys

from posix.unistd cimport close as close_fd

from aiovfs._loop import caller
from aiovfs.aio._operation cimport CANCELLED, DONE, PENDING, iovec, ring_sqe, row_of, statx_result
from aiovfs.aio.mounts import MOUNTINFO, local_devices
from aiovfs.aio.threads import Threads

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil
    PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    char *BytesData "PyBytes_AS_STRING"(PyObject *data) noexcept
    int PyUnicode_FSConverter(object path, PyObject **result) except 0

cdef extern from "aiovfs/aio/_cached.h" nogil:
    int cached_open(int directory, const char *path, uint64_t flags)
    int cached_fstat(int fd, statx_result *result)
    uint64_t cached_device(const statx_result *result)
    int cached_mounts_changed(int fd)
    int S_ISREG(int mode)
    int S_ISDIR(int mode)
    uint64_t O_PATH, O_NOFOLLOW, O_RDONLY
    int O_CREAT, O_TRUNC, O_TMPFILE, O_DIRECTORY

cdef extern from *:
    """
    #define _GNU_SOURCE 1
    #include <fcntl.h>
    #include <pthread.h>
    #include <stdint.h>
    #include <sys/syscall.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>
    #ifndef F_GET_SEALS
    #define F_GET_SEALS 1034
    #endif
    #ifndef O_DIRECT
    #define O_DIRECT 0
    #endif

    static long aiovfs_preadv2(int fd, const struct iovec *vectors, int count, int64_t offset, int flags)
    {
        return syscall(SYS_preadv2, fd, vectors, count, (long)offset, (long)(offset >> 16 >> 16), flags);
    }

    static int64_t aiovfs_now(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }

    static int aiovfs_forks = 0;
    static void aiovfs_forked(void) { aiovfs_forks++; }
    """
    long aiovfs_preadv2(int fd, const iovec *vectors, int count, int64_t offset, int flags) nogil
    long pwritev(int fd, const iovec *vectors, int count, int64_t offset) nogil
    int64_t aiovfs_now() nogil
    int aiovfs_forks
    void aiovfs_forked() noexcept nogil
    int pthread_atfork(void *prepare, void *parent, void (*child)() noexcept nogil) nogil
    int fcntl(int fd, int command, ...) nogil
    int F_GETFL, F_GET_SEALS, O_DIRECT

cdef enum:
    OP_READV = 1
    OP_WRITEV = 2
    OP_FSYNC = 3
    OP_READ = 22
    OP_WRITE = 23
    RWF_NOWAIT = 8
    FSYNC_DATASYNC = 1

    OP_OPENAT = 18
    OP_STATX = 21
    AT_FDCWD = -100
    AT_SYMLINK_NOFOLLOW = 0x100

cdef enum:
    IS_DIRECT = 1
    IS_MEMORY = 2
    IS_SERVED = 4
    IS_NOT_SERVED = 8

cdef enum:
    MOST_A_TICK = 256
    NS_A_TICK = 500000
    BUDGET = 64  # cache hits of up to 16 KiB in place, a tick
    BYTES_A_HIT = 16384
    LARGE = 262144  # bytes from which reading in place would hold up the loop for long
    GIL_FREE = 65536  # bytes from which giving up the GIL costs less than keeping it from others
    MOST_DESCRIPTORS = 65536
    TICKS_REFUSED = 1024
    SMALL_FILE = 262144

cdef uint32_t CHANGES = O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY)

pthread_atfork(NULL, NULL, aiovfs_forked)


cdef class NativeEngine(Host):
    def __cinit__(self, driver, *args, **kwargs):
        self.driver = driver
        self.loop = driver.loop
        self.call_soon = driver.call_soon
        self.task_type = driver.task_type
        self.is_trio = driver.library == "trio"
        self.generation = aiovfs_forks
        self.thread = PyThread_get_thread_ident()
        self.budget_per_tick = BUDGET
        self.tries_in_place = True
        self.budget = BUDGET
        self.jobs = set()
        memset(self.supports, 0, sizeof(self.supports))

    def __dealloc__(self):
        free(self.descriptors)

    # What a derived engine brings.

    cdef int submit(self, Operation operation) except -1:
        raise NotImplementedError

    cdef int flush_queue(self) except -1:
        raise NotImplementedError

    cdef int reap_some(self, int most) except -1:
        raise NotImplementedError

    cdef bint has_queued(self):
        return False

    cdef bint cancel_submitted(self, Operation operation) except -1:
        return False

    # What callers see.

    def perform(self, kind, *args):
        """Start an operation of the table with the parameters of its row; await what is returned for its value."""
        return self.start(row_of(kind), args)

    def call(self, func, *args):
        """Run a blocking function in a thread. A cancelled caller waits for its end."""
        return self.start(CALL, (func, *args))

    def read(self, int fd, size, offset):
        """`perform("read", fd, size, offset)`, faster."""
        return self.start(READ, (fd, size, offset))

    def readinto(self, int fd, buffer, offset):
        """`perform("readinto", fd, buffer, offset)`, faster."""
        return self.start(READINTO, (fd, buffer, offset))

    def write(self, int fd, data, offset):
        """`perform("write", fd, data, offset)`, faster."""
        return self.start(WRITE, (fd, data, offset))

    def perform_many(self, kind, parameters):
        """Start one operation of `kind` for each of `parameters`; one awaitable for all, its value the list of theirs.

        The first failure is raised when all have ended. Not for operations whose lost result would leak.
        """
        cdef Row row = row_of(kind)
        cdef list given = list(parameters)
        cdef Py_ssize_t count = len(given)
        cdef Py_ssize_t index
        cdef Operation operation
        cdef Operation child
        cdef list children
        self.check()
        if row.has_unwanted:
            raise ValueError(f"perform_many of {row.kind.name}: what one of them opened could be lost; start them singly")
        operation = Operation.__new__(Operation)
        operation.host = self
        operation.row = MANY
        operation.args = (row.kind, given)
        operation.value = [None] * count
        operation.left = count
        if count == 0:
            operation.state = DONE
            return operation
        children = []
        operation.keep = children
        for index in range(count):
            child = self.start(row, given[index] if type(given[index]) is tuple else tuple(given[index]))
            child.index = index
            if child.state == PENDING:
                child.parent = operation
                children.append(child)
            else:
                operation.child_ended(child)
        return operation

    def flush(self):
        """Hand everything that was submitted to whoever does it."""
        self.check()
        self.flush_queue()

    def reap(self):
        """Complete what has ended; the number of operations. Their tasks run in the loop's next tick."""
        self.check()
        return self.reap_some(MOST_A_TICK)

    def cancel(self, Operation operation):
        """Ask an operation to stop. True when its caller may go on."""
        return self.request_cancel(operation)

    def check_usable(self):
        """Raise `RuntimeError` unless this engine may be used from here."""
        self.check()

    @property
    def pid(self):
        return os.getpid() if self.generation == aiovfs_forks else -1

    # Starting.

    cdef bint is_foreign(self) noexcept:
        """In a forked child, where everything belongs to the parent."""
        return self.generation != aiovfs_forks

    cdef int check(self) except -1:
        if self.generation != aiovfs_forks:
            raise RuntimeError(
                "this engine belongs to the process that this one was forked from; ask aio.current() for a new one"
            )
        if self.thread != PyThread_get_thread_ident():
            raise RuntimeError(
                "this engine belongs to another thread's loop; call it from there, or use aio.current() in this one"
            )
        if self.is_closed:
            raise RuntimeError("this engine was closed with its loop; ask aio.current() for the running loop's")
        return 0

    cdef Operation start(self, Row row, tuple args):
        cdef Operation operation
        self.check()
        operation = Operation.__new__(Operation)
        operation.host = self
        if row.opcode < 0 or not self.supports[row.opcode]:
            if row is READ_FILE and self.tries_in_place and not self.lacks_cached and 0 < len(args) < 3:
                operation.row = row
                operation.args = args
                if self.budget <= 0 and not self.is_trio:
                    self.in_flight += 1
                    self.defer(operation)
                    return operation
                if self.try_file(operation):
                    return operation
            return self.start_job(operation, row, args)
        operation.prepare(row, args)
        self.in_flight += 1
        try:
            self.route(operation)
        except BaseException:
            self.in_flight -= 1
            raise
        return operation

    cdef int route(self, Operation operation) except -1:
        """In place if that is allowed and enough, later if there is no budget, else by the engine."""
        if self.may_try(operation):
            if self.budget > 0 or self.is_trio:
                if self.try_now(operation):
                    return 0
            elif operation.request.opcode != OP_WRITE and operation.request.opcode != OP_WRITEV:
                return self.defer(operation)
        return self.submit(operation)

    cdef bint may_try(self, Operation operation) noexcept:
        cdef int opcode = operation.request.opcode
        if not self.tries_in_place:
            return False
        if opcode == OP_READ or opcode == OP_READV or opcode == OP_WRITE or opcode == OP_WRITEV:
            return operation.size < LARGE and <int64_t>operation.request.off >= 0
        if opcode == OP_OPENAT:
            return not self.lacks_cached and not operation.request.op_flags & CHANGES
        return opcode == OP_STATX and not self.lacks_cached

    cdef int try_now(self, Operation operation) except -1:
        if operation.request.opcode == OP_STATX:
            return self.try_stat(operation)
        if operation.request.opcode == OP_OPENAT:
            return self.try_open(operation)
        return self.try_inline(operation)

    cdef int try_stat(self, Operation operation) except -1:
        """1 when the attributes were in memory, of a file system that asks nobody."""
        cdef ring_sqe *request = &operation.request
        cdef statx_result *got = <statx_result *>operation.attributes
        cdef const char *path = <const char *><uintptr_t>request.addr
        cdef int fd = request.fd
        cdef int result
        self.budget -= 1
        if path[0]:
            fd = cached_open(
                request.fd, path, O_PATH | (O_NOFOLLOW if request.op_flags & AT_SYMLINK_NOFOLLOW else 0)
            )
            if fd < 0:
                self.misses += 1
                if fd == -ENOSYS or fd == -EINVAL or fd == -EPERM:
                    self.lacks_cached = True
                return 0
        result = cached_fstat(fd, got)
        if path[0]:
            close_fd(fd)
        if result < 0 or not self.is_local(cached_device(got)):
            self.misses += 1
            return 0
        self.hits += 1
        self.ended(operation, 0)
        return 1

    cdef int try_open(self, Operation operation) except -1:
        """1 when the path was in memory, and of a file system that asks nobody.

        A ring tries an open in place too, as long as the *lookup* need not wait; the file system's own open may still
        ask its server, while this thread is in the kernel. So what is not opened here is opened by another thread.
        """
        cdef ring_sqe *request = &operation.request
        cdef statx_result got
        cdef int fd
        self.budget -= 1
        fd = self.open_local(request.fd, <const char *><uintptr_t>request.addr, request.op_flags, &got)
        if fd < 0:
            self.misses += 1
            return 0
        self.hits += 1
        self.ended(operation, fd)
        return 1

    cdef int open_local(self, int directory, const char *path, uint64_t flags, statx_result *got) except -200:
        """A descriptor of a regular file or directory that can be opened without asking anybody; negative if it cannot.

        What is opened by another name in between is no matter: it is as local, unless somebody mounts there just now.
        """
        cdef int result
        cdef int fd = cached_open(directory, path, O_PATH | (flags & O_NOFOLLOW))
        if fd < 0:
            if fd == -ENOSYS or fd == -EINVAL or fd == -EPERM:
                self.lacks_cached = True
            return fd
        result = cached_fstat(fd, got)
        close_fd(fd)
        if result < 0:
            return result
        if not (S_ISREG(got.stx_mode) or S_ISDIR(got.stx_mode)) or not self.is_local(cached_device(got)):
            return -EAGAIN
        return cached_open(directory, path, flags)

    cdef bint try_file(self, Operation operation) except -1:
        """1 when it was a small file whose content is in memory; 0 when it was not, or not certain to be."""
        content = self.cached_file(operation.args[0], operation.args[1] if len(operation.args) == 2 else None)
        if content is None:
            self.misses += 1
            return False
        self.hits += 1
        operation.value = content
        operation.settle(DONE)
        return True

    cdef bytes cached_file(self, object path, object limit):
        cdef PyObject *encoded = NULL
        cdef PyObject *data
        cdef statx_result got
        cdef iovec vector
        cdef int64_t most
        cdef int fd
        cdef bint is_memory
        cdef long count = -1
        if self.lacks_cached or (limit is not None and limit < 0):
            return None
        try:
            PyUnicode_FSConverter(path, &encoded)
        except (TypeError, ValueError):
            return None
        name = <bytes>encoded
        Py_XDECREF(encoded)
        self.budget -= 1
        fd = self.open_local(AT_FDCWD, name, O_RDONLY, &got)
        if fd < 0:
            return None
        if not S_ISREG(got.stx_mode):
            close_fd(fd)
            return None
        most = <int64_t>got.stx_size + 1
        if limit is not None and limit < most:
            most = limit
        if most > SMALL_FILE:
            close_fd(fd)
            return None
        self.budget -= <int>(most / BYTES_A_HIT)
        try:
            data = PyBytes_FromStringAndSize(NULL, most)
            vector.iov_base = BytesData(data)
            vector.iov_len = most
            is_memory = fcntl(fd, F_GET_SEALS) >= 0
            count = aiovfs_preadv2(fd, &vector, 1, 0, 0 if is_memory else RWF_NOWAIT)
        finally:
            close_fd(fd)
        if count < 0 or (count == most and limit is None) or (count < most and count != <int64_t>got.stx_size):
            Py_XDECREF(data)  # not all in memory, or it changes right now
            return None
        if count != most:
            _PyBytes_Resize(&data, count)
        value = <bytes>data
        Py_XDECREF(data)
        return value

    cdef bint is_local(self, uint64_t device) except -1:
        """Is it the device of a file system that asks nobody but a disk? The table of mounts is looked at once a tick."""
        if self.mounts_tick != self.tick_number or self.local is None:
            self.mounts_tick = self.tick_number
            local = current_devices()
            if local is not self.local:
                self.local = local
                self.last_local = 0
        if device == self.last_local and device:
            return True
        if device in self.local:
            self.last_local = device
            return True
        return False

    cdef int defer(self, Operation operation) except -1:
        operation.is_queued = True
        if self.deferred_last is None:
            self.deferred = operation
        else:
            self.deferred_last.next = operation
        self.deferred_last = operation
        return self.need_tick()

    cdef int run_deferred(self) except -1:
        """Try again what was deferred before this tick."""
        cdef Operation operation = self.deferred
        cdef Operation following
        self.deferred = None
        self.deferred_last = None
        while operation is not None:
            following = operation.next
            operation.next = None
            operation.is_queued = False
            if operation.state != PENDING:
                self.in_flight -= 1
                operation.release()
            elif self.is_closed:
                self.ended(operation, -125)
            elif operation.row is READ_FILE:
                self.in_flight -= 1
                if not self.try_file(operation):
                    self.start_job(operation, READ_FILE, operation.args)
            elif not self.try_now(operation):
                self.submit(operation)
            operation = following
        return 0

    cdef int try_inline(self, Operation operation) except -1:
        """1 when it is done, 0 when the engine has to do (the rest of) it."""
        cdef ring_sqe *request = &operation.request
        cdef iovec one
        cdef const iovec *vectors
        cdef int count
        cdef int flags
        cdef bint is_read = request.opcode == OP_READ or request.opcode == OP_READV
        cdef bint is_memory
        cdef long done
        cdef int number
        flags = self.look_at(request.fd)
        if flags & IS_DIRECT:
            return 0
        is_memory = (flags & IS_MEMORY) != 0 and fcntl(request.fd, F_GET_SEALS) >= 0
        if not is_memory and (
            not is_read or self.descriptors == NULL or request.fd >= self.descriptors_size
            or self.descriptors[request.fd].refused_until > self.tick_number
        ):
            return 0
        self.budget -= 1 + <int>(operation.size / BYTES_A_HIT)
        while True:
            if request.opcode == OP_READ or request.opcode == OP_WRITE:
                one.iov_base = <void *><uintptr_t>request.addr
                one.iov_len = request.len
                vectors = &one
                count = 1
            else:
                vectors = <iovec *><uintptr_t>request.addr
                count = request.len
            if request.len >= GIL_FREE:
                with nogil:
                    if is_read:
                        done = aiovfs_preadv2(request.fd, vectors, count, <int64_t>request.off,
                                              0 if is_memory else RWF_NOWAIT)
                    else:
                        done = pwritev(request.fd, vectors, count, <int64_t>request.off)
                    number = errno
            else:
                if is_read:
                    done = aiovfs_preadv2(request.fd, vectors, count, <int64_t>request.off,
                                          0 if is_memory else RWF_NOWAIT)
                else:
                    done = pwritev(request.fd, vectors, count, <int64_t>request.off)
                number = errno
            if done < 0:
                if number == EINTR:
                    continue
                if number == EOPNOTSUPP and not is_memory and request.fd < self.descriptors_size:
                    self.descriptors[request.fd].refused_until = self.tick_number + TICKS_REFUSED
                else:
                    self.misses += 1
                return 0  # the engine waits for what is missing, or reports the error
            if operation.size == 0 or done == 0 or not operation.advance(done):
                self.hits += 1
                self.ended(operation, 0)  # `finished` has the count
                return 1

    cdef int look_at(self, int fd) except -1:
        """What a descriptor is, found out once a tick."""
        cdef int size
        cdef int flags
        cdef Descriptor *known
        if fd < 0 or fd >= MOST_DESCRIPTORS:
            return IS_DIRECT
        if fd >= self.descriptors_size:
            size = max(64, 2 * fd)
            known = <Descriptor *>realloc(self.descriptors, size * sizeof(Descriptor))
            if known == NULL:
                raise MemoryError
            memset(known + self.descriptors_size, 0, (size - self.descriptors_size) * sizeof(Descriptor))
            self.descriptors = known
            self.descriptors_size = size
        known = &self.descriptors[fd]
        if known.tick != self.tick_number:
            known.tick = self.tick_number
            flags = fcntl(fd, F_GETFL)
            if flags < 0 or flags & O_DIRECT:
                known.flags = IS_DIRECT
            else:
                known.flags = IS_MEMORY if fcntl(fd, F_GET_SEALS) >= 0 else 0
        return known.flags

    cdef bint is_served(self, int fd) except -1:
        """Could a call on this descriptor, also one that may not wait, ask a server, that is in this very thread?

        A ring asks a file for readiness (poll) before it reads in place, and FUSE passes that on and waits. So rings
        leave files that are not known to be local to other threads. Found out once a tick.
        """
        cdef int flags = self.look_at(fd)
        if fd < 0 or fd >= MOST_DESCRIPTORS:
            return self.asks_server(fd)
        if not flags & (IS_SERVED | IS_NOT_SERVED):
            flags |= IS_SERVED if self.asks_server(fd) else IS_NOT_SERVED
            self.descriptors[fd].flags = flags
        return (flags & IS_SERVED) != 0

    cdef bint asks_server(self, int fd) except -1:
        cdef statx_result got
        if cached_fstat(fd, &got) < 0:
            return False  # no such descriptor: whoever uses it reports that
        return (S_ISREG(got.stx_mode) or S_ISDIR(got.stx_mode)) and not self.is_local(cached_device(&got))

    # Jobs for threads: what no kernel interface does.

    cdef Operation start_job(self, Operation operation, Row row, tuple args):
        operation.row = row
        operation.args = args
        if self.threads is None:
            self.threads = Threads()
        job = Job(self, operation, row.kind.blocking, args)
        operation.job = job
        self.jobs.add(job)
        self.in_flight += 1
        self.jobs_started += 1
        try:
            self.threads.put(job)
        except BaseException:
            self.jobs.discard(job)
            self.in_flight -= 1
            operation.job = None
            raise
        return operation

    def job_ended(self, job, Operation operation, value, error):
        """A thread has done a job. On the loop's thread."""
        if job not in self.jobs:
            return
        self.jobs.discard(job)
        self.in_flight -= 1
        operation.job = None
        self.may_resume = not self.driver.is_in_task()
        if error is not None:
            operation.fail(error)
        elif operation.state == PENDING:
            operation.value = value
            operation.settle(1)
        self.may_resume = False
        self.after_work()

    cdef int after_work(self) except -1:
        if self.in_flight == 0 and self.emptied is not None:
            self.emptied()
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return 0

    # Ticks.

    cdef int begin(self) except -1:
        """To be called by a derived engine when it can work."""
        self.tick_callback = self.flush_tick if self.is_trio else self.tick
        self.driver.close_with_loop(self)
        return 0

    cdef int need_tick(self) except -1:
        """Have what is queued flushed before the loop waits."""
        if not self.is_tick_scheduled and not self.is_draining:
            self.driver.on_tick(self.tick_callback)
            self.is_tick_scheduled = True
        return 0

    def tick(self):
        self.is_tick_scheduled = False
        self.pump()

    def flush_tick(self):
        """Trio is about to wait: start work, complete none."""
        self.is_tick_scheduled = False
        self.tick_number += 1
        self.budget = self.budget_per_tick
        if not self.is_closed and not self.is_foreign():
            try:
                self.flush_queue()
            except BaseException as error:
                self.failure = error

    def drain(self):
        """The loop says that there are completions."""
        self.pump()

    cdef int pump(self) except -1:
        cdef int total = 0
        cdef int count
        cdef int64_t until
        if self.is_closed or self.is_draining or self.is_foreign():
            return 0
        self.tick_number += 1
        self.budget = self.budget_per_tick
        self.is_draining = True
        self.may_resume = not self.driver.is_in_task()
        try:
            until = aiovfs_now() + NS_A_TICK
            if self.deferred is not None:
                self.run_deferred()
            while not self.is_closed and self.failure is None:
                count = self.reap_some(MOST_A_TICK - total)
                total += count
                if self.is_closed:
                    break
                if self.has_queued():
                    self.flush_queue()
                elif count == 0:
                    break
                if total >= MOST_A_TICK or aiovfs_now() >= until:
                    break
        finally:
            self.is_draining = False
            self.may_resume = False
        if not self.is_closed and (self.deferred is not None or self.has_queued()):
            self.need_tick()
        return self.after_work()

    cdef void ended(self, Operation operation, int64_t result):
        """The request of `operation` has ended with `result` or -errno. On the loop's thread."""
        try:
            if operation.state == PENDING and not self.is_closed:
                if result == -EINTR and not operation.is_cancel_requested:
                    self.submit(operation)
                    return
                if operation.row.is_whole and result >= 0:
                    if result > 0 and operation.advance(result):
                        self.submit(operation)
                        return
                    result = operation.finished
                    if operation.sync:
                        self.begin_sync(operation)
                        return
            elif operation.row.is_whole and result >= 0:
                result = operation.finished + result
        except BaseException as error:
            self.in_flight -= 1
            operation.fail(error)
            return
        self.in_flight -= 1
        operation.complete(result)

    cdef int begin_sync(self, Operation operation) except -1:
        cdef int flags = FSYNC_DATASYNC if operation.sync == 2 else 0
        cdef int fd = operation.request.fd
        operation.sync = 0
        memset(&operation.request, 0, sizeof(ring_sqe))
        operation.request.opcode = OP_FSYNC
        operation.request.fd = fd
        operation.request.op_flags = flags
        return self.submit(operation)

    # Cancelling.

    cdef bint request_cancel(self, Operation operation) except -1:
        cdef Operation child
        cdef bint may_go_on = True
        if operation.row is MANY:
            for each in list(operation.keep or ()):
                child = <Operation>each
                if child.state == PENDING and not child.cancel():
                    may_go_on = False
            return may_go_on
        if operation.job is not None:
            if not self.threads.take_back(operation.job):
                return False
            self.jobs.discard(operation.job)
            self.in_flight -= 1
            return True
        self.check()
        if operation.is_queued:
            return True  # nobody has begun with it; whoever has it in a queue drops it
        return self.cancel_submitted(operation)


# The table of mounts, one for the process: the kernel tells each open description of it once that it has changed.
cdef int mounts_fd = -1
cdef int mounts_forks = 0
cdef object mounts_local = None


cdef object current_devices():
    """The devices of local file systems, as of now."""
    global mounts_fd, mounts_forks, mounts_local
    if mounts_fd < 0 or mounts_forks != aiovfs_forks:
        if mounts_fd >= 0:
            close_fd(mounts_fd)  # the parent's
        mounts_forks = aiovfs_forks
        mounts_local = None
        mounts_fd = -1
    try:
        if mounts_fd < 0:
            mounts_fd = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        if mounts_local is None or cached_mounts_changed(mounts_fd):
            # A change while it is read is told the next time.
            mounts_local = local_devices()
    except OSError:
        return frozenset()  # no /proc: nothing is known to be local
    return mounts_local


class Job:
    """A blocking call for a thread, and how its end reaches the loop."""

    __slots__ = ("args", "engine", "func", "operation")

    def __init__(self, engine, operation, func, args):
        self.engine = engine
        self.operation = operation
        self.func = func
        self.args = args

    def __call__(self):
        value = error = None
        try:
            value = self.func(*self.args)
        except BaseException as exc:
            error = exc
        engine = self.engine
        engine.driver.call_threadsafe(engine.job_ended, self, self.operation, value, error)


cdef Row READ = row_of("read")
cdef Row READINTO = row_of("readinto")
cdef Row WRITE = row_of("write")
cdef Row CALL = row_of("call")
cdef Row MANY = row_of("many")
cdef Row READ_FILE = row_of("read_file")


# The engine of the running loop, found fast. The whole way is `aiovfs.aio.engine.current`, which also makes engines.

cdef object _running_loop = None
cdef object _current_task = None
cdef object _caller_state = caller._state
cdef object _find = None
cdef dict _modules = sys.modules
cdef object _last_loop = None
cdef NativeEngine _last_engine = None


def set_finder(find, running_loop, current_task):
    """`find()` is the whole way; `running_loop()` and `current_task()` are asyncio's."""
    global _find, _running_loop, _current_task
    _find = find
    _running_loop = running_loop
    _current_task = current_task


cdef object find_engine():
    """The engine that serves the task that runs here."""
    global _last_engine, _last_loop
    cdef NativeEngine engine = _last_engine
    loop = _running_loop()
    # A running task of asyncio is what it says; anything else (Trio, callbacks, synchronous callers) is looked at closely.
    if loop is None or _caller_state.is_driving:
        return _find()
    if loop is _last_loop and engine is not None and not engine.is_closed and engine.generation == aiovfs_forks:
        if "trio" not in _modules or _current_task(loop) is not None:  # in Trio's guest mode both run
            return engine
    found = _find()
    if isinstance(found, NativeEngine) and (<NativeEngine>found).loop is loop:
        _last_loop = loop
        _last_engine = <NativeEngine>found
    return found


def perform(kind, *args):
    """`current().perform(kind, *args)`."""
    cdef object engine = find_engine()
    if isinstance(engine, NativeEngine):
        return (<NativeEngine>engine).start(row_of(kind), args)
    return engine.perform(kind, *args)


def forget(NativeEngine engine):
    """Drop what is remembered of a closed engine."""
    global _last_engine, _last_loop
    if _last_engine is engine:
        _last_engine = None
        _last_loop = None
