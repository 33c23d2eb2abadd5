"""What engines in C share: a row of the table, the operation, and what an operation asks of its engine."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "aiovfs/aio/_ring.h" nogil:
    struct ring_sqe:
        uint8_t opcode
        uint8_t flags
        uint16_t ioprio
        int32_t fd
        uint64_t off
        uint64_t addr
        uint32_t len
        uint32_t op_flags
        uint64_t user_data
        uint16_t buf_index
        uint16_t personality
        int32_t splice_fd_in
        uint64_t addr3
        uint64_t pad


cdef extern from "aiovfs/aio/_statx.h" nogil:
    struct statx_time:
        int64_t tv_sec
        uint32_t tv_nsec
    struct statx_result:
        uint32_t stx_blksize
        uint32_t stx_nlink, stx_uid, stx_gid
        uint16_t stx_mode
        uint64_t stx_ino, stx_size, stx_blocks
        statx_time stx_atime, stx_ctime, stx_mtime
        uint32_t stx_rdev_major, stx_rdev_minor, stx_dev_major, stx_dev_minor
    uint64_t makedev(uint32_t major, uint32_t minor)


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef enum State:
    PENDING = 0
    DONE = 1
    CANCELLED = 2


cdef struct Parameter:
    int how
    int slot


cdef class Row:
    """A row of `operations.KINDS`, as C reads it."""

    cdef readonly object kind
    cdef readonly int number
    cdef readonly int opcode
    cdef int value
    cdef bint is_whole
    cdef bint detaches
    cdef bint has_unwanted
    cdef bint has_library_buffer
    cdef int count
    cdef int required
    cdef Parameter parameters[8]
    cdef tuple defaults
    cdef ring_sqe constants


cdef class Host:
    """What an operation asks of the engine that does it."""

    cdef readonly object driver
    cdef readonly object loop
    cdef object call_soon
    cdef object task_type
    cdef readonly bint is_trio
    cdef bint may_resume
    cdef object failure
    cdef int budget

    cdef bint request_cancel(self, Operation operation) except -1
    cdef int need_tick(self) except -1


cdef class Operation:
    """One disk operation and its awaitable.

    For engines: `request` says what to do, as a submission entry says it (addresses point into memory that this object
    keeps until `complete`). Hold a reference while the request is worked at; then, on the loop's thread and outside of
    any task's step, hand the result to `Engine.ended`.
    """

    cdef ring_sqe request
    cdef readonly Row row
    cdef Host host
    cdef tuple args
    cdef int state
    cdef bint is_blocking
    cdef bint is_waking
    cdef bint is_cancel_requested
    cdef bint is_queued
    cdef bint owns_fd
    cdef int fd
    cdef int sync
    cdef int64_t size
    cdef int64_t finished
    cdef uint64_t serial
    cdef object value
    cdef object error
    cdef object message
    cdef object keep
    cdef PyObject *data
    cdef Py_buffer view
    cdef bint has_view
    cdef Py_buffer *views
    cdef int views_count
    cdef iovec *vectors
    cdef int vectors_count
    cdef void *attributes
    cdef object callback
    cdef object context
    cdef list more
    cdef object job
    cdef Operation next
    cdef Operation parent
    cdef int index
    cdef int left

    cdef int prepare(self, Row row, tuple args) except -1
    cdef bint advance(self, int64_t count) noexcept
    cdef void complete(self, int64_t result)
    cdef void fail(self, object error)
    cdef void settle(self, int state)
    cdef void child_ended(self, Operation child)
    cdef void release(self) noexcept
    cdef void call_back(self, object callback, object context)
    cdef object make_value(self, int64_t result)
    cdef object deliver(self)
    cdef int call_soon(self, object callback, object context) except -1
    cdef int prepare_vectors(self, object buffers, int flags) except -1
    cdef int hold(self, object kept) except -1


cdef Row row_of(object kind)
