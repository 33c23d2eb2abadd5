# cython: language_level=3, boundscheck=False, wraparound=False
"""`operation.Operation` in C: a request to the kernel, the memory it uses, and the future that a task waits on.

What is here and not in the reference is speed, and memory:

- A task that waits is resumed straight from the engine's drain, in its own context, without `call_soon` and a handle:
  only a task's own wakeup is called so, every other callback goes the way that the future protocol says.
- The kernel writes into memory that this object keeps. It is let go in `complete`, which is called once the kernel has
  said that it is done, and nowhere else; a cancelled caller changes nothing about that.

Rules for people who edit this
- Finish all bookkeeping before calling back: a resumed task may do anything, also close the engine.
- `am_send` is set by hand below, since Cython has no word for it: an awaited operation then answers without raising
  StopIteration. Python 3.12 and later ask `__next__` instead.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.unistd cimport close

import os

from aiovfs.aio.operation import error_of
from aiovfs.aio.operations import KINDS, How, Value

cdef extern from "Python.h":
    ctypedef struct PyAsyncMethods:
        void *am_send
    ctypedef struct TypeWithAsync "PyTypeObject":
        PyAsyncMethods *tp_as_async
    PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    char *BytesData "PyBytes_AS_STRING"(PyObject *data) noexcept
    int PyUnicode_FSConverter(object path, PyObject **result) except 0
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    bint PyCFunction_Check(object function) noexcept
    PyObject *PyCFunction_GET_SELF(object function) noexcept
    PyObject *PyObject_CallOneArg(object function, object argument)
    object PyStructSequence_New(PyTypeObject *type)
    void PyStructSequence_SetItem(object sequence, Py_ssize_t index, PyObject *value) noexcept
    PyObject *PyLong_FromLongLong(long long number)
    PyObject *PyLong_FromUnsignedLongLong(unsigned long long number)
    PyObject *PyFloat_FromDouble(double number)
    bint PyObject_TypeCheck(PyObject *instance, PyTypeObject *type) noexcept

cdef enum:
    ECANCELED = 125
    AT_FDCWD = -100
    AT_SYMLINK_NOFOLLOW = 0x100
    AT_SYMLINK_FOLLOW = 0x400
    OP_READV = 1
    OP_WRITEV = 2
    OP_STATX = 21
    PYGEN_RETURN = 0
    PYGEN_ERROR = -1
    PYGEN_NEXT = 1

cdef enum:
    VALUE = 0
    DIR_FD = 1
    PATH = 2
    NAME = 3
    SIZE = 4
    TARGET = 5
    SOURCE = 6
    TARGETS = 7
    SOURCES = 8
    FOLLOW = 9
    FOLLOW_OLD = 10
    FLAG = 11

cdef enum:
    NOTHING = 0
    COUNT = 1
    BYTES = 2
    FD = 3
    STAT = 4

cdef enum:
    SLOT_FD = 0
    SLOT_OFF = 1
    SLOT_ADDR = 2
    SLOT_LEN = 3
    SLOT_FLAGS = 4
    SLOT_ADDR3 = 5
    SLOT_SYNC = 6

cdef enum:
    MOST_AT_ONCE = 0x7FFFF000  # bytes that Linux moves in one call

SLOTS = {"fd": SLOT_FD, "off": SLOT_OFF, "addr": SLOT_ADDR, "len": SLOT_LEN, "flags": SLOT_FLAGS, "addr3": SLOT_ADDR3,
         "sync": SLOT_SYNC}

assert [how.name for how in How] == [
    "VALUE", "DIR_FD", "PATH", "NAME", "SIZE", "TARGET", "SOURCE", "TARGETS", "SOURCES", "FOLLOW", "FOLLOW_OLD", "FLAG"
]
assert [value.name for value in Value] == ["NOTHING", "COUNT", "BYTES", "FD", "STAT", "ANY"]

cdef const char *EMPTY_PATH = ""
cdef object stat_result = os.stat_result
cdef Py_ssize_t STAT_FIELDS = os.stat_result.n_fields


cdef class Row:
    def __init__(self, kind):
        self.kind = kind
        self.number = kind.number
        self.opcode = kind.opcode
        self.value = kind.value
        self.is_whole = kind.is_whole
        self.detaches = kind.detaches
        self.has_unwanted = kind.unwanted is not None
        assert not self.has_unwanted or kind.value is Value.FD
        self.count = len(kind.parameters)
        self.defaults = tuple([parameter.default for parameter in kind.parameters])
        self.required = 0
        for index, parameter in enumerate(kind.parameters):
            self.parameters[index].how = parameter.how
            self.parameters[index].slot = SLOTS[parameter.slot]
            if parameter.default is ...:
                self.required = index + 1
            if parameter.how is How.SIZE:
                self.has_library_buffer = True
        memset(&self.constants, 0, sizeof(ring_sqe))
        if self.opcode >= 0:
            self.constants.opcode = self.opcode
        for slot, number in kind.constants.items():
            put(&self.constants, SLOTS[slot], number)

    def __repr__(self):
        return f"<row {self.number} {self.kind.name}>"


cdef inline int put(ring_sqe *request, int slot, int64_t number) except -1:
    if slot == SLOT_FD:
        request.fd = <int32_t>number
    elif slot == SLOT_OFF:
        request.off = <uint64_t>number
    elif slot == SLOT_ADDR:
        request.addr = <uint64_t>number
    elif slot == SLOT_LEN:
        request.len = <uint32_t>number
    elif slot == SLOT_FLAGS:
        request.op_flags |= <uint32_t>number
    elif slot == SLOT_ADDR3:
        request.addr3 = <uint64_t>number
    return 0


cdef dict ROWS = {kind.name: Row(kind) for kind in KINDS}


cdef Row row_of(object kind):
    """The row of a `Kind`, or of a name. Raises `ValueError` for a name that the table does not have."""
    if type(kind) is Row:
        return <Row>kind
    row = ROWS.get(kind if type(kind) is str else kind.name)
    if row is None:
        raise ValueError(f"no disk operation is called {kind!r}; there are {', '.join(ROWS)}")
    return <Row>row


def row(kind):
    """The row of a `Kind`, or of a name: faster to hand to `perform` than either."""
    return row_of(kind)


cdef class Host:
    cdef bint request_cancel(self, Operation operation) except -1:
        return False

    cdef int need_tick(self) except -1:
        return 0


@cython.freelist(512)
cdef class Operation:
    # What engines do.

    cdef int prepare(self, Row row, tuple args) except -1:
        """Fill `request` from the parameters of `row`."""
        cdef Py_ssize_t given = len(args)
        cdef Py_ssize_t index
        cdef object argument
        cdef PyObject *path = NULL
        cdef int64_t size
        cdef Parameter *parameter
        self.row = row
        self.args = args
        if given < row.required or given > row.count:
            names = ", ".join([each.name for each in row.kind.parameters])
            raise TypeError(f"{row.kind.name}({names}) got {given} parameters")
        self.request = row.constants
        for index in range(row.count):
            parameter = &row.parameters[index]
            argument = args[index] if index < given else row.defaults[index]
            if parameter.how == VALUE:
                put(&self.request, parameter.slot, <int64_t>argument)
            elif parameter.how == DIR_FD:
                put(&self.request, parameter.slot, AT_FDCWD if argument is None else <int64_t>argument)
            elif parameter.how == PATH or parameter.how == NAME:
                PyUnicode_FSConverter(argument, &path)
                encoded = <bytes>path
                Py_XDECREF(path)
                self.hold(encoded)
                put(&self.request, parameter.slot, <int64_t><size_t>PyBytes_AS_STRING(encoded))
            elif parameter.how == SIZE:
                size = argument
                if size < 0:
                    raise ValueError(f"{row.kind.name} of {size} bytes; a size is 0 or more")
                self.data = PyBytes_FromStringAndSize(NULL, size)
                self.size = size
                put(&self.request, parameter.slot, <int64_t><size_t>BytesData(self.data))
                self.request.len = <uint32_t>min(size, <int64_t>MOST_AT_ONCE)
            elif parameter.how == TARGET or parameter.how == SOURCE:
                PyObject_GetBuffer(
                    argument, &self.view, PyBUF_WRITABLE if parameter.how == TARGET else PyBUF_SIMPLE
                )
                self.has_view = True
                self.size = self.view.len
                put(&self.request, parameter.slot, <int64_t><size_t>self.view.buf)
                self.request.len = <uint32_t>min(<int64_t>self.view.len, <int64_t>MOST_AT_ONCE)
            elif parameter.how == TARGETS or parameter.how == SOURCES:
                self.prepare_vectors(argument, PyBUF_WRITABLE if parameter.how == TARGETS else PyBUF_SIMPLE)
            elif parameter.how == FOLLOW:
                if not argument:
                    self.request.op_flags |= AT_SYMLINK_NOFOLLOW
            elif parameter.how == FOLLOW_OLD:
                if argument:
                    self.request.op_flags |= AT_SYMLINK_FOLLOW
            elif parameter.slot == SLOT_SYNC:
                self.sync = 2 if argument else 1
        if row.opcode == OP_STATX:
            self.attributes = calloc(1, sizeof(statx_result))
            if self.attributes == NULL:
                raise MemoryError
            self.request.off = <uint64_t><size_t>self.attributes
            if self.request.addr == 0:
                self.request.addr = <uint64_t><size_t>EMPTY_PATH  # the descriptor itself
        return 0

    cdef int prepare_vectors(self, object buffers, int flags) except -1:
        cdef list sources = list(buffers)
        cdef Py_ssize_t count = len(sources)
        cdef Py_ssize_t index
        self.views = <Py_buffer *>calloc(count + 1, sizeof(Py_buffer))
        self.vectors = <iovec *>calloc(count + 1, sizeof(iovec))
        if self.views == NULL or self.vectors == NULL:
            raise MemoryError
        for index in range(count):
            PyObject_GetBuffer(sources[index], &self.views[index], flags)
            self.views_count += 1
            if self.views[index].len:
                self.vectors[self.vectors_count].iov_base = self.views[index].buf
                self.vectors[self.vectors_count].iov_len = self.views[index].len
                self.vectors_count += 1
                self.size += self.views[index].len
        self.request.addr = <uint64_t><size_t>self.vectors
        self.request.len = min(self.vectors_count, 1024)
        return 0

    cdef int hold(self, object kept) except -1:
        self.keep = kept if self.keep is None else (self.keep, kept)
        return 0

    cdef bint advance(self, int64_t count) noexcept:
        """`count` more bytes are done. True when the request was changed to what is left, which is something."""
        cdef iovec *vector
        cdef Py_ssize_t used = 0
        cdef int64_t rest = count
        self.finished += count
        if self.finished >= self.size or <int64_t>self.request.off == -1:
            return False
        self.request.off += <uint64_t>count
        if self.request.opcode == OP_READV or self.request.opcode == OP_WRITEV:
            vector = <iovec *><size_t>self.request.addr
            while rest >= <int64_t>vector.iov_len:
                rest -= <int64_t>vector.iov_len
                vector += 1
            vector.iov_base = <char *>vector.iov_base + rest
            vector.iov_len -= <size_t>rest
            self.request.addr = <uint64_t><size_t>vector
            self.request.len = min(<int>(self.vectors_count - (vector - self.vectors)), 1024)
        else:
            self.request.addr += <uint64_t>count
            self.request.len = <uint32_t>min(self.size - self.finished, <int64_t>MOST_AT_ONCE)
        return True

    cdef void complete(self, int64_t result):
        """The kernel (or a thread) is done, with `result` or -errno; the memory is no longer used."""
        if self.state != PENDING:
            if result >= 0 and self.row.has_unwanted and self.state == CANCELLED:
                close(<int>result)
            self.release()
            return
        if result < 0:
            if result == -ECANCELED and self.is_cancel_requested:
                self.release()
                self.settle(CANCELLED)
                return
            self.fail(error_of(self.row.kind, self.args, -result))
            return
        try:
            self.value = self.make_value(result)
        except BaseException as error:
            self.fail(error)
            return
        self.release()
        self.settle(DONE)

    cdef void fail(self, object error):
        """The operation has failed; nothing uses its memory."""
        self.release()
        if self.state == PENDING:
            self.error = error
            self.settle(DONE)

    cdef object make_value(self, int64_t result):
        cdef PyObject *data
        if self.row.value == BYTES:
            data = self.data
            self.data = NULL
            if result != self.size:
                _PyBytes_Resize(&data, result)
            value = <object>data
            Py_XDECREF(data)
            return value
        if self.row.value == FD:
            self.owns_fd = True
            self.fd = <int>result
            return result
        if self.row.value == COUNT:
            return result
        if self.row.value == STAT:
            return stat_value(<statx_result *>self.attributes)
        return None

    cdef void settle(self, int state):
        cdef object callback = self.callback
        cdef object context = self.context
        cdef list more = self.more
        self.state = state
        self.callback = None
        self.context = None
        self.more = None
        self.job = None
        if self.parent is not None:
            parent, self.parent = self.parent, None
            (<Operation>parent).child_ended(self)
        if callback is not None:
            self.call_back(callback, context)
        if more is not None:
            for callback, context in more:
                self.call_back(callback, context)

    cdef void child_ended(self, Operation child):
        """One of the operations that this one stands for has ended."""
        if self.state == PENDING:
            if child.state == CANCELLED or child.error is not None:
                if self.error is None:
                    self.error = child.error if child.state == DONE else OSError(ECANCELED, os.strerror(ECANCELED))
            else:
                (<list>self.value)[child.index] = child.value
        self.left -= 1
        if self.left == 0 and self.state == PENDING:
            self.keep = None
            self.settle(CANCELLED if self.is_cancel_requested and self.error is not None else DONE)

    cdef void release(self) noexcept:
        """Let go of the memory. Never while the kernel may use it."""
        cdef int index
        if self.has_view:
            self.has_view = False
            PyBuffer_Release(&self.view)
        if self.views != NULL:
            for index in range(self.views_count):
                PyBuffer_Release(&self.views[index])
            free(self.views)
            self.views = NULL
        if self.vectors != NULL:
            free(self.vectors)
            self.vectors = NULL
        if self.attributes != NULL:
            free(self.attributes)
            self.attributes = NULL
        if self.data != NULL:
            Py_XDECREF(self.data)
            self.data = NULL
        self.keep = None

    cdef void call_back(self, object callback, object context):
        cdef Host host = self.host
        cdef bint is_wakeup
        try:
            if host.is_trio:
                callback(self)
                return
            is_wakeup = PyCFunction_Check(callback) and PyCFunction_GET_SELF(callback) != NULL and PyObject_TypeCheck(
                PyCFunction_GET_SELF(callback), <PyTypeObject *>host.task_type
            )
            if not (is_wakeup and host.may_resume):
                self.call_soon(callback, context)
                return
            # While that task runs no other may be resumed: what it cancels is told through the loop.
            host.may_resume = False
            self.is_waking = self.owns_fd
            PyContext_Enter(context)
            try:
                callback(self)
            finally:
                host.may_resume = True
                self.is_waking = False
                PyContext_Exit(context)
        except BaseException as error:
            # A task that ends in KeyboardInterrupt or SystemExit raises it through here; the drain passes it on when
            # its own books are in order. A closed loop is nobody's error: those who waited are gone with it.
            if host.failure is None and not (isinstance(error, RuntimeError) and host.driver.is_over()):
                host.failure = error

    cdef int call_soon(self, object callback, object context) except -1:
        if self.owns_fd and isinstance(getattr(callback, "__self__", None), self.host.task_type):
            self.host.call_soon(self.wake, callback, context=context)
        else:
            self.host.call_soon(callback, self, context=context)
        return 0

    def wake(self, callback):
        self.is_waking = True
        try:
            callback(self)
        finally:
            self.is_waking = False

    # What callers do.

    def __await__(self):
        if self.host.is_trio:
            if self.state == PENDING:
                return self.host.driver.park(self)
            if self.host.budget <= 0:
                self.host.need_tick()
                return self.host.driver.park(self)
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.state == PENDING:
            if self.is_blocking:
                raise RuntimeError(f"{self!r} was resumed before it was done; await it, do not drive it by hand")
            self.is_blocking = True
            return self
        raise StopIteration(self.deliver())

    cdef object deliver(self):
        if self.state == CANCELLED:
            raise self._make_cancelled_error()
        if self.error is not None:
            raise self.error
        self.owns_fd = False
        return self.value

    @property
    def _asyncio_future_blocking(self):
        return self.is_blocking

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, bint value):
        self.is_blocking = value

    @property
    def kind(self):
        return self.row.kind

    @property
    def engine(self):
        return self.host

    def result(self):
        """The value; raises what the operation failed with, `CancelledError`, or `InvalidStateError` while it runs."""
        if self.state == CANCELLED:
            raise self._make_cancelled_error()
        if self.state == PENDING:
            raise self.host.driver.not_done_error(f"{self!r} is not done; await it")
        if self.is_waking:
            self.is_waking = False  # the task that is being woken asks; its coroutine gets the value later, or never
        else:
            self.owns_fd = False
        if self.error is not None:
            raise self.error
        return self.value

    def exception(self):
        """What the operation failed with, or None."""
        if self.state == CANCELLED:
            raise self._make_cancelled_error()
        if self.state == PENDING:
            raise self.host.driver.not_done_error(f"{self!r} is not done; await it")
        return self.error

    def owns_result(self):
        """Would something leak if nobody got the result?"""
        return self.owns_fd

    def done(self):
        return self.state != PENDING

    def cancelled(self):
        return self.state == CANCELLED

    def cancel(self, msg=None):
        """Ask the operation to stop. True when its caller need not wait for it any more."""
        if self.state != PENDING:
            return False
        self.is_cancel_requested = True
        self.message = msg
        if not self.host.request_cancel(self):
            return False
        if self.state == PENDING:
            if not self.row.detaches:
                self.release()  # it was taken back before anybody began with it
            self.settle(CANCELLED)
        return True

    def add_done_callback(self, callback, *, context=None):
        if context is None and not self.host.is_trio:
            context = PyContext_CopyCurrent()
        if self.state != PENDING:
            if self.host.is_trio:
                callback(self)
            else:
                self.call_soon(callback, context)
        elif self.callback is None:
            self.callback = callback
            self.context = context
        elif self.more is None:
            self.more = [(callback, context)]
        else:
            self.more.append((callback, context))

    def remove_done_callback(self, callback):
        entries = [] if self.callback is None else [(self.callback, self.context)]
        if self.more is not None:
            entries += self.more
        kept = [entry for entry in entries if entry[0] != callback]
        self.callback, self.context = kept[0] if kept else (None, None)
        self.more = kept[1:] or None
        return len(entries) - len(kept)

    def get_loop(self):
        return self.host.loop

    def _make_cancelled_error(self):
        return self.host.driver.cancelled_error(self.message)

    def __dealloc__(self):
        if self.owns_fd:
            close(self.fd)  # nobody has got it, and nobody can any more
        self.release()

    def __repr__(self):
        state = ("pending", "done", "cancelled")[self.state]
        return f"<aiovfs.aio.Operation {self.row.kind.name} {state}>"


cdef object stat_value(statx_result *got):
    cdef object result = PyStructSequence_New(<PyTypeObject *>stat_result)
    cdef Py_ssize_t index
    put_field(result, 0, PyLong_FromLongLong(got.stx_mode))
    put_field(result, 1, PyLong_FromUnsignedLongLong(got.stx_ino))
    put_field(result, 2, PyLong_FromUnsignedLongLong(makedev(got.stx_dev_major, got.stx_dev_minor)))
    put_field(result, 3, PyLong_FromLongLong(got.stx_nlink))
    put_field(result, 4, PyLong_FromLongLong(got.stx_uid))
    put_field(result, 5, PyLong_FromLongLong(got.stx_gid))
    put_field(result, 6, PyLong_FromLongLong(<int64_t>got.stx_size))
    put_time(result, 0, &got.stx_atime)
    put_time(result, 1, &got.stx_mtime)
    put_time(result, 2, &got.stx_ctime)
    put_field(result, 16, PyLong_FromLongLong(got.stx_blksize))
    put_field(result, 17, PyLong_FromUnsignedLongLong(got.stx_blocks))
    put_field(result, 18, PyLong_FromUnsignedLongLong(makedev(got.stx_rdev_major, got.stx_rdev_minor)))
    for index in range(19, STAT_FIELDS):
        Py_INCREF(None)
        PyStructSequence_SetItem(result, index, <PyObject *>None)
    return result


cdef inline int put_field(object result, Py_ssize_t index, PyObject *value) except -1:
    if value == NULL:
        raise MemoryError
    PyStructSequence_SetItem(result, index, value)
    return 0


cdef inline int put_time(object result, Py_ssize_t which, statx_time *time) except -1:
    """Whole seconds, seconds, and nanoseconds, as `os.stat_result` has them."""
    put_field(result, 7 + which, PyLong_FromLongLong(time.tv_sec))
    put_field(result, 10 + which, PyFloat_FromDouble(<double>time.tv_sec + 1e-9 * <double>time.tv_nsec))
    put_field(result, 13 + which, PyLong_FromLongLong(time.tv_sec * 1000000000 + <int64_t>time.tv_nsec))
    return 0


cdef int send(PyObject *self, PyObject *argument, PyObject **result) except -1:
    cdef Operation operation = <Operation>self
    if operation.state == PENDING:
        if operation.is_blocking:
            raise RuntimeError(f"{operation!r} was resumed before it was done; await it, do not drive it by hand")
        operation.is_blocking = True
        Py_INCREF(operation)
        result[0] = self
        return PYGEN_NEXT
    value = operation.deliver()
    Py_INCREF(value)
    result[0] = <PyObject *>value
    return PYGEN_RETURN


(<TypeWithAsync *>Operation).tp_as_async.am_send = <void *>send
