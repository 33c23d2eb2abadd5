"""What handlers are called with, beside plain numbers and bytes.

`RequestContext` and `SetattrFields` belong to one request: they are read-only and refuse to be copied or pickled.

`_fast` has all but `PollHandle` in C, and takes the place of what is here where it was built.
"""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Never

from aiovfs import fuse
from aiovfs.compat.pyfuse3.coercion import U64, to_integer
from aiovfs.compat.pyfuse3.values import NATIVE, EntryAttributes
from aiovfs.fuse.protocol.structs import Dirent, EntryOut

__all__ = [
    "PollHandle",
    "ReaddirToken",
    "RequestContext",
    "SetattrFields",
    "listing_of",
    "make_context",
    "make_fields",
    "make_poll_handle",
    "make_token",
    "readdir_reply",
    "to_attributes",
    "to_entry",
]

ENTRY_SIZE = EntryOut.__layout__.size
DIRENT_SIZE = Dirent.__layout__.size
ENTRY = EntryOut.__layout__.struct
DIRENT = Dirent.__layout__.struct
NANOSECONDS = 1_000_000_000
LARGEST_32 = (1 << 32) - 1
LARGEST_64 = (1 << 64) - 1


def _read_only(slot: str) -> Any:
    return property(operator.attrgetter(slot))


class OfOneRequest:
    """Base of what must not outlive its request."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Never:
        raise pickle.PicklingError(f"{type(self).__name__} belongs to one request and cannot be pickled or copied")


class RequestContext(OfOneRequest):
    """Who asks. `umask` is filled in for mknod, mkdir and create only."""

    __slots__ = ("_gid", "_pid", "_uid", "_umask")

    uid: int = _read_only("_uid")
    gid: int = _read_only("_gid")
    pid: int = _read_only("_pid")
    umask: int = _read_only("_umask")

    def __init__(self) -> None:
        self._uid = self._gid = self._pid = self._umask = 0


class SetattrFields(OfOneRequest):
    """Which attributes a `setattr` is to change."""

    __slots__ = (
        "_update_atime",
        "_update_ctime",
        "_update_gid",
        "_update_mode",
        "_update_mtime",
        "_update_size",
        "_update_uid",
    )

    update_atime: bool = _read_only("_update_atime")
    update_mtime: bool = _read_only("_update_mtime")
    update_ctime: bool = _read_only("_update_ctime")
    update_mode: bool = _read_only("_update_mode")
    update_uid: bool = _read_only("_update_uid")
    update_gid: bool = _read_only("_update_gid")
    update_size: bool = _read_only("_update_size")

    def __init__(self) -> None:
        for slot in SetattrFields.__slots__:
            setattr(self, slot, False)


class ReaddirToken(OfOneRequest):
    """Stands for the reply to one `readdir`; pass it to `readdir_reply`."""

    __slots__ = ("_entries", "_room")

    def __init__(self) -> None:
        self._entries: list[fuse.DirEntry] = []
        self._room = 4096


class PollHandle(OfOneRequest):
    """Tells the kernel that a file that is polled may be ready now. Made by the session only."""

    __slots__ = ("_notify",)
    _notify: Callable[[], None]

    def __init__(self) -> None:
        raise TypeError("a PollHandle cannot be made; the poll handler is given one")

    def notify(self) -> None:
        """Wake whoever polls the file, so that the kernel asks again. Raises `OSError`."""
        self._notify()


def make_context(request: fuse.Request, umask: int = 0) -> RequestContext:
    """The context of a request."""
    context = RequestContext.__new__(RequestContext)
    context._uid = request.uid
    context._gid = request.gid
    context._pid = request.pid
    context._umask = umask
    return context


def make_fields(**updates: bool) -> SetattrFields:
    """A `SetattrFields` with some fields set: `make_fields(update_size=True)`."""
    fields = SetattrFields()
    for name, value in updates.items():
        setattr(fields, f"_{name}", value)
    return fields


def make_token(room: int) -> ReaddirToken:
    """A token for a listing of at most `room` bytes on the wire."""
    token = ReaddirToken()
    token._room = room
    return token


def listing_of(token: ReaddirToken) -> list[fuse.DirEntry]:
    """What was added to a listing. Nothing can be added afterwards."""
    token._room = 0
    return token._entries


def to_attributes(attr: EntryAttributes) -> fuse.Attributes:
    """In our own form; numbers that are wider than the kernel's lose their upper half, as in C."""
    if not isinstance(attr, EntryAttributes):
        raise TypeError(f"Cannot convert {type(attr).__name__} to {EntryAttributes.__module__}.EntryAttributes")
    return fuse.Attributes(
        ino=attr.st_ino,
        mode=attr.st_mode,
        size=attr.st_size & LARGEST_64,
        blocks=attr.st_blocks & LARGEST_64,
        nlink=attr.st_nlink & LARGEST_32,
        uid=attr.st_uid,
        gid=attr.st_gid,
        rdev=attr.st_rdev & LARGEST_32,
        blksize=attr.st_blksize & LARGEST_32,
        atime_ns=attr.st_atime_ns,
        mtime_ns=attr.st_mtime_ns,
        ctime_ns=attr.st_ctime_ns,
        timeout=attr.attr_timeout,
    )


def to_entry(attr: EntryAttributes) -> fuse.Entry:
    """In our own form, as the answer to a lookup."""
    attributes = to_attributes(attr)
    return fuse.Entry(fuse.NodeId(attr.st_ino), attributes, attr.generation, attr.entry_timeout)


def make_poll_handle(notify: Callable[[], None]) -> PollHandle:
    """A handle whose `notify` calls this."""
    handle = PollHandle.__new__(PollHandle)
    handle._notify = notify
    return handle


def readdir_reply(token: ReaddirToken, name: bytes, attr: EntryAttributes, next_id: int) -> bool:
    """Add a name to a listing; False when it does not fit any more.

    Each name that was added, except "." and "..", counts as one lookup of its inode. `next_id` is what a later call
    of `readdir` gets as `start_id` to go on after this name. `attr` may be used again afterwards.
    """
    if not isinstance(token, ReaddirToken):
        raise TypeError(f"Cannot convert {type(token).__name__} to {ReaddirToken.__module__}.ReaddirToken")
    if not isinstance(name, bytes):
        raise TypeError(f"expected bytes, got {name!r} ({type(name).__name__})")
    entry = to_entry(attr)
    offset = to_integer(next_id, U64)
    room = token._room - ENTRY_SIZE - ((DIRENT_SIZE + len(name) + 7) & ~7)
    if room < 0:
        return False
    token._room = room
    token._entries.append(fuse.DirEntry(name, attr.st_ino, attr.st_mode, offset, entry))
    return True


def packed_listing_of(token: ReaddirToken) -> list[fuse.DirEntry]:
    """`listing_of` for tokens in C: out of the bytes again, for those who change entries before they are sent."""
    given = NATIVE.close_listing(token)  # type: ignore[union-attr]
    if isinstance(given, list):
        return given
    wire, at = memoryview(given), 0
    entries: list[fuse.DirEntry] = []
    while at < len(wire):
        nodeid, generation, *valid, ino, size, blocks = ENTRY.unpack_from(wire, at)[:9]
        *times, mode, nlink, uid, gid, rdev, blksize, _ = ENTRY.unpack_from(wire, at)[9:]
        attributes = fuse.Attributes(ino, mode, size, blocks, nlink, uid, gid, rdev, blksize)
        attributes.timeout = valid[1] + valid[3] / NANOSECONDS
        atime, mtime, ctime = (second - (1 << 64) if second >> 63 else second for second in times[:3])
        attributes.atime_ns = atime * NANOSECONDS + times[3]
        attributes.mtime_ns = mtime * NANOSECONDS + times[4]
        attributes.ctime_ns = ctime * NANOSECONDS + times[5]
        entry = fuse.Entry(nodeid, attributes, generation, valid[0] + valid[2] / NANOSECONDS)
        at += ENTRY_SIZE
        _, offset, length, _ = DIRENT.unpack_from(wire, at)
        name = bytes(wire[at + DIRENT_SIZE : at + DIRENT_SIZE + length])
        at += (DIRENT_SIZE + length + 7) & ~7
        entries.append(fuse.DirEntry(name, ino, mode, offset, entry))
    return entries


PYTHON: dict[str, Any] = {
    name: globals()[name]
    for name in ("ReaddirToken", "RequestContext", "SetattrFields", "make_context", "make_fields", "make_token")
}

if not TYPE_CHECKING and NATIVE is not None:
    ReaddirToken, RequestContext, SetattrFields = NATIVE.ReaddirToken, NATIVE.RequestContext, NATIVE.SetattrFields
    make_context, make_fields, make_token = NATIVE.make_context, NATIVE.make_fields, NATIVE.make_token
    readdir_reply, listing_of = NATIVE.readdir_reply, packed_listing_of
