"""Pack the replies to READDIR and READDIRPLUS.

A reply is a row of records, each padded to 8 bytes, at most as many bytes as the request's `size`. Each record carries
the cookie to go on from; the kernel sends it back as `offset` of the next request. An empty reply ends the directory.
"""

from __future__ import annotations

from ...errors import ReplyError
from .structs import Dirent, EntryOut

__all__ = ["NAME_MAX", "NO_ENTRY", "DirentBuffer"]

NAME_MAX = 1024
"""Longest name the kernel takes in a listing, in bytes."""

NO_ENTRY = bytes(EntryOut.__layout__.size)
"""The `entry_out` of READDIRPLUS for a name without attributes ("." and ".."); the kernel counts no lookup for it."""

_pack_into = Dirent.__layout__.struct.pack_into
_HEAD_SIZE = Dirent.__layout__.size
_ENTRY_SIZE = EntryOut.__layout__.size


class DirentBuffer:
    """Room for `size` bytes of records. `add` answers False, and writes nothing, when a record does not fit."""

    __slots__ = ("_buffer", "_used", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._buffer = bytearray(size)
        self._used = 0

    def __len__(self) -> int:
        """Bytes in use."""
        return self._used

    def add(self, name: bytes, ino: int, type: int, offset: int) -> bool:
        """Append an entry. `type` is a DT_* number (`mode >> 12`), `offset` the cookie of the entry after it.

        Raises `ReplyError` for a name that would make the kernel refuse the whole listing with EIO.
        """
        start = self._used
        length = len(name)
        stop = start + ((_HEAD_SIZE + length + 7) & ~7)
        if not 0 < length <= NAME_MAX or b"/" in name:
            raise ReplyError(_bad_name(name))
        if stop > self.size:
            return False
        buffer = self._buffer
        _pack_into(buffer, start, ino, offset, length, type)
        start += _HEAD_SIZE
        buffer[start : start + length] = name
        self._used = stop
        return True

    def add_plus(self, entry_out: bytes, name: bytes, ino: int, type: int, offset: int) -> bool:
        """Append an entry of READDIRPLUS: `entry_out` is a packed `EntryOut`, or `NO_ENTRY`.

        The kernel counts a lookup for every entry whose nodeid is not 0, except "." and "..".
        """
        start = self._used
        if len(entry_out) != _ENTRY_SIZE:
            raise ReplyError(f"readdirplus: entry_out of {name!r} has {len(entry_out)} bytes, needs {_ENTRY_SIZE}")
        length = len(name)
        stop = start + _ENTRY_SIZE + ((_HEAD_SIZE + length + 7) & ~7)
        if not 0 < length <= NAME_MAX or b"/" in name:
            raise ReplyError(_bad_name(name))
        if stop > self.size:
            return False
        buffer = self._buffer
        buffer[start : start + _ENTRY_SIZE] = entry_out
        start += _ENTRY_SIZE
        _pack_into(buffer, start, ino, offset, length, type)
        start += _HEAD_SIZE
        buffer[start : start + length] = name
        self._used = stop
        return True

    def getvalue(self) -> memoryview:
        """The reply's body so far; a view, so the buffer must not be added to while it is in use."""
        return memoryview(self._buffer)[: self._used]


def _bad_name(name: bytes) -> str:
    shown = name if len(name) <= 80 else name[:80] + b"..."
    return (
        f"a directory entry is named {shown!r} ({len(name)} bytes); the kernel takes 1 to {NAME_MAX} bytes "
        f"without '/', and refuses the whole listing otherwise; leave the entry out"
    )
