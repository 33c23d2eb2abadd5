"""What handlers return. Plain values; `dispatch` packs them into the kernel's structs.

Times are integers of nanoseconds since the epoch, time-outs are seconds as floats, sizes are bytes.

`Attributes`, `DirEntry`, `Entry` and `Opened` are made for nearly every request; `_replies` has them in C, and takes
the place of the classes here where it was built. `PYTHON` keeps the classes of this module.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from aiovfs.fuse.native import load
from aiovfs.types import Buffer

__all__ = ["Attributes", "DirEntry", "Entry", "IoctlResult", "Lock", "Opened", "Statfs"]


class Reply:
    """Equality and a readable repr over `__slots__`."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class Attributes(Reply):
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

    def __init__(
        self,
        ino: int,
        mode: int,
        size: int = 0,
        blocks: int | None = None,
        nlink: int = 1,
        uid: int = 0,
        gid: int = 0,
        rdev: int = 0,
        blksize: int = 4096,
        atime_ns: int = 0,
        mtime_ns: int = 0,
        ctime_ns: int = 0,
        birthtime_ns: int = 0,
        flags: int = 0,
        timeout: float = 1.0,
    ) -> None:
        self.ino = ino
        self.mode = mode
        self.size = size
        self.blocks = (size + 511) // 512 if blocks is None else blocks
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
    def from_stat(cls, result: Any, *, timeout: float = 1.0) -> Attributes:
        """From an `os.stat_result`, as a passthrough file system needs it."""
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
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


class Entry(Reply):
    """The answer to a look-up: a node, its attributes, and how long the kernel may trust the name.

    Each `Entry` that reaches the kernel counts as one lookup of `nodeid`. `nodeid` 0 is a negative entry: the name
    does not exist, and the kernel may remember that for `timeout` seconds.
    """

    __slots__ = ("attributes", "generation", "nodeid", "timeout")

    def __init__(self, nodeid: int, attributes: Attributes, generation: int = 0, timeout: float = 1.0) -> None:
        self.nodeid = nodeid
        self.attributes = attributes
        self.generation = generation
        self.timeout = timeout

    @classmethod
    def negative(cls, timeout: float) -> Entry:
        """ "No such name", to be remembered by the kernel for `timeout` seconds."""
        return cls(0, Attributes(0, 0, timeout=0.0), timeout=timeout)


class Opened(Reply):
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

    def __init__(
        self,
        fh: int = 0,
        direct_io: bool = False,
        keep_cache: bool = False,
        nonseekable: bool = False,
        cache_dir: bool = False,
        stream: bool = False,
        noflush: bool = False,
        parallel_direct_writes: bool = False,
        passthrough: int | None = None,
    ) -> None:
        self.fh = fh
        self.direct_io = direct_io
        self.keep_cache = keep_cache
        self.nonseekable = nonseekable
        self.cache_dir = cache_dir
        self.stream = stream
        self.noflush = noflush
        self.parallel_direct_writes = parallel_direct_writes
        self.passthrough = passthrough


class Statfs(Reply):
    """What statfs(2) reports. `blocks`, `bfree`, `bavail` count units of `frsize` bytes."""

    __slots__ = ("bavail", "bfree", "blocks", "bsize", "ffree", "files", "frsize", "namelen")

    def __init__(
        self,
        blocks: int = 0,
        bfree: int = 0,
        bavail: int = 0,
        files: int = 0,
        ffree: int = 0,
        bsize: int = 4096,
        frsize: int = 4096,
        namelen: int = 255,
    ) -> None:
        self.blocks = blocks
        self.bfree = bfree
        self.bavail = bavail
        self.files = files
        self.ffree = ffree
        self.bsize = bsize
        self.frsize = frsize
        self.namelen = namelen


class DirEntry(Reply):
    """One name of a directory listing.

    `mode` gives the type (`S_IFDIR`, …). `offset` is the cookie of the *next* entry: what a later request carries to
    go on after this one. `entry` makes it a READDIRPLUS entry and counts as a lookup; "." and ".." have none.
    """

    __slots__ = ("entry", "ino", "mode", "name", "offset")

    def __init__(self, name: bytes, ino: int, mode: int, offset: int, entry: Entry | None = None) -> None:
        self.name = name
        self.ino = ino
        self.mode = mode
        self.offset = offset
        self.entry = entry


class Lock(Reply):
    """A byte range lock. `type` is `fcntl.F_RDLCK`, `F_WRLCK` or `F_UNLCK`; `end` is the last byte that it covers.

    `pid` is the process that holds it, as numbered in the name space of the mount; 0 when that is not known.
    """

    __slots__ = ("end", "pid", "start", "type")

    def __init__(self, type: int, start: int, end: int, pid: int = 0) -> None:
        self.type = type
        self.start = start
        self.end = end
        self.pid = pid


class IoctlResult(Reply):
    """What ioctl(2) returns (not negative: raise `OSError` for that), and the bytes for the caller's argument."""

    __slots__ = ("data", "result")

    def __init__(self, result: int = 0, data: Buffer = b"") -> None:
        self.result = result
        self.data = data


def rebuild(name: str, arguments: tuple[Any, ...]) -> Any:
    """Unpickle a reply: by the name of its class, so that it may be read with native code and without."""
    return globals()[name](*arguments)


PYTHON = {cls.__name__: cls for cls in (Attributes, DirEntry, Entry, Opened)}

if not TYPE_CHECKING:
    NATIVE, REASON = load("_replies")
    if NATIVE is not None:
        Attributes, DirEntry, Entry, Opened = NATIVE.Attributes, NATIVE.DirEntry, NATIVE.Entry, NATIVE.Opened
