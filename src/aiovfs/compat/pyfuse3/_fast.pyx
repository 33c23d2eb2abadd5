# cython: language_level=3, auto_pickle=False
"""pyfuse3's data classes as the structs that the kernel wants, and the handlers' calls without a coroutine around each.

The twin of `values`, `requests` and `adapter`, which say what everything means; those take the classes from here where
this was built. What differs is only where the values live:

- `EntryAttributes` *is* `struct fuse_entry_out`: an assignment converts and checks, and a reply is one copy of the struct.
- `readdir_reply` writes its record into the reply.
- `Handlers` runs the first step of a handler and packs what it returned. A handler that waits is left to the coroutine
  of `adapter.Adapter`, which takes over in the middle.
"""

import copyreg
import errno as errnos
import os
import pickle

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from aiovfs.fuse._packed cimport Packed

from aiovfs.compat.pyfuse3 import coercion

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN = 0
        PYGEN_ERROR = -1
        PYGEN_NEXT = 1
    PySendResult PyIter_Send(PyObject *iter, object arg, PyObject **result) noexcept
    bint PyCoro_CheckExact(object value) noexcept
    bint PyLong_CheckExact(object value) noexcept
    bint PyBytes_CheckExact(object value) noexcept
    bint PyFloat_CheckExact(object value) noexcept
    uint64_t PyLong_AsUnsignedLongLong(object value) except? <uint64_t>-1
    int64_t PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef extern from *:
    """
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

    /* Only ours: nobody else can see that these bytes change. Never so where refcounts are split between threads. */
    static inline int aiovfs_is_ours_alone(PyObject *value)
    {
    #ifdef Py_GIL_DISABLED
        return 0;
    #else
        return Py_REFCNT(value) == 1;
    #endif
    }

    static inline void aiovfs_forget_hash(PyObject *value)
    {
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        ((PyBytesObject *)value)->ob_shash = -1;
    #pragma GCC diagnostic pop
    }
    """
    object take_exception "aiovfs_take_exception"()
    bint is_ours_alone "aiovfs_is_ours_alone"(PyObject *value) noexcept
    void forget_hash "aiovfs_forget_hash"(PyObject *value) noexcept


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

cdef struct EntryOut:
    uint64_t nodeid
    uint64_t generation
    uint64_t entry_valid
    uint64_t attr_valid
    uint32_t entry_valid_nsec
    uint32_t attr_valid_nsec
    Attr attr

cdef struct AttrOut:
    uint64_t attr_valid
    uint32_t attr_valid_nsec
    uint32_t dummy
    Attr attr

cdef struct OpenOut:
    uint64_t fh
    uint32_t open_flags
    int32_t backing_id

cdef struct Dirent:
    uint64_t ino
    uint64_t off
    uint32_t namelen
    uint32_t type

cdef enum:
    S_IFREG = 0o100000
    FORMAT = 0o170000
    S_IFDIR = 0o040000
    DIRECT_IO = 1
    KEEP_CACHE = 2
    NONSEEKABLE = 4
    LARGEST_ERRNO = 511
    NAME_MAX = 1024
    LARGEST_LISTING = 1 << 20
    SPARE_LISTING = 64 << 10
    SPARE_PAYLOAD = 64 << 10

cdef int64_t NANOSECONDS = 1000000000
cdef double LONGEST_TIMEOUT = 4294967295.0

I32, U32, I64, U64, TIME = coercion.I32, coercion.U32, coercion.I64, coercion.U64, coercion.TIME
to_integer = coercion.to_integer


# Conversions of what is assigned. The usual value takes the short way; the rest is `coercion`'s, errors included.


cdef uint64_t as_u64(object value) except? 0xFFFFFFFFFFFFFFFE:
    if not PyLong_CheckExact(value):
        value = to_integer(value, U64)
    try:
        return PyLong_AsUnsignedLongLong(value)
    except OverflowError:
        return to_integer(value, U64)


cdef uint32_t as_u32(object value) except? 0xFFFFFFFE:
    cdef int overflow = 0
    cdef int64_t number
    if not PyLong_CheckExact(value):
        value = to_integer(value, U32)
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or not 0 <= number <= 0xFFFFFFFF:
        to_integer(value, U32)
    return <uint32_t>number


cdef int64_t as_i64(object value) except? -2:
    cdef int overflow = 0
    cdef int64_t number
    if not PyLong_CheckExact(value):
        value = to_integer(value, I64)
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        to_integer(value, I64)
    return number


cdef double as_double(object value) except? -2.0:
    if PyFloat_CheckExact(value):
        return <double>value
    return coercion.to_number(value)


cdef int split_time(object value, uint64_t *seconds, uint32_t *nanoseconds) except -1:
    # Rounded down: a time before 1970 has negative seconds and positive nanoseconds.
    cdef int overflow = 0
    cdef int64_t total, whole
    if not PyLong_CheckExact(value):
        value = to_integer(value, TIME)
    total = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        large, rest = divmod(to_integer(value, TIME), 10**9)
        seconds[0] = <uint64_t><int64_t>large
        nanoseconds[0] = rest
        return 0
    whole = total // NANOSECONDS
    seconds[0] = <uint64_t>whole
    nanoseconds[0] = <uint32_t>(total % NANOSECONDS)
    return 0


cdef object join_time(uint64_t seconds, uint32_t nanoseconds):
    cdef int64_t whole = <int64_t>seconds
    if -9000000000 < whole < 9000000000:
        return whole * NANOSECONDS + nanoseconds
    return int(whole) * 10**9 + nanoseconds


cdef void split_timeout(double given, uint64_t *seconds, uint32_t *nanoseconds) noexcept:
    seconds[0] = nanoseconds[0] = 0
    if given >= LONGEST_TIMEOUT:
        seconds[0] = <uint64_t>LONGEST_TIMEOUT
    elif given > 0:
        seconds[0] = <uint64_t>given
        nanoseconds[0] = <uint32_t>((given - <double>seconds[0]) * <double>NANOSECONDS)


def rebuild(name):
    """Unpickle: by the name of the class in `values`, so that it may be read with native code and without."""
    from aiovfs.compat.pyfuse3 import values

    return getattr(values, name)()


cdef class FUSEError(Exception):
    """Raised by a handler to answer an errno. Not an `OSError`: those are bugs of the file system, and end `main`."""

    cdef int32_t number

    # Checked here, not in `__init__`, which subclasses override: exactly one positional number.
    def __cinit__(self, errno, /):
        cdef int overflow = 0
        cdef int64_t number
        if not PyLong_CheckExact(errno):
            errno = to_integer(errno, I32)
        number = PyLong_AsLongLongAndOverflow(errno, &overflow)
        if overflow or not -0x80000000 <= number <= 0x7FFFFFFF:
            to_integer(errno, I32)
        self.number = <int32_t>number

    def __init__(self, errno, /):
        if not PyLong_CheckExact(errno):
            errno = self.number
        self.args = (errno,)

    @property
    def errno(self):
        return self.number

    @property
    def errno_(self):
        return self.number

    def __str__(self):
        return os.strerror(self.number)

    def __repr__(self):
        return f"FUSEError({self.number})"


ATTRIBUTE_NAMES = (
    "st_ino",
    "generation",
    "entry_timeout",
    "attr_timeout",
    "st_mode",
    "st_nlink",
    "st_uid",
    "st_gid",
    "st_rdev",
    "st_size",
    "st_blksize",
    "st_blocks",
    "st_atime_ns",
    "st_ctime_ns",
    "st_mtime_ns",
    "st_birthtime_ns",
)


@cython.freelist(16)
cdef class EntryAttributes:
    """The attributes of a node, and for how many seconds the kernel may trust them and the name.

    `st_ino` is the inode number that users see and the one that the kernel asks with; 0 in the answer to a lookup
    means that there is no such name, to be remembered for `entry_timeout`. Values are converted when they are assigned.
    """

    cdef EntryOut wire
    cdef double name_timeout
    cdef double node_timeout
    # Wider in a struct stat than on the wire, which gets the lower half.
    cdef uint64_t nlink
    cdef uint64_t rdev
    cdef int64_t blksize

    def __cinit__(self, *args, **kwargs):
        self.wire.attr.mode = S_IFREG
        self.wire.attr.nlink = self.nlink = 1
        self.wire.attr.blksize = self.blksize = 4096
        self.name_timeout = self.node_timeout = 300.0

    def __init__(self, *args, **kwargs):
        pass

    @property
    def st_ino(self):
        return self.wire.nodeid

    @st_ino.setter
    def st_ino(self, value):
        self.wire.nodeid = self.wire.attr.ino = as_u64(value)

    @property
    def generation(self):
        return self.wire.generation

    @generation.setter
    def generation(self, value):
        self.wire.generation = as_u64(value)

    @property
    def entry_timeout(self):
        return self.name_timeout

    @entry_timeout.setter
    def entry_timeout(self, value):
        self.name_timeout = as_double(value)

    @property
    def attr_timeout(self):
        return self.node_timeout

    @attr_timeout.setter
    def attr_timeout(self, value):
        self.node_timeout = as_double(value)

    @property
    def st_mode(self):
        return self.wire.attr.mode

    @st_mode.setter
    def st_mode(self, value):
        self.wire.attr.mode = as_u32(value)

    @property
    def st_uid(self):
        return self.wire.attr.uid

    @st_uid.setter
    def st_uid(self, value):
        self.wire.attr.uid = as_u32(value)

    @property
    def st_gid(self):
        return self.wire.attr.gid

    @st_gid.setter
    def st_gid(self, value):
        self.wire.attr.gid = as_u32(value)

    @property
    def st_size(self):
        return <int64_t>self.wire.attr.size

    @st_size.setter
    def st_size(self, value):
        self.wire.attr.size = <uint64_t>as_i64(value)

    @property
    def st_blocks(self):
        return <int64_t>self.wire.attr.blocks

    @st_blocks.setter
    def st_blocks(self, value):
        self.wire.attr.blocks = <uint64_t>as_i64(value)

    @property
    def st_nlink(self):
        return self.nlink

    @st_nlink.setter
    def st_nlink(self, value):
        self.nlink = as_u64(value)
        self.wire.attr.nlink = <uint32_t>self.nlink

    @property
    def st_rdev(self):
        return self.rdev

    @st_rdev.setter
    def st_rdev(self, value):
        self.rdev = as_u64(value)
        self.wire.attr.rdev = <uint32_t>self.rdev

    @property
    def st_blksize(self):
        return self.blksize

    @st_blksize.setter
    def st_blksize(self, value):
        self.blksize = as_i64(value)
        self.wire.attr.blksize = <uint32_t>self.blksize

    @property
    def st_atime_ns(self):
        return join_time(self.wire.attr.atime, self.wire.attr.atimensec)

    @st_atime_ns.setter
    def st_atime_ns(self, value):
        split_time(value, &self.wire.attr.atime, &self.wire.attr.atimensec)

    @property
    def st_mtime_ns(self):
        return join_time(self.wire.attr.mtime, self.wire.attr.mtimensec)

    @st_mtime_ns.setter
    def st_mtime_ns(self, value):
        split_time(value, &self.wire.attr.mtime, &self.wire.attr.mtimensec)

    @property
    def st_ctime_ns(self):
        return join_time(self.wire.attr.ctime, self.wire.attr.ctimensec)

    @st_ctime_ns.setter
    def st_ctime_ns(self, value):
        split_time(value, &self.wire.attr.ctime, &self.wire.attr.ctimensec)

    @property
    def st_birthtime_ns(self):
        """Always 0 on Linux, where the kernel does not ask for it; assigning it has no effect."""
        return 0

    @st_birthtime_ns.setter
    def st_birthtime_ns(self, value):
        pass

    def __getstate__(self):
        return {name: getattr(self, name) for name in ATTRIBUTE_NAMES}

    def __setstate__(self, state):
        for name, value in state.items():
            setattr(self, name, value)

    def __reduce_ex__(self, protocol):
        if type(self) is EntryAttributes:
            return rebuild, ("EntryAttributes",), self.__getstate__()
        return copyreg.__newobj__, (type(self),), self.__getstate__()


@cython.freelist(16)
cdef class FileInfo:
    """An open file: its handle, and how the kernel is to treat its pages. Note that `keep_cache` defaults to True."""

    cdef uint64_t number
    cdef public bint direct_io
    cdef public bint keep_cache
    cdef public bint nonseekable

    def __init__(self, fh=0, direct_io=False, keep_cache=True, nonseekable=False):
        self.number = as_u64(fh)
        self.direct_io = bool(direct_io)
        self.keep_cache = bool(keep_cache)
        self.nonseekable = bool(nonseekable)

    @property
    def fh(self):
        return self.number

    @fh.setter
    def fh(self, value):
        self.number = as_u64(value)

    def __reduce__(self):
        return type(self), (self.number, self.direct_io, self.keep_cache, self.nonseekable)


cdef object refuse_to_copy(object one):
    raise pickle.PicklingError(f"{type(one).__name__} belongs to one request and cannot be pickled or copied")


@cython.freelist(16)
cdef class RequestContext:
    """Who asks. `umask` is filled in for mknod, mkdir and create only."""

    cdef readonly uint32_t uid
    cdef readonly uint32_t gid
    cdef readonly uint32_t pid
    cdef readonly uint32_t umask

    def __reduce_ex__(self, protocol):
        refuse_to_copy(self)


cdef class SetattrFields:
    """Which attributes a `setattr` is to change."""

    cdef readonly bint update_atime
    cdef readonly bint update_mtime
    cdef readonly bint update_ctime
    cdef readonly bint update_mode
    cdef readonly bint update_uid
    cdef readonly bint update_gid
    cdef readonly bint update_size

    def __reduce_ex__(self, protocol):
        refuse_to_copy(self)


def make_context(request, umask=0):
    """The context of a request."""
    return context_of(request, umask)


cdef RequestContext context_of(object request, object umask):
    cdef RequestContext context = RequestContext.__new__(RequestContext)
    context.uid = request.uid
    context.gid = request.gid
    context.pid = request.pid
    context.umask = umask
    return context


def make_fields(*, bint update_atime=False, bint update_mtime=False, bint update_ctime=False, bint update_mode=False,
                bint update_uid=False, bint update_gid=False, bint update_size=False):
    """A `SetattrFields` with some fields set: `make_fields(update_size=True)`."""
    cdef SetattrFields fields = SetattrFields()
    fields.update_atime = update_atime
    fields.update_mtime = update_mtime
    fields.update_ctime = update_ctime
    fields.update_mode = update_mode
    fields.update_uid = update_uid
    fields.update_gid = update_gid
    fields.update_size = update_size
    return fields


# Listings

cdef unsigned char *spare_listing = NULL


cdef class ReaddirToken(Packed):
    """Stands for the reply to one `readdir`; pass it to `readdir_reply`."""

    cdef size_t limit  # of bytes on the wire
    cdef size_t capacity  # of `data` when that is memory of ours, else 0
    cdef list unusual  # an entry that the packer in Python is to say something about

    def __cinit__(self):
        self.limit = 4096

    def __dealloc__(self):
        global spare_listing
        if self.capacity == SPARE_LISTING and spare_listing == NULL:
            spare_listing = self.data
        elif self.capacity:
            free(self.data)

    def __reduce_ex__(self, protocol):
        refuse_to_copy(self)


cdef int give_room(ReaddirToken token) except -1:
    # When the first name comes: the last reply of a listing is empty.
    global spare_listing
    cdef size_t size = SPARE_LISTING if token.limit <= SPARE_LISTING else token.limit
    cdef unsigned char *memory
    if size == SPARE_LISTING and spare_listing != NULL:
        memory = spare_listing
        spare_listing = NULL
    else:
        memory = <unsigned char *>malloc(size)
        if memory == NULL:
            raise MemoryError(f"{size} bytes for a listing")
    token.data = memory
    token.capacity = size
    return 0


def make_token(room):
    """A token for a listing of at most `room` bytes on the wire."""
    cdef ReaddirToken token = ReaddirToken.__new__(ReaddirToken)
    token.limit = min(room, LARGEST_LISTING)
    return token


cdef object refuse_type(object value, object expected):
    raise TypeError(f"Cannot convert {type(value).__name__} to {expected.__module__}.{expected.__qualname__}")


def readdir_reply(token, name, attr, next_id):
    """Add a name to a listing; False when it does not fit any more.

    Each name that was added, except "." and "..", counts as one lookup of its inode. `next_id` is what a later call
    of `readdir` gets as `start_id` to go on after this name. `attr` may be used again afterwards.
    """
    cdef ReaddirToken reply
    cdef EntryAttributes attributes
    cdef EntryOut *entry
    cdef Dirent *head
    cdef Py_ssize_t length
    cdef size_t size
    cdef uint64_t offset
    if not isinstance(token, ReaddirToken):
        refuse_type(token, ReaddirToken)
    if not isinstance(name, bytes):
        raise TypeError(f"expected bytes, got {name!r} ({type(name).__name__})")
    if not isinstance(attr, EntryAttributes):
        refuse_type(attr, EntryAttributes)
    offset = as_u64(next_id)
    reply = <ReaddirToken>token
    attributes = <EntryAttributes>attr
    length = PyBytes_GET_SIZE(name)
    size = sizeof(EntryOut) + ((sizeof(Dirent) + <size_t>length + 7) & ~<size_t>7)
    if size > reply.limit - reply.size:
        return False
    if not 0 < length <= NAME_MAX or b"/" in <bytes>name or not is_sendable(attributes):
        reply.limit = reply.size
        reply.unusual = [name, to_slow_entry(attributes), offset]
        return True
    if not reply.capacity:
        give_room(reply)
    entry = <EntryOut *>(reply.data + reply.size)
    write_entry(attributes, entry)
    head = <Dirent *>(reply.data + reply.size + sizeof(EntryOut))
    memset(reply.data + reply.size + size - 8, 0, 8)
    head.ino = attributes.wire.attr.ino
    head.off = offset
    head.namelen = <uint32_t>length
    head.type = (attributes.wire.attr.mode & FORMAT) >> 12
    memcpy(<unsigned char *>head + sizeof(Dirent), PyBytes_AS_STRING(name), length)
    reply.size += size
    return True


# Payloads of WRITE

cdef bytes spare_payload = None


cdef bytes payload_of(object data):
    # Bytes of the handler's own. New memory for a large payload costs more than the copy: its pages are zeroed, one
    # fault for each. So the last one is used again once its handler let go of it.
    global spare_payload
    cdef Py_buffer view
    cdef bytes payload
    if len(data) < SPARE_PAYLOAD:
        return bytes(data)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        payload = spare_payload
        spare_payload = None
        if payload is None or PyBytes_GET_SIZE(payload) != view.len or not is_ours_alone(<PyObject *>payload):
            payload = PyBytes_FromStringAndSize(NULL, view.len)
        memcpy(PyBytes_AS_STRING(payload), view.buf, view.len)
        forget_hash(<PyObject *>payload)
        spare_payload = payload
        return payload
    finally:
        PyBuffer_Release(&view)


# Replies


cdef inline bint is_sendable(EntryAttributes attributes) noexcept:
    # A node without a type is refused by the packer in Python, which says so.
    return attributes.wire.nodeid == 0 or attributes.wire.attr.mode & FORMAT != 0


cdef inline void write_entry(EntryAttributes attributes, EntryOut *entry) noexcept:
    entry[0] = attributes.wire
    split_timeout(attributes.name_timeout, &entry.entry_valid, &entry.entry_valid_nsec)
    split_timeout(attributes.node_timeout, &entry.attr_valid, &entry.attr_valid_nsec)


cdef inline void write_opened(FileInfo info, OpenOut *opened) noexcept:
    opened.fh = info.number
    opened.open_flags = (
        (DIRECT_IO if info.direct_io else 0)
        | (KEEP_CACHE if info.keep_cache else 0)
        | (NONSEEKABLE if info.nonseekable else 0)
    )
    opened.backing_id = 0


cdef object to_slow_entry(EntryAttributes attributes):
    from aiovfs.compat.pyfuse3 import requests

    return requests.to_entry(attributes)


cdef object refusal(int number):
    cdef Packed reply = Packed.__new__(Packed)
    reply.error = number
    return reply


cdef object pack_entry(object value):
    cdef Packed reply
    if not isinstance(value, EntryAttributes):
        refuse_type(value, EntryAttributes)
    if not is_sendable(<EntryAttributes>value):
        return to_slow_entry(<EntryAttributes>value)
    reply = Packed.__new__(Packed)
    write_entry(<EntryAttributes>value, <EntryOut *>reply.data)
    reply.size = sizeof(EntryOut)
    return reply


cdef object pack_made(object value):
    # A new node has a number; the packer in Python says so.
    if isinstance(value, EntryAttributes) and not (<EntryAttributes>value).wire.nodeid:
        return to_slow_entry(<EntryAttributes>value)
    return pack_entry(value)


cdef object pack_attributes(object value):
    cdef Packed reply
    cdef AttrOut *out
    cdef EntryAttributes attributes
    if not isinstance(value, EntryAttributes):
        refuse_type(value, EntryAttributes)
    attributes = <EntryAttributes>value
    if attributes.wire.attr.mode & FORMAT == 0:
        return to_slow_entry(attributes).attributes
    reply = Packed.__new__(Packed)
    out = <AttrOut *>reply.data
    split_timeout(attributes.node_timeout, &out.attr_valid, &out.attr_valid_nsec)
    out.dummy = 0
    out.attr = attributes.wire.attr
    reply.size = sizeof(AttrOut)
    return reply


cdef object pack_opened(object value):
    cdef Packed reply
    if not isinstance(value, FileInfo):
        refuse_type(value, FileInfo)
    reply = Packed.__new__(Packed)
    write_opened(<FileInfo>value, <OpenOut *>reply.data)
    reply.size = sizeof(OpenOut)
    return reply


cdef object pack_directory(object value):
    cdef Packed reply = Packed.__new__(Packed)
    cdef OpenOut *opened = <OpenOut *>reply.data
    opened.fh = as_u64(value)
    opened.open_flags = 0
    opened.backing_id = 0
    reply.size = sizeof(OpenOut)
    return reply


cdef object pack_created(object value):
    cdef Packed reply
    opened = attributes = None
    if type(value) is tuple and len(<tuple>value) == 2:
        opened, attributes = <tuple>value
    if (
        not isinstance(attributes, EntryAttributes)
        or not isinstance(opened, FileInfo)
        or not (<EntryAttributes>attributes).wire.nodeid
        or not is_sendable(<EntryAttributes>attributes)
    ):
        from aiovfs.compat.pyfuse3 import adapter

        return adapter.to_created(value)
    reply = Packed.__new__(Packed)
    write_entry(<EntryAttributes>attributes, <EntryOut *>reply.data)
    write_opened(<FileInfo>opened, <OpenOut *>(reply.data + sizeof(EntryOut)))
    reply.size = sizeof(EntryOut) + sizeof(OpenOut)
    return reply


cdef enum Kind:
    ENTRY
    MADE
    ATTRIBUTES
    OPENED
    CREATED
    DIRECTORY
    NOTHING
    COUNT
    DATA
    BYTES
    PERMISSION


cdef object convert(Kind kind, object value):
    if kind == NOTHING:
        return None
    if kind == ENTRY:
        return pack_entry(value)
    if kind == ATTRIBUTES:
        return pack_attributes(value)
    if kind == MADE:
        return pack_made(value)
    if kind == OPENED:
        return pack_opened(value)
    if kind == CREATED:
        return pack_created(value)
    if kind == DIRECTORY:
        return pack_directory(value)
    if kind == COUNT:
        return value if PyLong_CheckExact(value) else to_integer(value, I64)
    if kind == DATA or kind == BYTES:
        if PyBytes_CheckExact(value):
            return value
        from aiovfs.compat.pyfuse3 import adapter

        return adapter.to_data(value) if kind == DATA else adapter.to_bytes(value)
    return None if value else refusal(errnos.EACCES)


cdef class Handlers:
    """The handlers of `fs` as the session calls them, for an `adapter.Adapter`.

    `error_class` is `FUSEError`. NAMES lists what is here; the rest is the adapter's.
    """

    cdef object adapter
    cdef object fs
    cdef object error_class

    def __init__(self, adapter, fs, error_class):
        self.adapter = adapter
        self.fs = fs
        self.error_class = error_class

    cdef object step(self, Kind kind, str name, object work):
        # The first step of a handler; its answer if that was all, else a coroutine for the rest.
        cdef PyObject *given = NULL
        cdef PySendResult status
        if not PyCoro_CheckExact(work):
            return self.adapter.await_handler(name, work)
        status = PyIter_Send(<PyObject *>work, None, &given)
        if status == PYGEN_ERROR:
            return self.failed(kind, name, take_exception())
        value = <object>given
        Py_XDECREF(given)
        if status == PYGEN_NEXT:
            return self.adapter.finish_handler(name, work, value)
        try:
            return convert(kind, value)
        except BaseException as exc:
            return self.failed(kind, name, exc)

    cdef object failed(self, Kind kind, str name, object exc):
        if isinstance(exc, self.error_class):
            number = exc.errno
            if 0 < number <= LARGEST_ERRNO:
                return refusal(number)
            exc = self.adapter.refusal(name, exc, is_void=kind == NOTHING)
            if exc is None:
                return None
        else:
            exc = self.adapter.failure(exc)
        raise exc from None

    def lookup(self, request):
        try:
            work = self.fs.lookup(request.nodeid, request.name, context_of(request, 0))
        except BaseException as exc:
            return self.failed(ENTRY, "lookup", exc)
        return self.step(ENTRY, "lookup", work)

    def getattr(self, request):
        try:
            work = self.fs.getattr(request.nodeid, context_of(request, 0))
        except BaseException as exc:
            return self.failed(ATTRIBUTES, "getattr", exc)
        return self.step(ATTRIBUTES, "getattr", work)

    def readlink(self, request):
        try:
            work = self.fs.readlink(request.nodeid, context_of(request, 0))
        except BaseException as exc:
            return self.failed(BYTES, "readlink", exc)
        return self.step(BYTES, "readlink", work)

    def access(self, request):
        try:
            work = self.fs.access(request.nodeid, request.mask, context_of(request, 0))
        except BaseException as exc:
            return self.failed(PERMISSION, "access", exc)
        return self.step(PERMISSION, "access", work)

    def symlink(self, request):
        try:
            work = self.fs.symlink(request.nodeid, request.name, request.target, context_of(request, 0))
        except BaseException as exc:
            return self.failed(MADE, "symlink", exc)
        return self.step(MADE, "symlink", work)

    def mknod(self, request):
        try:
            work = self.fs.mknod(request.nodeid, request.name, request.mode, request.rdev, context_of(request, request.umask))
        except BaseException as exc:
            return self.failed(MADE, "mknod", exc)
        return self.step(MADE, "mknod", work)

    def mkdir(self, request):
        try:
            work = self.fs.mkdir(request.nodeid, request.name, request.mode & 0o7777 | S_IFDIR, context_of(request, request.umask))
        except BaseException as exc:
            return self.failed(MADE, "mkdir", exc)
        return self.step(MADE, "mkdir", work)

    def unlink(self, request):
        try:
            work = self.fs.unlink(request.nodeid, request.name, context_of(request, 0))
        except BaseException as exc:
            return self.failed(NOTHING, "unlink", exc)
        return self.step(NOTHING, "unlink", work)

    def rmdir(self, request):
        try:
            work = self.fs.rmdir(request.nodeid, request.name, context_of(request, 0))
        except BaseException as exc:
            return self.failed(NOTHING, "rmdir", exc)
        return self.step(NOTHING, "rmdir", work)

    def rename(self, request):
        try:
            work = self.fs.rename(request.nodeid, request.name, request.newdir, request.newname, request.flags, context_of(request, 0))
        except BaseException as exc:
            return self.failed(NOTHING, "rename", exc)
        return self.step(NOTHING, "rename", work)

    def link(self, request):
        try:
            work = self.fs.link(request.oldnodeid, request.nodeid, request.name, context_of(request, 0))
        except BaseException as exc:
            return self.failed(MADE, "link", exc)
        return self.step(MADE, "link", work)

    def create(self, request):
        try:
            work = self.fs.create(request.nodeid, request.name, request.mode, request.flags, context_of(request, request.umask))
        except BaseException as exc:
            return self.failed(CREATED, "create", exc)
        return self.step(CREATED, "create", work)

    def open(self, request):
        try:
            work = self.fs.open(request.nodeid, request.flags, context_of(request, 0))
        except BaseException as exc:
            return self.failed(OPENED, "open", exc)
        return self.step(OPENED, "open", work)

    def read(self, request):
        try:
            work = self.fs.read(request.fh, request.offset, request.size)
        except BaseException as exc:
            return self.failed(DATA, "read", exc)
        return self.step(DATA, "read", work)

    def write(self, request):
        try:
            work = self.fs.write(request.fh, request.offset, payload_of(request.data))
        except BaseException as exc:
            return self.failed(COUNT, "write", exc)
        return self.step(COUNT, "write", work)

    def flush(self, request):
        try:
            work = self.fs.flush(request.fh)
        except BaseException as exc:
            return self.failed(NOTHING, "flush", exc)
        return self.step(NOTHING, "flush", work)

    def release(self, request):
        try:
            work = self.fs.release(request.fh)
        except BaseException as exc:
            return self.failed(NOTHING, "release", exc)
        return self.step(NOTHING, "release", work)

    def fsync(self, request):
        try:
            work = self.fs.fsync(request.fh, bool(request.fsync_flags & 1))
        except BaseException as exc:
            return self.failed(NOTHING, "fsync", exc)
        return self.step(NOTHING, "fsync", work)

    def opendir(self, request):
        try:
            work = self.fs.opendir(request.nodeid, context_of(request, 0))
        except BaseException as exc:
            return self.failed(DIRECTORY, "opendir", exc)
        return self.step(DIRECTORY, "opendir", work)

    def releasedir(self, request):
        try:
            work = self.fs.releasedir(request.fh)
        except BaseException as exc:
            return self.failed(NOTHING, "releasedir", exc)
        return self.step(NOTHING, "releasedir", work)

    def fsyncdir(self, request):
        try:
            work = self.fs.fsyncdir(request.fh, bool(request.fsync_flags & 1))
        except BaseException as exc:
            return self.failed(NOTHING, "fsyncdir", exc)
        return self.step(NOTHING, "fsyncdir", work)

    def getxattr(self, request):
        try:
            work = self.fs.getxattr(request.nodeid, request.name, context_of(request, 0))
        except BaseException as exc:
            return self.failed(BYTES, "getxattr", exc)
        return self.step(BYTES, "getxattr", work)

    def readdirplus(self, request):
        cdef ReaddirToken token = make_token(request.size)
        try:
            work = self.fs.readdir(request.fh, request.offset, token)
        except BaseException as exc:
            return self.failed(NOTHING, "readdir", exc)
        value = self.step(NOTHING, "readdir", work)
        if value is None:
            return close_listing(token)
        if isinstance(value, Packed):
            return value
        return self.adapter.finish_listing(value, token, close_listing)


def close_listing(ReaddirToken token):
    """The handler has ended: nothing can be added any more. What is to be answered."""
    token.limit = token.size
    if token.unusual is None:
        return token
    from aiovfs import fuse

    name, entry, offset = token.unusual
    return [fuse.DirEntry(name, entry.nodeid, entry.attributes.mode, offset, entry)]


NAMES = (
    "lookup",
    "getattr",
    "readlink",
    "access",
    "symlink",
    "mknod",
    "mkdir",
    "unlink",
    "rmdir",
    "rename",
    "link",
    "create",
    "open",
    "read",
    "write",
    "flush",
    "release",
    "fsync",
    "opendir",
    "releasedir",
    "fsyncdir",
    "getxattr",
    "readdirplus",
)
