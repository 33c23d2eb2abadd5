"""THE TABLE of operations: one row for each thing that can be done to a disk.

Everything else about operations is derived from here: what an io_uring engine writes into its submission entry, what a
pool's thread calls, what the Python engine calls, how the result becomes a value, and what cancelling means.

A row says
- its parameters, in order, with how each is taken (`How`) and the field of `struct io_uring_sqe` that it goes to
  (io_uring_enter(2); the names are the kernel's). Engines that are no ring read the same fields, so one description of
  the request serves them all;
- the blocking Python call that does the same, with the same parameters, for threads and for synchronous callers;
- what cancelling means. What only looks, into memory of the library's, *detaches*: its caller goes on at once and the
  result is dropped later. What uses the caller's memory, or changes something, is waited for (the kernel is asked to
  stop it, and mostly cannot): nothing is written to a buffer or a file behind the back of who was cancelled;
- what to do with a result that nobody waits for any more. A descriptor has to be closed.

A parameter that is a path or a name is kept alive by the operation, and is what an error names.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiovfs.aio import blocking

__all__ = ["CALL", "KINDS", "MANY", "OPERATIONS", "Field", "How", "Kind", "Opcode", "Value", "kind_of"]


class Opcode(enum.IntEnum):
    """IORING_OP_*, as in linux/io_uring.h."""

    NONE = -1
    READV = 1
    WRITEV = 2
    FSYNC = 3
    FALLOCATE = 17
    OPENAT = 18
    CLOSE = 19
    STATX = 21
    READ = 22
    WRITE = 23
    FADVISE = 24
    RENAMEAT = 35
    UNLINKAT = 36
    MKDIRAT = 37
    SYMLINKAT = 38
    LINKAT = 39
    FSETXATTR = 41
    SETXATTR = 42
    FGETXATTR = 43
    GETXATTR = 44
    FTRUNCATE = 55


class How(enum.IntEnum):
    """How a parameter is taken."""

    VALUE = 0
    """An integer, as it is."""
    DIR_FD = 1
    """A directory's descriptor, or None for the working directory."""
    PATH = 2
    """A path: str, bytes or PathLike, as a C string."""
    NAME = 3
    """A C string that is no path."""
    SIZE = 4
    """A number of bytes, for which the library allocates the buffer; field and `len` point to it."""
    TARGET = 5
    """A writable buffer of the caller, that is filled."""
    SOURCE = 6
    """A buffer of the caller, that is read."""
    TARGETS = 7
    """A sequence of writable buffers."""
    SOURCES = 8
    """A sequence of buffers."""
    FOLLOW = 9
    """Whether symbolic links are followed; False sets AT_SYMLINK_NOFOLLOW."""
    FOLLOW_OLD = 10
    """The same for link(2), where True sets AT_SYMLINK_FOLLOW."""
    FLAG = 11
    """A boolean that becomes 1 or 0."""


class Value(enum.IntEnum):
    """What the kernel's result becomes."""

    NOTHING = 0
    COUNT = 1
    BYTES = 2
    FD = 3
    STAT = 4
    ANY = 5
    """Whatever the Python function returned."""


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter: its name, the field of the submission entry, how it is taken, and its default."""

    name: str
    slot: str
    """A field of `struct io_uring_sqe`: fd, off, addr, len, flags (the union that all operations' flags share), addr3;
    or `sync`, which is not the kernel's: a synchronisation that follows."""
    how: How = How.VALUE
    default: Any = ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One row."""

    name: str
    opcode: Opcode
    """`NONE` when no ring has it, then a thread does it."""
    parameters: tuple[Field, ...]
    blocking: Callable[..., Any]
    value: Value
    since: tuple[int, int]
    """The first kernel whose rings have the opcode."""
    summary: str
    detaches: bool = False
    """A cancelled caller goes on at once, and what comes later is dropped. Otherwise cancelling waits for the end."""
    constants: dict[str, int] = field(default_factory=dict)
    """Fields of the entry that are the same each time."""
    unwanted: Callable[[Any], object] | None = None
    """Called with a result that nobody waits for any more."""
    is_whole: bool = False
    """Short results are continued until everything is read or written."""

    @property
    def number(self) -> int:
        """This row's place in the table, by which native code knows it."""
        return NUMBERS[self.name]


AT_SYMLINK_NOFOLLOW = 0x100
AT_REMOVEDIR = 0x200
AT_EMPTY_PATH = 0x1000
STATX_BASIC_STATS_AND_BTIME = 0xFFF
FSYNC_DATASYNC = 1

_FD = Field("fd", "fd")
_OFFSET = Field("offset", "off")
_PATH = Field("path", "addr", How.PATH)
_DIR_FD = Field("dir_fd", "fd", How.DIR_FD, None)


def call(func: Callable[..., Any], *args: Any) -> Any:
    """Any blocking function, as one job of a thread."""
    return func(*args)


def many(kind: Kind, parameters: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The results of `kind` with each of `parameters`."""
    return [kind.blocking(*each) for each in parameters]


# fmt: off
_ROWS = (
    Kind("read", Opcode.READ, (_FD, Field("size", "addr", How.SIZE), _OFFSET), blocking.read, Value.BYTES, (5, 6),
         "Read `size` bytes at `offset`; fewer only at the end of the file.", is_whole=True, detaches=True),
    Kind("readinto", Opcode.READ, (_FD, Field("buffer", "addr", How.TARGET), _OFFSET),
         blocking.readinto, Value.COUNT, (5, 6),
         "Fill a buffer from `offset` on.", is_whole=True),
    Kind("readv", Opcode.READV, (_FD, Field("buffers", "addr", How.TARGETS), _OFFSET),
         blocking.readv, Value.COUNT, (5, 1),
         "Fill several buffers from `offset` on.", is_whole=True),
    Kind("write", Opcode.WRITE, (_FD, Field("data", "addr", How.SOURCE), _OFFSET), blocking.write, Value.COUNT, (5, 6),
         "Write all of `data` at `offset`.", is_whole=True),
    Kind("writev", Opcode.WRITEV, (_FD, Field("buffers", "addr", How.SOURCES), _OFFSET),
         blocking.writev, Value.COUNT, (5, 1),
         "Write several buffers from `offset` on.", is_whole=True),
    Kind("write_sync", Opcode.WRITE, (_FD, Field("data", "addr", How.SOURCE), _OFFSET,
                                      Field("data_only", "sync", How.FLAG, True)),
         blocking.write_sync, Value.COUNT, (5, 6),
         "Write all of `data`, then fdatasync or fsync, as one operation.", is_whole=True),
    Kind("fsync", Opcode.FSYNC, (_FD,), os.fsync, Value.NOTHING, (5, 1), "Content and attributes to stable storage."),
    Kind("fdatasync", Opcode.FSYNC, (_FD,), os.fdatasync, Value.NOTHING, (5, 1), "Content to stable storage.",
         constants={"flags": FSYNC_DATASYNC}),
    Kind("open", Opcode.OPENAT, (_PATH, Field("flags", "flags"), Field("mode", "len", default=0o777), _DIR_FD),
         blocking.open_file,
         Value.FD, (5, 6), "Open a file and return its descriptor.", constants={"flags": os.O_CLOEXEC},
         unwanted=os.close, detaches=True),
    Kind("close", Opcode.CLOSE, (_FD,), os.close, Value.NOTHING, (5, 6), "Close a descriptor."),
    Kind("stat", Opcode.STATX, (_PATH, _DIR_FD, Field("follow_symlinks", "flags", How.FOLLOW, True)),
         blocking.stat, Value.STAT,
         (5, 6), "Attributes of a path.", constants={"len": STATX_BASIC_STATS_AND_BTIME}, detaches=True),
    Kind("fstat", Opcode.STATX, (_FD,), os.fstat, Value.STAT, (5, 6), "Attributes of an open file.",
         constants={"len": STATX_BASIC_STATS_AND_BTIME, "flags": AT_EMPTY_PATH}, detaches=True),
    Kind("rename", Opcode.RENAMEAT, (Field("src", "addr", How.PATH), Field("dst", "off", How.PATH),
                        Field("src_dir_fd", "fd", How.DIR_FD, None), Field("dst_dir_fd", "len", How.DIR_FD, None),
                        Field("flags", "flags", default=0)),
         blocking.rename, Value.NOTHING, (5, 11), "Rename, replacing what has the new name unless flags forbid it."),
    Kind("unlink", Opcode.UNLINKAT, (_PATH, _DIR_FD), blocking.unlink, Value.NOTHING, (5, 11), "Remove a file."),
    Kind("rmdir", Opcode.UNLINKAT, (_PATH, _DIR_FD),
         blocking.rmdir, Value.NOTHING, (5, 11), "Remove an empty directory.",
         constants={"flags": AT_REMOVEDIR}),
    Kind("mkdir", Opcode.MKDIRAT, (_PATH, Field("mode", "len", default=0o777), _DIR_FD),
         blocking.mkdir, Value.NOTHING, (5, 15),
         "Make a directory."),
    Kind("symlink", Opcode.SYMLINKAT, (Field("src", "addr", How.PATH), Field("dst", "off", How.PATH),
                         Field("dir_fd", "fd", How.DIR_FD, None)),
         blocking.symlink, Value.NOTHING, (5, 15), "Make a symbolic link."),
    Kind("link", Opcode.LINKAT, (Field("src", "addr", How.PATH), Field("dst", "off", How.PATH),
                      Field("src_dir_fd", "fd", How.DIR_FD, None), Field("dst_dir_fd", "len", How.DIR_FD, None),
                      Field("follow_symlinks", "flags", How.FOLLOW_OLD, False)),
         blocking.link, Value.NOTHING, (5, 15), "Give a file another name."),
    Kind("ftruncate", Opcode.FTRUNCATE, (_FD, Field("length", "off")), os.ftruncate, Value.NOTHING, (6, 9),
         "Cut a file, or lengthen it with zeros."),
    Kind("fallocate", Opcode.FALLOCATE, (_FD, Field("mode", "len"), _OFFSET, Field("length", "addr")),
         blocking.fallocate,
         Value.NOTHING, (5, 6), "Allocate, punch or zero a range."),
    Kind("fadvise", Opcode.FADVISE, (_FD, _OFFSET, Field("length", "len"), Field("advice", "flags")), blocking.fadvise,
         Value.NOTHING, (5, 6), "Say how a range will be used."),
    Kind("getxattr", Opcode.GETXATTR, (Field("path", "addr3", How.PATH), Field("name", "addr", How.NAME),
                          Field("size", "off", How.SIZE, 65536)),
         blocking.getxattr, Value.BYTES, (5, 19), "The value of an extended attribute.", detaches=True),
    Kind("fgetxattr", Opcode.FGETXATTR, (_FD, Field("name", "addr", How.NAME), Field("size", "off", How.SIZE, 65536)),
         blocking.fgetxattr, Value.BYTES, (5, 19), "The value of an extended attribute of an open file.",
         detaches=True),
    Kind("setxattr", Opcode.SETXATTR, (Field("path", "addr3", How.PATH), Field("name", "addr", How.NAME),
                          Field("value", "off", How.SOURCE), Field("flags", "flags", default=0)),
         blocking.setxattr, Value.NOTHING, (5, 19), "Set an extended attribute."),
    Kind("fsetxattr", Opcode.FSETXATTR, (_FD, Field("name", "addr", How.NAME), Field("value", "off", How.SOURCE),
                           Field("flags", "flags", default=0)),
         blocking.fsetxattr, Value.NOTHING, (5, 19), "Set an extended attribute of an open file."),
    Kind("read_file", Opcode.NONE, (_PATH, Field("limit", "off", default=None)), blocking.read_file, Value.ANY, (0, 0),
         "All of a file, or its first `limit` bytes, as one operation.", detaches=True),
    Kind("call", Opcode.NONE, (), call, Value.ANY, (0, 0), "Any blocking function, as one job of a thread."),
    Kind("many", Opcode.NONE, (), many, Value.ANY, (0, 0), "Several operations as one: `perform_many`."),
)
# fmt: on

KINDS = _ROWS
"""The rows in order; native code knows each by its place."""

NUMBERS = {kind.name: number for number, kind in enumerate(KINDS)}

OPERATIONS = {kind.name: kind for kind in KINDS}
"""The rows by name."""

CALL = OPERATIONS["call"]
MANY = OPERATIONS["many"]


def kind_of(kind: Kind | str) -> Kind:
    """The row itself, or the row of that name."""
    if isinstance(kind, Kind):
        return kind
    try:
        return OPERATIONS[kind]
    except KeyError:
        raise ValueError(f"no disk operation is called {kind!r}; there are {', '.join(OPERATIONS)}") from None
