# cython: language_level=3, auto_pickle=False
"""The replies that file systems make most often, as C structs of objects: quicker to make and to pack.

Same constructors, attributes, equality, repr and pickles as the classes of `replies`, which takes the place of its own
ones with these when they can be loaded. Attributes take any object, as the Python classes do: what a value must be is
said when it is packed, in one place.

They are invisible to the garbage collector, which would otherwise run for every few hundred entries of a listing: what
they hold are numbers, bytes, and each other.
"""

import stat

cimport cython

cdef extern from "Python.h":
    bint PyLong_CheckExact(object value) noexcept
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1


cdef bint same(object one, object other, tuple names) except -1:
    for name in names:
        if getattr(one, name) != getattr(other, name):
            return False
    return True


cdef str shown(object one, tuple names):
    return f"{type(one).__name__}({', '.join([f'{name}={getattr(one, name)!r}' for name in names])})"


cdef tuple recipe(object one, object cls, tuple arguments):
    # Pickles name the class by where users find it, so that they can be read with and without native code.
    if type(one) is not cls:
        return type(one), arguments
    from aiovfs.fuse.replies import rebuild

    return rebuild, (cls.__name__, arguments)


@cython.no_gc
@cython.freelist(16)
cdef class Attributes:
    """What stat(2) shows of one node.

    `mode` holds type and permission bits. `blocks` counts units of 512 bytes; None derives it from `size`.
    `timeout` is the `attr_timeout`: seconds the kernel may use these values without asking again; 0 = ask each time.
    """

    __slots__ = (
        "atime_ns",
        "birthtime_ns",
        "blksize",
        "blocks",
        "ctime_ns",
        "flags",
        "gid",
        "ino",
        "mode",
        "mtime_ns",
        "nlink",
        "rdev",
        "size",
        "timeout",
        "uid",
    )
    __hash__ = None

    def __init__(
        self,
        ino,
        mode,
        size=0,
        blocks=None,
        nlink=1,
        uid=0,
        gid=0,
        rdev=0,
        blksize=4096,
        atime_ns=0,
        mtime_ns=0,
        ctime_ns=0,
        birthtime_ns=0,
        flags=0,
        timeout=1.0,
    ):
        cdef int overflow = 0
        cdef long long known
        self.ino = ino
        self.mode = mode
        self.size = size
        if blocks is not None:
            self.blocks = blocks
        elif PyLong_CheckExact(size):
            known = PyLong_AsLongLongAndOverflow(size, &overflow)
            self.blocks = (size + 511) // 512 if overflow or known > (<long long>1 << 62) else (known + 511) // 512
        else:
            self.blocks = (size + 511) // 512
        self.nlink = nlink
        self.uid = uid
        self.gid = gid
        self.rdev = rdev
        self.blksize = blksize
        self.atime_ns = atime_ns
        self.mtime_ns = mtime_ns
        self.ctime_ns = ctime_ns
        self.birthtime_ns = birthtime_ns
        self.flags = flags
        self.timeout = timeout

    @classmethod
    def from_stat(cls, result, *, timeout=1.0):
        return cls(
            ino=result.st_ino,
            mode=result.st_mode,
            size=result.st_size,
            blocks=result.st_blocks,
            nlink=result.st_nlink,
            uid=result.st_uid,
            gid=result.st_gid,
            rdev=result.st_rdev,
            blksize=result.st_blksize,
            atime_ns=result.st_atime_ns,
            mtime_ns=result.st_mtime_ns,
            ctime_ns=result.st_ctime_ns,
            timeout=timeout,
        )

    @property
    def is_directory(self):
        return stat.S_ISDIR(self.mode)

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return same(self, other, Attributes.__slots__)

    def __repr__(self):
        return shown(self, Attributes.__slots__)

    def __reduce__(self):
        return recipe(
            self,
            Attributes,
            (
                self.ino,
                self.mode,
                self.size,
                self.blocks,
                self.nlink,
                self.uid,
                self.gid,
                self.rdev,
                self.blksize,
                self.atime_ns,
                self.mtime_ns,
                self.ctime_ns,
                self.birthtime_ns,
                self.flags,
                self.timeout,
            ),
        )


@cython.no_gc
@cython.freelist(16)
cdef class Entry:
    """The answer to a look-up: a node, its attributes, and how long the kernel may trust the name.

    Each `Entry` that reaches the kernel counts as one lookup of `nodeid`. `nodeid` 0 is a negative entry: the name
    does not exist, and the kernel may remember that for `timeout` seconds.
    """

    __slots__ = ("attributes", "generation", "nodeid", "timeout")
    __hash__ = None

    def __init__(self, nodeid, attributes, generation=0, timeout=1.0):
        self.nodeid = nodeid
        self.attributes = attributes
        self.generation = generation
        self.timeout = timeout

    @classmethod
    def negative(cls, timeout):
        return cls(0, Attributes(0, 0, timeout=0.0), timeout=timeout)

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return same(self, other, Entry.__slots__)

    def __repr__(self):
        return shown(self, Entry.__slots__)

    def __reduce__(self):
        return recipe(self, Entry, (self.nodeid, self.attributes, self.generation, self.timeout))


@cython.no_gc
@cython.freelist(16)
cdef class Opened:
    """An open file or directory: its handle, and how the kernel is to treat its pages (the FOPEN flags).

    `passthrough` is a descriptor of the file that the kernel is to read and write itself, in a mount with the option of
    that name. It is borrowed until the reply is sent. The handlers serve where the kernel cannot.
    """

    __slots__ = (
        "cache_dir",
        "direct_io",
        "fh",
        "keep_cache",
        "noflush",
        "nonseekable",
        "parallel_direct_writes",
        "passthrough",
        "stream",
    )
    __hash__ = None

    def __init__(
        self,
        fh=0,
        direct_io=False,
        keep_cache=False,
        nonseekable=False,
        cache_dir=False,
        stream=False,
        noflush=False,
        parallel_direct_writes=False,
        passthrough=None,
    ):
        self.fh = fh
        self.direct_io = direct_io
        self.keep_cache = keep_cache
        self.nonseekable = nonseekable
        self.cache_dir = cache_dir
        self.stream = stream
        self.noflush = noflush
        self.parallel_direct_writes = parallel_direct_writes
        self.passthrough = passthrough

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return same(self, other, Opened.__slots__)

    def __repr__(self):
        return shown(self, Opened.__slots__)

    def __reduce__(self):
        return recipe(
            self,
            Opened,
            (
                self.fh,
                self.direct_io,
                self.keep_cache,
                self.nonseekable,
                self.cache_dir,
                self.stream,
                self.noflush,
                self.parallel_direct_writes,
                self.passthrough,
            ),
        )


@cython.no_gc
@cython.freelist(256)
cdef class DirEntry:
    """One name of a directory listing.

    `mode` gives the type (`S_IFDIR`, …). `offset` is the cookie of the *next* entry: what a later request carries to
    go on after this one. `entry` makes it a READDIRPLUS entry and counts as a lookup; "." and ".." have none.
    """

    __slots__ = ("entry", "ino", "mode", "name", "offset")
    __hash__ = None

    def __init__(self, name, ino, mode, offset, entry=None):
        self.name = name
        self.ino = ino
        self.mode = mode
        self.offset = offset
        self.entry = entry

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return same(self, other, DirEntry.__slots__)

    def __repr__(self):
        return shown(self, DirEntry.__slots__)

    def __reduce__(self):
        return recipe(self, DirEntry, (self.name, self.ino, self.mode, self.offset, self.entry))
