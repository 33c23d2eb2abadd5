# cython: language_level=3, boundscheck=False, wraparound=False
"""`Drain.run` in C: read(2), decode, run the handler's first step, pack, write(2).

What is here is the common path and nothing else. Whatever is not common (traces, queues, unknown opcodes, exceptions
that are no `OSError`, a value that is not exactly what `packers` takes) goes to the methods of the `Drain` that this
was made for, which see it from the beginning; so C never words an error and never decides a policy.

Rules for people who edit this
- A packer answers 0 for anything it does not take as it is; then `Drain.answer` packs, or says what is wrong. It may
  never take what `packers` refuses, nor pack it differently: tests/fuse/native draws values to find that out.
- The session's buffer may change under every call into Python: `refresh` comes after each.
- The GIL is kept for what is short (giving it up and taking it back costs more than a small write, and invites a
  computing thread to keep it for 5 ms), and given up for replies of 128 KiB and more.
"""

import functools
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Size
from cpython.exc cimport PyErr_Clear
from cpython.object cimport PyObject_Size, PyTypeObject
from cpython.ref cimport Py_XDECREF, PyObject
from libc.errno cimport (
    EAGAIN,
    EBADF,
    ECONNABORTED,
    ECONNRESET,
    EINTR,
    ENODEV,
    ENOENT,
    ENOSYS,
    ENOTCONN,
    EPIPE,
    errno,
)
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset

from aiovfs.fuse.protocol._fastcodec cimport decode_message
from aiovfs.fuse._packed cimport Packed
from aiovfs.fuse._replies cimport Attributes, DirEntry, Entry, Opened

from aiovfs.fuse import dispatch, drain, packers
from aiovfs.fuse.device import DeviceGone
from aiovfs.fuse.protocol import BY_OPCODE, encode_error, structs

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN = 0
        PYGEN_ERROR = -1
        PYGEN_NEXT = 1
    PyObject *Py_True
    PyObject *Py_False
    PySendResult PyIter_Send(PyObject *iter, object arg, PyObject **result) noexcept
    PyObject *PyObject_CallOneArg(PyObject *callable, object arg) noexcept
    bint PyCoro_CheckExact(PyObject *op) noexcept
    bint PyLong_Check(PyObject *op) noexcept
    bint PyLong_CheckExact(PyObject *op) noexcept
    bint PyFloat_CheckExact(PyObject *op) noexcept
    bint PyBytes_CheckExact(PyObject *op) noexcept
    double PyFloat_AS_DOUBLE(PyObject *op) noexcept
    uint64_t PyLong_AsUnsignedLongLong(PyObject *op) noexcept
    int64_t PyLong_AsLongLongAndOverflow(PyObject *op, int *overflow) noexcept
    bint PyObject_TypeCheck(PyObject *op, PyTypeObject *cls) noexcept
    PyObject *PyErr_Occurred() noexcept

cdef extern from *:
    """
    #include <sched.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>

    static inline PyObject *aiovfs_take_exception(void)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        return PyErr_GetRaisedException();
    #else
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        if (traceback != NULL)
            PyException_SetTraceback(value, traceback);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
        return value;
    #endif
    }

    static inline int64_t aiovfs_now(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
    }

    static inline Py_ssize_t aiovfs_write_two(int fd, void *head, size_t head_size, void *body, size_t body_size)
    {
        struct iovec parts[2] = {{head, head_size}, {body, body_size}};
        return writev(fd, parts, 2);
    }
    """
    object take_exception "aiovfs_take_exception"()
    int64_t now "aiovfs_now"() noexcept nogil
    Py_ssize_t write_two "aiovfs_write_two"(int fd, void *head, size_t head_size, void *body, size_t body_size) noexcept nogil
    int sched_yield() noexcept nogil
    Py_ssize_t read(int fd, void *buffer, size_t size) noexcept nogil
    Py_ssize_t write(int fd, const void *buffer, size_t size) noexcept nogil


# The kernel's structs, as far as we write them. `check_layouts` compares the sizes with the table's.

cdef struct InHeader:
    uint32_t len
    uint32_t opcode
    uint64_t unique
    uint64_t nodeid
    uint32_t uid
    uint32_t gid
    uint32_t pid
    uint32_t total_extlen_and_padding

cdef struct OutHeader:
    uint32_t len
    int32_t error
    uint64_t unique

cdef struct Attr:
    uint64_t ino
    uint64_t size
    uint64_t blocks
    uint64_t atime
    uint64_t mtime
    uint64_t ctime
    uint32_t atimensec
    uint32_t mtimensec
    uint32_t ctimensec
    uint32_t mode
    uint32_t nlink
    uint32_t uid
    uint32_t gid
    uint32_t rdev
    uint32_t blksize
    uint32_t flags

cdef struct AttrOut:
    uint64_t attr_valid
    uint32_t attr_valid_nsec
    uint32_t dummy
    Attr attr

cdef struct EntryOut:
    uint64_t nodeid
    uint64_t generation
    uint64_t entry_valid
    uint64_t attr_valid
    uint32_t entry_valid_nsec
    uint32_t attr_valid_nsec
    Attr attr

cdef struct OpenOut:
    uint64_t fh
    uint32_t open_flags
    int32_t backing_id

cdef struct WriteOut:
    uint32_t size
    uint32_t padding

cdef struct Created:
    EntryOut entry
    OpenOut opened

cdef struct Dirent:
    uint64_t ino
    uint64_t off
    uint32_t namelen
    uint32_t type

cdef union Body:
    AttrOut attributes
    EntryOut entry
    Created created
    OpenOut opened
    WriteOut written

cdef struct Small:
    OutHeader header
    Body body

cdef enum:
    SIZE_AT = 56  # where READ, READDIR and WRITE say how many bytes they are about
    NLOOKUP_AT = 40
    GIL_FREE_SIZE = 128 << 10
    NANOSECONDS = 1000000000
    LONGEST_TIMEOUT = 0xFFFFFFFF
    FORMAT = 0o170000
    OPCODES = 64
    FORGET = 2
    WRITE = 16


cdef enum Kind:
    # How a request is served; the order of no importance.
    BY_PYTHON = 0  # all of it
    REFUSED  # ENOSYS
    FORGETTING
    CONSTANT  # the same reply each time
    PACKED_BY_PYTHON
    NOTHING
    ENTRY
    MADE
    CREATED
    ATTRIBUTES
    OPENED
    WRITTEN
    DATA
    LISTING
    LISTING_PLUS


cdef struct Place:
    # How one opcode is served; what the pointers refer to is kept alive by `Core._kept`.
    Kind kind
    bint adds_lookup
    bint has_data
    bint has_plain_errors  # an OSError is answered with its errno and nothing else
    PyObject *route
    PyObject *handler
    PyObject *constant


cdef enum:
    NAME_MAX = 1024
    DIRECT_IO = 1
    KEEP_CACHE = 2
    NONSEEKABLE = 4
    CACHE_DIR = 8
    STREAM = 16
    NOFLUSH = 32
    PARALLEL_DIRECT_WRITES = 64


cdef int check_layouts() except -1:
    for name, size in (
        ("InHeader", sizeof(InHeader)),
        ("OutHeader", sizeof(OutHeader)),
        ("Attr", sizeof(Attr)),
        ("AttrOut", sizeof(AttrOut)),
        ("EntryOut", sizeof(EntryOut)),
        ("OpenOut", sizeof(OpenOut)),
        ("WriteOut", sizeof(WriteOut)),
        ("Dirent", sizeof(Dirent)),
    ):
        if getattr(structs, name).__layout__.size != size:
            raise ImportError(f"struct {name} has {size} bytes in _core and another size in the table")
    return 0


check_layouts()


# Values to bytes. Each answers 0, with no exception set, for what it does not take as it is.


cdef inline bint take_u64(PyObject *value, uint64_t *result) noexcept:
    if not PyLong_Check(value):
        return 0
    result[0] = PyLong_AsUnsignedLongLong(value)
    if result[0] == <uint64_t>-1 and PyErr_Occurred() != NULL:
        PyErr_Clear()
        return 0
    return 1


cdef inline bint take_u32(PyObject *value, uint32_t *result) noexcept:
    cdef uint64_t wide
    if not take_u64(value, &wide) or wide > 0xFFFFFFFF:
        return 0
    result[0] = <uint32_t>wide
    return 1


cdef inline bint take_flag(PyObject *value, uint32_t flag, uint32_t *flags) noexcept:
    if value == Py_True:
        flags[0] |= flag
    elif value != Py_False:
        return 0
    return 1


cdef inline bint take_time(PyObject *value, uint64_t *seconds, uint32_t *nanoseconds) noexcept:
    # Rounded down, as divmod does: a time before 1970 has negative seconds and positive nanoseconds.
    cdef int overflow = 0
    cdef int64_t total, whole, rest
    if not PyLong_Check(value):
        return 0
    total = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        return 0
    if total == -1 and PyErr_Occurred() != NULL:
        PyErr_Clear()
        return 0
    whole = total // NANOSECONDS
    rest = total % NANOSECONDS
    seconds[0] = <uint64_t>whole
    nanoseconds[0] = <uint32_t>rest
    return 1


cdef inline bint take_timeout(PyObject *value, uint64_t *seconds, uint32_t *nanoseconds) noexcept:
    cdef double given
    cdef uint64_t whole
    if PyFloat_CheckExact(value):
        given = PyFloat_AS_DOUBLE(value)
        if given != given:
            return 0
        if given <= 0:
            seconds[0] = nanoseconds[0] = 0
        elif given >= <double>LONGEST_TIMEOUT:
            seconds[0] = LONGEST_TIMEOUT
            nanoseconds[0] = 0
        else:
            whole = <uint64_t>given
            seconds[0] = whole
            nanoseconds[0] = <uint32_t>((given - <double>whole) * <double>NANOSECONDS)
        return 1
    if not take_u64(value, &whole):
        return 0
    seconds[0] = whole if whole < LONGEST_TIMEOUT else LONGEST_TIMEOUT
    nanoseconds[0] = 0
    return 1


cdef bint take_attributes(PyObject *value, Attr *attr, uint64_t *valid, uint32_t *valid_nsec) noexcept:
    cdef Attributes instance
    if not PyObject_TypeCheck(value, <PyTypeObject *>Attributes):
        return 0
    instance = <Attributes>value
    return (
        take_u64(<PyObject *>instance.ino, &attr.ino)
        and take_u64(<PyObject *>instance.size, &attr.size)
        and take_u64(<PyObject *>instance.blocks, &attr.blocks)
        and take_time(<PyObject *>instance.atime_ns, &attr.atime, &attr.atimensec)
        and take_time(<PyObject *>instance.mtime_ns, &attr.mtime, &attr.mtimensec)
        and take_time(<PyObject *>instance.ctime_ns, &attr.ctime, &attr.ctimensec)
        and take_u32(<PyObject *>instance.mode, &attr.mode)
        and take_u32(<PyObject *>instance.nlink, &attr.nlink)
        and take_u32(<PyObject *>instance.uid, &attr.uid)
        and take_u32(<PyObject *>instance.gid, &attr.gid)
        and take_u32(<PyObject *>instance.rdev, &attr.rdev)
        and take_u32(<PyObject *>instance.blksize, &attr.blksize)
        and take_u32(<PyObject *>instance.flags, &attr.flags)
        and take_timeout(<PyObject *>instance.timeout, valid, valid_nsec)
    )


cdef bint take_entry(PyObject *value, EntryOut *entry) noexcept:
    cdef Entry instance
    if not PyObject_TypeCheck(value, <PyTypeObject *>Entry):
        return 0
    instance = <Entry>value
    return (
        take_u64(<PyObject *>instance.nodeid, &entry.nodeid)
        and take_u64(<PyObject *>instance.generation, &entry.generation)
        and take_timeout(<PyObject *>instance.timeout, &entry.entry_valid, &entry.entry_valid_nsec)
        and take_attributes(
            <PyObject *>instance.attributes, &entry.attr, &entry.attr_valid, &entry.attr_valid_nsec
        )
        and (entry.nodeid == 0 or entry.attr.mode & FORMAT != 0)
    )


cdef bint take_opened(PyObject *value, OpenOut *opened) noexcept:
    cdef Opened instance
    if not PyObject_TypeCheck(value, <PyTypeObject *>Opened):
        return 0
    instance = <Opened>value
    opened.open_flags = 0
    opened.backing_id = 0
    return (
        take_u64(<PyObject *>instance.fh, &opened.fh)
        and take_flag(<PyObject *>instance.direct_io, DIRECT_IO, &opened.open_flags)
        and take_flag(<PyObject *>instance.keep_cache, KEEP_CACHE, &opened.open_flags)
        and take_flag(<PyObject *>instance.nonseekable, NONSEEKABLE, &opened.open_flags)
        and take_flag(<PyObject *>instance.cache_dir, CACHE_DIR, &opened.open_flags)
        and take_flag(<PyObject *>instance.stream, STREAM, &opened.open_flags)
        and take_flag(<PyObject *>instance.noflush, NOFLUSH, &opened.open_flags)
        and take_flag(
            <PyObject *>instance.parallel_direct_writes, PARALLEL_DIRECT_WRITES, &opened.open_flags
        )
    )


cdef enum Fit:
    FITS
    FULL
    UNUSUAL


cdef Fit add_dirent(
    PyObject *value, bint plus, unsigned char *start, size_t room, size_t *used
) noexcept:
    # One record of a listing, padded to 8 bytes. As `dirents.DirentBuffer`, for entries that need no word of error.
    cdef Dirent *head
    cdef uint64_t mode
    cdef size_t before, size
    cdef Py_ssize_t length
    cdef PyObject *name
    cdef PyObject *child = NULL
    cdef EntryOut left_out
    cdef DirEntry instance
    if not PyObject_TypeCheck(value, <PyTypeObject *>DirEntry):
        return UNUSUAL
    instance = <DirEntry>value
    name = <PyObject *>instance.name
    if not PyBytes_CheckExact(name):
        return UNUSUAL
    length = PyBytes_GET_SIZE(<object>name)
    if not 0 < length <= NAME_MAX or memchr(PyBytes_AS_STRING(<object>name), b"/", length) != NULL:
        return UNUSUAL
    before = sizeof(EntryOut) if plus else 0
    size = before + ((sizeof(Dirent) + <size_t>length + 7) & ~<size_t>7)
    if plus:
        child = <PyObject *>instance.entry
    if size > room:
        # Python packs the Entry before it looks for room: one that cannot be packed is an error all the same.
        if plus and child != <PyObject *>None and not take_entry(child, &left_out):
            return UNUSUAL
        return FULL
    memset(start + size - 8, 0, 8)
    head = <Dirent *>(start + before)
    if (
        not take_u64(<PyObject *>instance.ino, &head.ino)
        or not take_u64(<PyObject *>instance.offset, &head.off)
        or not take_u64(<PyObject *>instance.mode, &mode)
    ):
        return UNUSUAL
    head.namelen = <uint32_t>length
    head.type = (mode >> 12) & 0xF
    memcpy(start + before + sizeof(Dirent), PyBytes_AS_STRING(<object>name), length)
    if plus:
        if child == <PyObject *>None:
            memset(start, 0, sizeof(EntryOut))
        elif not take_entry(child, <EntryOut *>start):
            return UNUSUAL
    used[0] = size
    return FITS


def replay(seen, rest, exc):
    """A listing from the beginning again: what was taken of it already, then its error or the rest."""
    yield from seen
    if exc is not None:
        raise exc
    yield from rest


KINDS = {
    packers.pack_nothing: NOTHING,
    packers.pack_entry: ENTRY,
    packers.pack_made: MADE,
    packers.pack_created: CREATED,
    packers.pack_attributes: ATTRIBUTES,
    packers.pack_opened: OPENED,
    packers.pack_written: WRITTEN,
    packers.pack_data: DATA,
    dispatch.Dispatcher.pack_listing: LISTING,
    dispatch.Dispatcher.pack_listing_plus: LISTING_PLUS,
}


cdef class Core:
    """Serves one session's device for its `Drain`. `run` has the contract of `Drain.run`.

    `agreed` are the features of the session. `requests` counts those that were read, `by_python` those of them that
    were left to the `Drain` from the start, `unusual` replies that it packed, `reads` and `yields` the system calls.
    """

    cdef object drain
    cdef object device
    cdef object operations
    cdef object dispatcher
    cdef object queue
    cdef object buffer
    cdef object waiting_class
    cdef dict waiting
    cdef list kept
    cdef Place places[OPCODES]
    cdef unsigned char *message
    cdef size_t message_size
    cdef unsigned char *listing
    cdef size_t listing_size
    cdef uint64_t agreed
    cdef Py_ssize_t max_tasks
    cdef bint is_tracing
    cdef bint forgets_nothing
    cdef int fd
    cdef int64_t spin_ns
    cdef readonly uint64_t requests
    cdef readonly uint64_t by_python
    cdef readonly uint64_t unusual
    cdef readonly uint64_t reads
    cdef readonly uint64_t yields

    def __init__(self, session_drain, agreed):
        self.drain = session_drain
        self.device = session_drain.device
        self.operations = session_drain.operations
        self.dispatcher = session_drain.dispatcher
        self.queue = session_drain.queue
        self.waiting = session_drain.waiting
        self.max_tasks = session_drain.max_tasks
        self.is_tracing = session_drain.is_tracing
        self.waiting_class = drain.Waiting
        self.agreed = int(agreed)
        self.forgets_nothing = not dispatch.is_overridden(self.operations, "forget")
        self.kept = []
        self.fd = -1
        self.spin_ns = <int64_t>(session_drain.spin_s * NANOSECONDS)
        for opcode in BY_OPCODE:
            if opcode < OPCODES:
                self.place(opcode, BY_OPCODE[opcode], session_drain.routes.get(opcode))

    def __dealloc__(self):
        free(self.listing)

    cdef int place(self, int opcode, object row, object route) except -1:
        # How requests of `opcode` are served.
        cdef Place *place = &self.places[opcode]
        place.kind = BY_PYTHON
        if opcode == FORGET:
            place.kind = FORGETTING
        elif route is None:
            if opcode not in drain.SERVED_BY_SESSION:
                place.kind = REFUSED
        else:
            handler = route.handler
            place.kind = KINDS.get(getattr(route.pack, "__func__", route.pack), PACKED_BY_PYTHON)
            place.adds_lookup = route.adds_lookup
            place.has_data = "data" in row.request.fields
            place.route = <PyObject *>route
            place.handler = <PyObject *>handler
            self.kept += (route, handler)
            place.has_plain_errors = True
            if route.name == "lookup":
                # An option may have "no such name" answered by something else than an errno: see what it is.
                example = row.request(name=b"name")
                reply = b"".join(self.dispatcher.error_for(route, example, OSError(ENOENT, "no such name")))
                place.has_plain_errors = reply == encode_error(0, ENOENT)
            if isinstance(handler, functools.partial) and handler.func is dispatch.step_default:
                example = row.request()
                constant = b"".join(route.pack(example, handler(example)))
                place.kind = CONSTANT
                place.constant = <PyObject *>constant
                self.kept.append(constant)
        return 0

    def run(self):
        """As `Drain.run`."""
        cdef int budget = drain.REQUESTS_PER_DRAIN
        cdef bint has_yielded = False
        cdef bint yields_first = False
        cdef Py_ssize_t length
        cdef int64_t deadline = now() + <int64_t>(drain.SECONDS_PER_DRAIN * NANOSECONDS)
        while budget:
            if PyObject_Size(self.queue) and self.drain.is_full:
                return None, True
            if yields_first and not has_yielded:
                self.yields += 1
                sched_yield()
                has_yielded = True
            length = self.receive(False)
            if length == 0 and not has_yielded:
                self.yields += 1
                sched_yield()
                has_yielded = True
                continue
            if length == 0 and self.spin_ns:
                length = self.receive(True)
            if length == 0:
                return None, True
            yields_first = has_yielded
            has_yielded = False
            waiting = self.serve(length)
            if waiting is not None:
                return waiting, False
            budget -= 1
            if budget & 7 == 0 and now() > deadline:
                break
        return None, False

    cdef int refresh(self) except -1:
        # Python may have exchanged the buffer, or closed the device.
        cdef Py_buffer view
        self.fd = self.device.fd
        buffer = self.drain.buffer
        if buffer is not self.buffer:
            # Only the address is kept: the memory lives as long as `self.buffer`, which nobody resizes or releases.
            PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
            self.message = <unsigned char *>view.buf
            self.message_size = view.len
            PyBuffer_Release(&view)
            self.buffer = buffer
        return 0

    cdef Py_ssize_t receive(self, bint spins) except -1:
        # Read one request: its length, or 0 when there is none; `spins`: none has come for `spin_ns`.
        cdef Py_ssize_t length
        cdef int number = 0
        self.refresh()
        while True:
            self.reads += 1
            if spins:
                length = self.look_for_long(&number)
            else:
                length = read(self.fd, self.message, self.message_size)
                number = errno
            if length > 0:
                self.requests += 1
                return length
            if length == 0:
                raise DeviceGone("end of file")
            if number == EAGAIN:
                return 0
            if number == ENOENT or number == EINTR:
                continue  # the request was withdrawn between its wake-up and our read
            if number in (ENODEV, ECONNABORTED, ENOTCONN, ECONNRESET, EBADF):
                raise DeviceGone(os.strerror(number))
            raise OSError(number, os.strerror(number))

    cdef Py_ssize_t look_for_long(self, int *number) noexcept:
        # Without the GIL: other threads of the process may compute while we look.
        cdef Py_ssize_t length
        cdef int fd = self.fd
        cdef unsigned char *message = self.message
        cdef size_t size = self.message_size
        cdef int64_t end = now() + self.spin_ns
        with nogil:
            while True:
                sched_yield()
                length = read(fd, message, size)
                number[0] = errno
                if length >= 0 or number[0] != EAGAIN or now() >= end:
                    break
        return length

    cdef object serve(self, Py_ssize_t length):
        # Serve the request in the buffer; returns the `Waiting` of a handler that waits, else None.
        cdef InHeader *header = <InHeader *>self.message
        cdef Place *place
        cdef PyObject *work
        cdef PyObject *value
        cdef uint64_t unique
        cdef uint32_t limit
        cdef PySendResult status
        if length < <Py_ssize_t>sizeof(InHeader) or header.opcode >= OPCODES or self.is_tracing:
            return self.leave(length)
        place = &self.places[header.opcode]
        if place.kind == BY_PYTHON or header.len != length:
            return self.leave(length)
        unique = header.unique
        if place.kind == REFUSED:
            self.send_error(unique, ENOSYS, None)
            return None
        if place.kind == CONSTANT:
            self.send_constant(unique, <object>place.constant)
            return None
        if place.kind == FORGETTING:
            if length != NLOOKUP_AT + 8 or header.total_extlen_and_padding:
                return self.leave(length)
            if not self.forgets_nothing or self.operations.inodes is not None:
                self.drain.forget(header.nodeid, (<uint64_t *>(self.message + NLOOKUP_AT))[0])
            return None
        if PyDict_Size(self.waiting) >= self.max_tasks:
            return self.leave(length)
        request = decode_message(self.message, length, self.buffer, self.agreed)
        if request is None:
            return self.leave(length)
        limit = (<uint32_t *>(self.message + SIZE_AT))[0] if length >= SIZE_AT + 4 else 0

        work = PyObject_CallOneArg(place.handler, request)
        value = work
        if work != NULL and PyCoro_CheckExact(work):
            coroutine = <object>work
            Py_XDECREF(work)
            value = NULL
            status = PyIter_Send(<PyObject *>coroutine, None, &value)
            if status == PYGEN_NEXT:
                waiting_for = <object>value
                Py_XDECREF(value)
                kept = self.drain.keep_buffer(request, self.buffer)
                return self.waiting_class(<object>place.route, request, coroutine, waiting_for, kept)
        if value == NULL:
            self.fail(place, unique, request, take_exception())
        else:
            result = <object>value
            Py_XDECREF(value)
            self.answer(place, unique, limit, request, result)
        if place.has_data:
            self.drain.end(request, self.buffer)
        return None

    def finish(self, route, request, value):
        """As `Drain.answer`: send what a handler that waited has returned."""
        cdef uint64_t opcode = request.opcode
        cdef uint32_t limit = 0
        cdef Place *place
        if opcode >= OPCODES or self.is_tracing or self.device.fd < 0:
            self.drain.answer(route, request, value)
            return
        place = &self.places[opcode]
        if place.route != <PyObject *>route:
            self.drain.answer(route, request, value)
            return
        if place.kind in (WRITTEN, DATA, LISTING, LISTING_PLUS):
            limit = request.size
        self.refresh()
        self.answer(place, request.unique, limit, request, value)

    cdef object leave(self, Py_ssize_t length):
        # To Python, from the beginning.
        self.by_python += 1
        return self.drain.receive(self.buffer[:length])

    cdef int fail(self, Place *place, uint64_t unique, object request, object exc) except -1:
        # An errno is sent from here; everything else is for Python to judge.
        if place.has_plain_errors and isinstance(exc, OSError):
            number = exc.errno
            if type(number) is int and 0 < number < 512:
                self.send_error(unique, number, request)
                return 0
        self.drain.fail(<object>place.route, request, exc)
        return 0

    cdef int answer(self, Place *place, uint64_t unique, uint32_t limit, object request, object value) except -1:
        cdef Small reply
        cdef size_t size = 0
        cdef PyObject *entry = NULL
        cdef int was_taken
        if PyObject_TypeCheck(<PyObject *>value, <PyTypeObject *>Packed):
            return self.answer_packed(unique, request, <Packed>value)
        if place.kind == NOTHING:
            if value is None:
                size = sizeof(OutHeader)
        elif place.kind == ATTRIBUTES:
            if (
                take_attributes(
                    <PyObject *>value,
                    &reply.body.attributes.attr,
                    &reply.body.attributes.attr_valid,
                    &reply.body.attributes.attr_valid_nsec,
                )
                and reply.body.attributes.attr.mode & FORMAT
            ):
                reply.body.attributes.dummy = 0
                size = sizeof(OutHeader) + sizeof(AttrOut)
        elif place.kind == ENTRY or place.kind == MADE:
            entry = <PyObject *>value
            if take_entry(entry, &reply.body.entry) and (place.kind == ENTRY or reply.body.entry.nodeid):
                size = sizeof(OutHeader) + sizeof(EntryOut)
        elif place.kind == OPENED:
            if take_opened(<PyObject *>value, &reply.body.opened):
                size = sizeof(OutHeader) + sizeof(OpenOut)
        elif place.kind == CREATED:
            if type(value) is tuple and len(<tuple>value) == 2:
                first, second = <tuple>value
                entry = <PyObject *>first
                if (
                    take_entry(entry, &reply.body.created.entry)
                    and reply.body.created.entry.nodeid
                    and take_opened(<PyObject *>second, &reply.body.created.opened)
                ):
                    size = sizeof(OutHeader) + sizeof(Created)
        elif place.kind == WRITTEN:
            if (
                PyLong_CheckExact(<PyObject *>value)
                and take_u32(<PyObject *>value, &reply.body.written.size)
                and reply.body.written.size <= limit
            ):
                reply.body.written.padding = 0
                size = sizeof(OutHeader) + sizeof(WriteOut)
        elif place.kind == DATA:
            return self.answer_data(place, unique, limit, request, value)
        elif place.kind == LISTING or place.kind == LISTING_PLUS:
            return self.answer_listing(place, unique, limit, request, value)
        if not size:
            return self.answer_by_python(place, request, value)
        reply.header.len = size
        reply.header.error = 0
        reply.header.unique = unique
        was_taken = self.sent(write(self.fd, &reply, size), request)
        if place.adds_lookup and self.operations.inodes is not None:
            if was_taken:
                nodeid = (<object>entry).nodeid
                if nodeid:
                    self.operations.inodes.add_lookup(nodeid)
            else:
                self.dispatcher.count_lookup(value, 0)
        return 0

    cdef int answer_packed(self, uint64_t unique, object request, Packed value) except -1:
        cdef Small reply
        if value.error:
            return self.send_error(unique, value.error, request)
        if value.size > sizeof(Body):
            return self.send_data(unique, value.data, value.size, request)
        reply.header.len = sizeof(OutHeader) + value.size
        reply.header.error = 0
        reply.header.unique = unique
        memcpy(&reply.body, value.data, value.size)
        self.sent(write(self.fd, &reply, reply.header.len), request)
        return 0

    cdef int answer_by_python(self, Place *place, object request, object value) except -1:
        self.unusual += 1
        self.drain.answer(<object>place.route, request, value)
        return 0

    cdef int answer_data(self, Place *place, uint64_t unique, uint32_t limit, object request, object value) except -1:
        cdef Py_buffer view
        try:
            PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
        except (TypeError, BufferError):
            return self.answer_by_python(place, request, value)
        try:
            if <size_t>view.len > limit:
                return self.answer_by_python(place, request, value)
            return self.send_data(unique, view.buf, view.len, request)
        finally:
            PyBuffer_Release(&view)

    cdef int send_data(self, uint64_t unique, void *data, size_t size, object request) except -1:
        cdef OutHeader header
        cdef Py_ssize_t result
        header.len = sizeof(OutHeader) + size
        header.error = 0
        header.unique = unique
        if size >= GIL_FREE_SIZE:
            with nogil:
                result = write_two(self.fd, &header, sizeof(OutHeader), data, size)
        elif size:
            result = write_two(self.fd, &header, sizeof(OutHeader), data, size)
        else:
            result = write(self.fd, &header, sizeof(OutHeader))
        self.sent(result, request)
        return 0

    cdef int answer_listing(
        self, Place *place, uint64_t unique, uint32_t limit, object request, object value
    ) except -1:
        cdef bint plus = place.kind == LISTING_PLUS
        cdef size_t used = 0
        cdef size_t size = 0
        cdef Fit fit = FITS
        cdef list seen = []
        if self.listing_size < limit:
            free(self.listing)
            self.listing_size = 0
            self.listing = <unsigned char *>malloc(limit)
            if self.listing == NULL:
                raise MemoryError(f"{limit} bytes for a listing")
            self.listing_size = limit
        failure = None
        iterator = ()
        try:
            iterator = iter(value)
            for entry in iterator:
                seen.append(entry)
                fit = add_dirent(<PyObject *>entry, plus, self.listing + used, limit - used, &size)
                if fit != FITS:
                    break
                used += size
        except BaseException as exc:
            failure = exc
        if failure is not None or fit == UNUSUAL:
            return self.answer_by_python(place, request, replay(seen, iterator, failure))
        if plus and self.operations.inodes is not None:
            self.count_listing(seen, fit == FULL)
        return self.send_data(unique, self.listing, used, request)

    cdef int count_listing(self, list seen, bint last_is_left_out) except -1:
        # Each entry that is sent counts as a lookup; one that did not fit may have been made for this listing only.
        inodes = self.operations.inodes
        if last_is_left_out:
            child = seen.pop().entry
            if child is not None:
                self.dispatcher.discard(child.nodeid)
        for entry in seen:
            child = entry.entry
            if child is not None and child.nodeid:
                inodes.add_lookup(child.nodeid)
        return 0

    cdef int send_error(self, uint64_t unique, int number, object request) except -1:
        cdef OutHeader header
        header.len = sizeof(OutHeader)
        header.error = -number
        header.unique = unique
        self.sent(write(self.fd, &header, sizeof(OutHeader)), request)
        return 0

    cdef int send_constant(self, uint64_t unique, bytes constant) except -1:
        cdef unsigned char reply[256]
        cdef size_t size = PyBytes_GET_SIZE(constant)
        assert size <= sizeof(reply)
        memcpy(reply, PyBytes_AS_STRING(constant), size)
        (<OutHeader *>reply).unique = unique
        self.sent(write(self.fd, reply, size), None)
        return 0

    cdef int sent(self, Py_ssize_t result, object request) except -1:
        # 1: the kernel took the reply. 0: it waits for it no longer, or refused it.
        cdef int number = errno
        if result >= 0:
            return 1
        if number in (ENOENT, ENODEV, ECONNABORTED, EPIPE, ENOTCONN):
            return 0
        self.drain.refused(request, OSError(number, os.strerror(number)))
        return 0
