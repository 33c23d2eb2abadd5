"""What handlers are called with, beside plain numbers and bytes.

`RequestContext` and `SetattrFields` belong to one request: they are read-only and refuse to be copied or pickled.
"""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable
from typing import Any, Never

from aiovfs import fuse
from aiovfs.compat.pyfuse3.coercion import U64, to_integer
from aiovfs.compat.pyfuse3.values import EntryAttributes
from aiovfs.fuse.protocol.structs import Dirent, EntryOut

__all__ = [
    "PollHandle",
    "ReaddirToken",
    "RequestContext",
    "SetattrFields",
    "make_context",
    "make_fields",
    "make_poll_handle",
    "make_token",
    "readdir_reply",
]

ENTRY_SIZE = EntryOut.__layout__.size
DIRENT_SIZE = Dirent.__layout__.size
ALL_FIELDS = operator.attrgetter(
    *("ino", "mode", "size", "blocks", "nlink", "uid", "gid", "rdev", "blksize"),
    *("atime_ns", "mtime_ns", "ctime_ns", "birthtime_ns", "flags", "timeout"),
)
"""In the order of the arguments of `fuse.Attributes`."""


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


def make_token(room: int) -> tuple[ReaddirToken, list[fuse.DirEntry]]:
    """A token for a listing of at most `room` bytes on the wire, and the list that its entries go to."""
    token = ReaddirToken()
    token._room = room
    return token, token._entries


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
    if not isinstance(attr, EntryAttributes):
        raise TypeError(f"Cannot convert {type(attr).__name__} to {EntryAttributes.__module__}.EntryAttributes")
    offset = to_integer(next_id, U64)
    room = token._room - ENTRY_SIZE - ((DIRENT_SIZE + len(name) + 7) & ~7)
    if room < 0:
        return False
    token._room = room
    entry = fuse.Entry(attr.ino, fuse.Attributes(*ALL_FIELDS(attr)), attr._generation, attr._entry_timeout)
    token._entries.append(fuse.DirEntry(name, attr.ino, attr.mode, offset, entry))
    return True
