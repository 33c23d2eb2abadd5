"""request → handler → reply: what to call for each opcode, and how to pack what it returned.

`Dispatcher` is made once per session. It looks every handler up once, leaves out those that the file system does not
override (the kernel is then told the default without a call into Python), and pairs each with the function that packs
its reply. Everything here is bytes and values; `server` owns the device and the tasks.

A reply is a sequence of buffers that starts with the header. Packers raise `ReplyError` for a value that cannot be
sent, which names the handler and the fix.
"""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import anyio.to_thread

from aiovfs.errors import ReplyError
from aiovfs.fuse.handlers import Operations
from aiovfs.fuse.protocol import encode_error, reply_struct
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol import structs as s
from aiovfs.fuse.protocol.dirents import DirentBuffer
from aiovfs.fuse.protocol.flags import OpenFlags, StatxMask
from aiovfs.fuse.protocol.operations import OPERATIONS
from aiovfs.fuse.replies import Attributes, DirEntry, Entry, Opened, Statfs
from aiovfs.types import Buffer

__all__ = ["Dispatcher", "Reply", "Route"]

log = logging.getLogger("aiovfs.fuse")

NANOSECONDS = 1_000_000_000
LONGEST_TIMEOUT = 0xFFFF_FFFF  # seconds, more than a century: what the kernel keeps as "for ever"
# One layout per kind of reply, header included: a single pack call makes the whole reply.
HEADER = reply_struct()
ENTRY = s.EntryOut.__layout__.struct
ENTRY_REPLY = reply_struct(s.EntryOut)
CREATE_REPLY = reply_struct(s.EntryOut, s.OpenOut)
ATTR_REPLY = reply_struct(s.AttrOut)
OPEN_REPLY = reply_struct(s.OpenOut)
WRITE_REPLY = reply_struct(s.WriteOut)
STATFS_REPLY = reply_struct(s.StatfsOut)
OFFSET_REPLY = reply_struct(s.LseekOut)  # BMAP and COPY_FILE_RANGE_64 answer with one u64 as well
XATTR_SIZE_REPLY = reply_struct(s.GetxattrOut)
STATX_REPLY = reply_struct(s.StatxOut)

Reply = Sequence[Buffer]
Pack = Callable[[Any, Any], Reply]


class Route(NamedTuple):
    """How one opcode is served. `adds_lookup` says that the reply holds an Entry, which counts once it was sent."""

    name: str
    handler: Callable[[Any], Any]
    pack: Pack
    adds_lookup: bool


def pack_error(unique: int, number: int) -> Reply:
    """An error reply; `number` is a positive errno, 0 is plain success."""
    return (encode_error(unique, number),)


def attribute_fields(a: Attributes) -> tuple[int, ...]:
    """The fields of struct fuse_attr. Times before 1970 keep their sign: the kernel reads the seconds as signed."""
    atime, atimensec = divmod(a.atime_ns, NANOSECONDS)
    mtime, mtimensec = divmod(a.mtime_ns, NANOSECONDS)
    ctime, ctimensec = divmod(a.ctime_ns, NANOSECONDS)
    return (
        a.ino,
        a.size,
        a.blocks,
        atime & 0xFFFF_FFFF_FFFF_FFFF,
        mtime & 0xFFFF_FFFF_FFFF_FFFF,
        ctime & 0xFFFF_FFFF_FFFF_FFFF,
        atimensec,
        mtimensec,
        ctimensec,
        a.mode,
        a.nlink,
        a.uid,
        a.gid,
        a.rdev,
        a.blksize,
        a.flags,
    )


@functools.lru_cache(maxsize=64)
def timeout_fields(seconds: float) -> tuple[int, int]:
    """Whole seconds and nanoseconds of a time-out; `inf` and negative numbers are brought into range."""
    if seconds <= 0:
        return 0, 0
    if seconds >= LONGEST_TIMEOUT:
        return LONGEST_TIMEOUT, 0
    whole = int(seconds)
    return whole, int((seconds - whole) * NANOSECONDS)


def entry_fields(entry: Entry) -> tuple[int, ...]:
    entry_valid, entry_valid_nsec = timeout_fields(entry.timeout)
    attr_valid, attr_valid_nsec = timeout_fields(entry.attributes.timeout)
    return (
        entry.nodeid,
        entry.generation,
        entry_valid,
        attr_valid,
        entry_valid_nsec,
        attr_valid_nsec,
        *attribute_fields(entry.attributes),
    )


def opened_fields(opened: Opened) -> tuple[int, int, int]:
    flags = OpenFlags(0)
    if opened.direct_io:
        flags |= OpenFlags.DIRECT_IO
    if opened.keep_cache:
        flags |= OpenFlags.KEEP_CACHE
    if opened.nonseekable:
        flags |= OpenFlags.NONSEEKABLE
    if opened.cache_dir:
        flags |= OpenFlags.CACHE_DIR
    if opened.stream:
        flags |= OpenFlags.STREAM
    if opened.noflush:
        flags |= OpenFlags.NOFLUSH
    if opened.parallel_direct_writes:
        flags |= OpenFlags.PARALLEL_DIRECT_WRITES
    return opened.fh, int(flags), 0  # no backing_id


def pack_nothing(request: m.Request, value: object) -> Reply:
    return (HEADER.pack(16, 0, request.unique),)


def pack_entry(request: m.Request, entry: Entry) -> Reply:
    return (ENTRY_REPLY.pack(ENTRY_REPLY.size, 0, request.unique, *entry_fields(entry)),)


def pack_created(request: m.Request, created: tuple[Entry, Opened]) -> Reply:
    entry, opened = created
    return (CREATE_REPLY.pack(CREATE_REPLY.size, 0, request.unique, *entry_fields(entry), *opened_fields(opened)),)


def pack_attributes(request: m.Request, attributes: Attributes) -> Reply:
    valid, valid_nsec = timeout_fields(attributes.timeout)
    return (ATTR_REPLY.pack(ATTR_REPLY.size, 0, request.unique, valid, valid_nsec, *attribute_fields(attributes)),)


def pack_statx(request: m.Request, a: Attributes) -> Reply:
    valid, valid_nsec = timeout_fields(a.timeout)
    times: list[int] = []
    for time_ns in (a.atime_ns, a.birthtime_ns, a.ctime_ns, a.mtime_ns):
        times += divmod(time_ns, NANOSECONDS)
    mask = StatxMask.BASIC_STATS | (StatxMask.BTIME if a.birthtime_ns else StatxMask(0))
    return (
        STATX_REPLY.pack(
            *(STATX_REPLY.size, 0, request.unique),
            *(valid, valid_nsec, 0),
            *(int(mask), a.blksize, 0, a.nlink, a.uid, a.gid, a.mode, a.ino, a.size, a.blocks, 0),
            *times,
            *(os.major(a.rdev), os.minor(a.rdev), 0, 0),
        ),
    )


def pack_opened(request: m.Request, opened: Opened) -> Reply:
    return (OPEN_REPLY.pack(OPEN_REPLY.size, 0, request.unique, *opened_fields(opened)),)


def pack_written(request: m.Write, count: int) -> Reply:
    if not 0 <= count <= request.size:
        raise ReplyError(f"write unique={request.unique}: handler returned {count} of {request.size} bytes")
    return (WRITE_REPLY.pack(WRITE_REPLY.size, 0, request.unique, count),)


def pack_copied(request: m.CopyFileRange, count: int) -> Reply:
    return (WRITE_REPLY.pack(WRITE_REPLY.size, 0, request.unique, count),)


def pack_copied_64(request: m.CopyFileRange64, count: int) -> Reply:
    return (OFFSET_REPLY.pack(OFFSET_REPLY.size, 0, request.unique, count),)


def pack_statfs(request: m.Request, st: Statfs) -> Reply:
    fields = (st.blocks, st.bfree, st.bavail, st.files, st.ffree, st.bsize, st.namelen, st.frsize)
    return (STATFS_REPLY.pack(STATFS_REPLY.size, 0, request.unique, *fields),)


def pack_offset(request: m.Request, offset: int) -> Reply:
    return (OFFSET_REPLY.pack(OFFSET_REPLY.size, 0, request.unique, offset),)


def pack_data(request: m.Read, data: Buffer) -> Reply:
    length = len(data) if type(data) is bytes else memoryview(data).nbytes
    if length > request.size:
        raise ReplyError(
            f"read unique={request.unique}: handler returned {length} bytes, the kernel asked for at most "
            f"{request.size}; return a shorter buffer"
        )
    return (HEADER.pack(16 + length, 0, request.unique), data)


def pack_target(request: m.Readlink, target: bytes) -> Reply:
    if not isinstance(target, bytes):
        raise ReplyError(f"readlink unique={request.unique}: handler returned {target!r}, expected bytes")
    return (HEADER.pack(16 + len(target), 0, request.unique), target)


def pack_xattr(request: m.Getxattr | m.Listxattr, value: bytes) -> Reply:
    """The value, its size when the caller only asked for that, or ERANGE when its buffer is too small."""
    if request.size == 0:
        return (XATTR_SIZE_REPLY.pack(XATTR_SIZE_REPLY.size, 0, request.unique, len(value)),)
    if len(value) > request.size:
        return pack_error(request.unique, errno.ERANGE)
    return (HEADER.pack(16 + len(value), 0, request.unique), value)


def pack_xattr_names(request: m.Listxattr, names: Iterable[bytes]) -> Reply:
    return pack_xattr(request, b"".join(name + b"\0" for name in names))


class Dispatcher:
    """The routes of one file system, by opcode. An opcode that is missing is answered ENOSYS."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations
        self.routes: dict[int, Route] = {}
        special: dict[str, tuple[str, Pack]] = {
            "readdir": ("readdir", self.pack_listing),
            "readdirplus": ("readdirplus", self.pack_listing_plus),
            "rename2": ("rename", pack_nothing),
            "copy_file_range_64": ("copy_file_range", pack_copied_64),
        }
        for operation in OPERATIONS:
            method, pack = special.get(operation.name, (operation.name, PACKERS.get(operation.name)))
            handler = getattr(operations, method, None)
            if pack is None or handler is None:
                continue
            if is_overridden(operations, method):
                handler = adapted(handler)
            elif method not in ANSWERED_BY_DEFAULT:
                continue
            else:
                handler = functools.partial(step_default, handler)
            self.routes[operation.opcode] = Route(operation.name, handler, pack, operation.adds_lookup)

    @property
    def has_readdirplus(self) -> bool:
        return is_overridden(self.operations, "readdirplus")

    def pack_listing(self, request: m.Readdir, entries: Iterable[DirEntry]) -> Reply:
        buffer = DirentBuffer(request.size)
        for entry in entries:
            if not buffer.add(entry.name, entry.ino, entry.mode >> 12 & 0xF, entry.offset):
                break
        data = buffer.getvalue()
        return (HEADER.pack(16 + len(data), 0, request.unique), data)

    def pack_listing_plus(self, request: m.Readdirplus, entries: Iterable[DirEntry]) -> Reply:
        """As `pack_listing`; counts a lookup for each entry as it is packed, as the reply will be sent whole."""
        buffer = DirentBuffer(request.size)
        inodes = self.operations.inodes
        for entry in entries:
            child = entry.entry
            packed = ENTRY.pack(*entry_fields(child)) if child is not None else bytes(ENTRY.size)
            if not buffer.add_plus(packed, entry.name, entry.ino, entry.mode >> 12 & 0xF, entry.offset):
                if child is not None and inodes is not None:
                    inodes.discard(child.nodeid)
                break
            if child is not None and inodes is not None and child.nodeid:
                inodes.add_lookup(child.nodeid)
        data = buffer.getvalue()
        return (HEADER.pack(16 + len(data), 0, request.unique), data)

    def count_lookup(self, value: Any, count: int) -> None:
        """Count the Entry that was just sent (1), or was not taken by the kernel (0: it may be dropped)."""
        inodes = self.operations.inodes
        if inodes is None:
            return
        entry: Entry = value[0] if isinstance(value, tuple) else value
        if not entry.nodeid:
            return
        if count:
            inodes.add_lookup(entry.nodeid)
        else:
            obj = inodes.discard(entry.nodeid)
            if obj is not None:
                self.operations.forgotten(entry.nodeid, obj)

    def reply_for(self, route: Route, request: m.Request, value: Any) -> Reply:
        """Pack what a handler returned; a value of the wrong type or size becomes a `ReplyError`."""
        try:
            return route.pack(request, value)
        except ReplyError:
            raise
        except (AttributeError, TypeError, ValueError, struct.error) as exc:
            raise ReplyError(
                f"{route.name} unique={request.unique}: handler {handler_name(route.handler)} returned {value!r}, "
                f"which cannot be sent: {exc}",
                hint=f"see Operations.{route.name} for what it is to return",
            ) from exc

    def error_for(self, route: Route, request: m.Request, exc: BaseException) -> Reply:
        """An errno for an `OSError`; for anything else EIO, and the traceback to the log."""
        if isinstance(exc, OSError) and isinstance(exc.errno, int) and 0 < exc.errno < 4096:
            return pack_error(request.unique, exc.errno)
        log.error(
            "%s unique=%d nodeid=%d: the handler failed; the caller gets EIO",
            route.name,
            request.unique,
            request.nodeid,
            exc_info=exc,
        )
        return pack_error(request.unique, errno.EIO)


PACKERS: dict[str, Pack] = {
    "lookup": pack_entry,
    "getattr": pack_attributes,
    "setattr": pack_attributes,
    "statx": pack_statx,
    "readlink": pack_target,
    "access": pack_nothing,
    "statfs": pack_statfs,
    "symlink": pack_entry,
    "mknod": pack_entry,
    "mkdir": pack_entry,
    "link": pack_entry,
    "unlink": pack_nothing,
    "rmdir": pack_nothing,
    "rename": pack_nothing,
    "create": pack_created,
    "tmpfile": pack_created,
    "open": pack_opened,
    "read": pack_data,
    "write": pack_written,
    "flush": pack_nothing,
    "release": pack_nothing,
    "fsync": pack_nothing,
    "fallocate": pack_nothing,
    "lseek": pack_offset,
    "copy_file_range": pack_copied,
    "bmap": pack_offset,
    "syncfs": pack_nothing,
    "opendir": pack_opened,
    "releasedir": pack_nothing,
    "fsyncdir": pack_nothing,
    "setxattr": pack_nothing,
    "getxattr": pack_xattr,
    "listxattr": pack_xattr_names,
    "removexattr": pack_nothing,
}
ANSWERED_BY_DEFAULT = frozenset({"statfs", "open", "opendir", "release", "releasedir"})


def is_overridden(operations: Operations, method: str) -> bool:
    """Did the file system bring its own handler (in its class or on the instance)?"""
    own = getattr(operations, method)
    return getattr(own, "__func__", own) is not getattr(Operations, method)


def adapted(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The handler as the session calls it: one marked `blocking` becomes a coroutine that waits for a thread."""
    if not getattr(handler, "__aiovfs_blocking__", False):
        return handler
    if inspect.iscoroutinefunction(handler):
        raise TypeError(f"{handler_name(handler)} is async: `blocking` is for handlers that are plain functions")

    @functools.wraps(handler)
    async def in_thread(request: m.Request) -> Any:
        return await anyio.to_thread.run_sync(handler, request)

    return in_thread


def step_default(handler: Callable[[Any], Any], request: m.Request) -> Any:
    """Run one of our own defaults, none of which waits."""
    try:
        handler(request).send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError(f"the default of {request!r} waited")


def handler_name(handler: Callable[[Any], Any]) -> str:
    inner = getattr(handler, "func", handler)
    return getattr(inner, "__qualname__", repr(inner))
