"""What a handler returned → the reply's bytes. Pure functions, one for each kind of reply.

A reply is a sequence of buffers that starts with the header. A value that cannot be sent raises: `ReplyError` where we
can say what is wrong and what to do, or whatever Python raises for a value of the wrong type; `dispatch` adds the name
of the handler to that. Nothing may come out of here that makes the write fail later, so everything is checked that
packing into a struct does not check by itself.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from aiovfs.errors import ReplyError
from aiovfs.fuse.protocol import encode_error, reply_struct
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol import structs as s
from aiovfs.fuse.protocol.flags import OpenFlags, StatxMask
from aiovfs.fuse.replies import Attributes, Entry, IoctlResult, Lock, Opened, Statfs
from aiovfs.types import Buffer

__all__ = [
    "PACKERS",
    "Pack",
    "Reply",
    "entry_fields",
    "pack_copied_64",
    "pack_created",
    "pack_data",
    "pack_error",
    "pack_opened",
    "timeout_fields",
]

NANOSECONDS = 1_000_000_000
LONGEST_TIMEOUT = 0xFFFF_FFFF  # seconds, more than a century: what the kernel keeps as "for ever"
FORMAT = 0o170000  # the bits of a mode that hold the type of file
UNLOCKED = 2  # F_UNLCK of <fcntl.h>
BESIDE_PASSTHROUGH = OpenFlags.DIRECT_IO | OpenFlags.PARALLEL_DIRECT_WRITES | OpenFlags.NOFLUSH
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
LOCK_REPLY = reply_struct(s.LkOut)
IOCTL_REPLY = reply_struct(s.IoctlOut)
POLL_REPLY = reply_struct(s.PollOut)

Reply: TypeAlias = Sequence[Buffer]
Pack: TypeAlias = Callable[[Any, Any], Reply]


def pack_error(unique: int, number: int) -> Reply:
    """An error reply; `number` is a positive errno, 0 is plain success."""
    return (encode_error(unique, number),)


# Fields of the structs


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


def check_type(a: Attributes) -> None:
    """The kernel answers EIO to whoever looks at a node without a type, and says nothing to us."""
    if not a.mode & FORMAT:
        raise ReplyError(f"mode {a.mode:#o} has no file type; add one, as in stat.S_IFREG | {a.mode:#o}")


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
    attributes = entry.attributes
    if entry.nodeid:
        check_type(attributes)
    entry_valid, entry_valid_nsec = timeout_fields(entry.timeout)
    attr_valid, attr_valid_nsec = timeout_fields(attributes.timeout)
    return (
        entry.nodeid,
        entry.generation,
        entry_valid,
        attr_valid,
        entry_valid_nsec,
        attr_valid_nsec,
        *attribute_fields(attributes),
    )


def opened_fields(opened: Opened, backing_id: int = 0) -> tuple[int, int, int]:
    """The fields of struct fuse_open_out; flags that the kernel does not take beside PASSTHROUGH are left out."""
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
    if backing_id:
        flags = flags & BESIDE_PASSTHROUGH | OpenFlags.PASSTHROUGH
    return opened.fh, int(flags), backing_id


# One for each kind of reply


def pack_nothing(request: m.Request, value: object) -> Reply:
    if value is not None:
        raise ReplyError("nothing but None can be sent; raise OSError(errno, …) to answer an error")
    return (HEADER.pack(16, 0, request.unique),)


def pack_entry(request: m.Request, entry: Entry) -> Reply:
    return (ENTRY_REPLY.pack(ENTRY_REPLY.size, 0, request.unique, *entry_fields(entry)),)


def pack_made(request: m.Request, entry: Entry) -> Reply:
    """As `pack_entry`, for what was just made: it exists."""
    check_exists(entry)
    return pack_entry(request, entry)


def check_exists(entry: Entry) -> None:
    if not entry.nodeid:
        raise ReplyError("nodeid 0 says that there is no such name; raise OSError(errno, …) if it could not be made")


def pack_created(request: m.Request, created: tuple[Entry, Opened], backing_id: int = 0) -> Reply:
    entry, opened = created
    check_exists(entry)
    fields = (*entry_fields(entry), *opened_fields(opened, backing_id))
    return (CREATE_REPLY.pack(CREATE_REPLY.size, 0, request.unique, *fields),)


def pack_attributes(request: m.Request, attributes: Attributes) -> Reply:
    check_type(attributes)
    valid, valid_nsec = timeout_fields(attributes.timeout)
    return (ATTR_REPLY.pack(ATTR_REPLY.size, 0, request.unique, valid, valid_nsec, *attribute_fields(attributes)),)


def pack_statx(request: m.Request, a: Attributes) -> Reply:
    check_type(a)
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


def pack_opened(request: m.Request, opened: Opened, backing_id: int = 0) -> Reply:
    return (OPEN_REPLY.pack(OPEN_REPLY.size, 0, request.unique, *opened_fields(opened, backing_id)),)


def pack_written(request: m.Write, count: int) -> Reply:
    if not 0 <= count <= request.size:
        raise ReplyError(f"handler returned {count} of {request.size} bytes; return how many were taken")
    return (WRITE_REPLY.pack(WRITE_REPLY.size, 0, request.unique, count),)


def check_copied(request: m.CopyFileRange, count: int) -> None:
    if not 0 <= count <= request.len:
        raise ReplyError(f"handler returned {count} of {request.len} bytes; return how many were copied")


def pack_copied(request: m.CopyFileRange, count: int) -> Reply:
    check_copied(request, count)
    return (WRITE_REPLY.pack(WRITE_REPLY.size, 0, request.unique, count),)


def pack_copied_64(request: m.CopyFileRange64, count: int) -> Reply:
    check_copied(request, count)
    return (OFFSET_REPLY.pack(OFFSET_REPLY.size, 0, request.unique, count),)


def pack_statfs(request: m.Request, st: Statfs) -> Reply:
    fields = (st.blocks, st.bfree, st.bavail, st.files, st.ffree, st.bsize, st.namelen, st.frsize)
    return (STATFS_REPLY.pack(STATFS_REPLY.size, 0, request.unique, *fields),)


def pack_offset(request: m.Request, offset: int) -> Reply:
    return (OFFSET_REPLY.pack(OFFSET_REPLY.size, 0, request.unique, offset),)


def sendable(data: Buffer) -> Buffer:
    """The buffer as writev(2) takes it, and its length as `len`. `TypeError` when it is no buffer."""
    if type(data) is bytes:
        return data
    view = memoryview(data)
    if not view.c_contiguous:
        raise ReplyError("the buffer has gaps, and only contiguous ones can be sent; return bytes of it")
    return view.cast("B") if view.nbytes else b""


def pack_data(request: m.Read, data: Buffer) -> Reply:
    data = sendable(data)
    length = len(data)
    if length > request.size:
        raise ReplyError(
            f"handler returned {length} bytes, the kernel asked for at most {request.size}; return a shorter buffer"
        )
    return (HEADER.pack(16 + length, 0, request.unique), data)


def pack_target(request: m.Readlink, target: object) -> Reply:
    if not isinstance(target, bytes) or not 0 < len(target) < 4096 or b"\0" in target:
        raise ReplyError("a link's target is 1 to 4095 bytes without NUL; use os.fsencode on a str")
    return (HEADER.pack(16 + len(target), 0, request.unique), target)


def pack_xattr(request: m.Getxattr | m.Listxattr, value: Buffer) -> Reply:
    """The value, its size when the caller only asked for that, or ERANGE when its buffer is too small."""
    value = sendable(value)
    length = len(value)
    if length > 65536:
        raise ReplyError(f"{length} bytes are too many, no extended attribute may have more than 65536")
    if request.size == 0:
        return (XATTR_SIZE_REPLY.pack(XATTR_SIZE_REPLY.size, 0, request.unique, length),)
    if length > request.size:
        return pack_error(request.unique, errno.ERANGE)
    return (HEADER.pack(16 + length, 0, request.unique), value)


def pack_xattr_names(request: m.Listxattr, names: Any) -> Reply:
    if isinstance(names, (bytes, str)):
        raise ReplyError("expected an iterable of names, each of them bytes")
    joined = b"".join(name + b"\0" for name in names)
    if b"\0\0" in joined or joined.startswith(b"\0"):
        raise ReplyError("a name is empty or ends with a NUL; leave it out, NULs are added by the session")
    return pack_xattr(request, joined)


def pack_lock(request: m.Getlk, lock: Lock | None) -> Reply:
    """The lock that is in the way; None says that the range could be locked."""
    if lock is None:
        lock = Lock(UNLOCKED, 0, 0)
    fields = (lock.start, lock.end, lock.type, lock.pid)
    return (LOCK_REPLY.pack(LOCK_REPLY.size, 0, request.unique, *fields),)


def pack_ioctl(request: m.Ioctl, value: IoctlResult | Buffer | int) -> Reply:
    """What ioctl(2) returns, and the bytes that go into the caller's argument."""
    if isinstance(value, int):
        value = IoctlResult(value)
    elif not isinstance(value, IoctlResult):
        value = IoctlResult(0, value)
    data = sendable(value.data)
    if len(data) > request.out_size:
        raise ReplyError(
            f"handler returned {len(data)} bytes, but command {request.cmd:#x} takes at most {request.out_size}; "
            "the size is part of the command's number (see _IOR in linux/ioctl.h)"
        )
    head = IOCTL_REPLY.pack(IOCTL_REPLY.size + len(data), 0, request.unique, value.result, 0, 0, 0)
    return (head, data)


def pack_poll(request: m.Poll, events: int) -> Reply:
    return (POLL_REPLY.pack(POLL_REPLY.size, 0, request.unique, int(events)),)


PACKERS: Mapping[str, Pack] = MappingProxyType(
    {
        "lookup": pack_entry,
        "getattr": pack_attributes,
        "setattr": pack_attributes,
        "statx": pack_statx,
        "readlink": pack_target,
        "access": pack_nothing,
        "statfs": pack_statfs,
        "symlink": pack_made,
        "mknod": pack_made,
        "mkdir": pack_made,
        "link": pack_made,
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
        "getlk": pack_lock,
        "setlk": pack_nothing,
        "setlkw": pack_nothing,
        "ioctl": pack_ioctl,
        "poll": pack_poll,
    }
)
