"""THE TABLE of notifications: what a session may tell the kernel without being asked. And their encoders.

A notification goes the way of a reply, with `unique` 0 and the code in place of the error: a header, a struct, and for
some a tail whose length a field of the struct counts. Encoders return a list of buffers for one writev(2); data is not
copied.
Source: linux/fuse.h; fs/fuse/dev.c (fuse_notify).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from ...types import Buffer
from .flags import InvalEntryFlags
from .layout import Record
from .structs import (
    NotifyDeleteOut,
    NotifyInvalEntryOut,
    NotifyInvalInodeOut,
    NotifyPollWakeupOut,
    NotifyPruneOut,
    NotifyRetrieveOut,
    NotifyStoreOut,
    OutHeader,
)

__all__ = [
    "BY_CODE",
    "NOTIFICATIONS",
    "Notification",
    "Tail",
    "encode_delete",
    "encode_inc_epoch",
    "encode_inval_entry",
    "encode_inval_inode",
    "encode_notification",
    "encode_poll",
    "encode_prune",
    "encode_resend",
    "encode_retrieve",
    "encode_store",
]

NAME_MAX: Final = 1024
"""Longest name in a notification, in bytes; the kernel refuses a longer one with ENAMETOOLONG."""


@dataclass(frozen=True, slots=True)
class Tail:
    """What follows the struct: a name and its NUL, raw data, or nodeids. The field `count` has its length."""

    attribute: str
    count: str
    kind: Literal["name", "data", "nodeids"]


@dataclass(frozen=True, slots=True)
class Notification:
    """One row. `parts` is the struct, if there is one, and its tail, if there is one."""

    code: int
    name: str
    parts: tuple[type[Record] | Tail, ...]
    since: tuple[int, int]
    summary: str

    @property
    def c_name(self) -> str:
        return f"FUSE_NOTIFY_{self.name.upper()}"


NOTIFICATIONS: Final[tuple[Notification, ...]] = (
    Notification(1, "poll", (NotifyPollWakeupOut,), (7, 11), "Wake those who poll under `kh`."),
    Notification(2, "inval_inode", (NotifyInvalInodeOut,), (7, 12), "Drop a node's attributes and pages."),
    Notification(
        3, "inval_entry", (NotifyInvalEntryOut, Tail("name", "namelen", "name")), (7, 12), "Drop or expire a name."
    ),
    Notification(4, "store", (NotifyStoreOut, Tail("data", "size", "data")), (7, 15), "Put data into the page cache."),
    Notification(5, "retrieve", (NotifyRetrieveOut,), (7, 15), "Ask for cached data; it comes as NOTIFY_REPLY."),
    Notification(
        6,
        "delete",
        (NotifyDeleteOut, Tail("name", "namelen", "name")),
        (7, 18),
        "Drop a name removed elsewhere.",
    ),
    Notification(7, "resend", (), (7, 40), "Send all pending requests again, marked UNIQUE_RESEND."),
    Notification(8, "inc_epoch", (), (7, 44), "Look up every name again."),
    Notification(
        9,
        "prune",
        (NotifyPruneOut, Tail("nodeids", "count", "nodeids")),
        (7, 45),
        "Forget those nodes that nobody uses.",
    ),
)

BY_CODE: Final[Mapping[int, Notification]] = MappingProxyType({row.code: row for row in NOTIFICATIONS})

_pack_header = OutHeader.__layout__.struct.pack
_HEADER_SIZE = OutHeader.__layout__.size


def encode_notification(row: Notification | int, /, **values: Any) -> list[Buffer]:
    """The notification `row` (or its code) with the struct's fields and the tail as keywords; counts are filled in.

    Raises `ValueError` for values that do not fit and for names that the kernel would refuse.
    """
    if isinstance(row, int):
        row = BY_CODE[row]
    tail: list[Buffer] = []
    records: list[type[Record]] = []
    for part in row.parts:
        if isinstance(part, Tail):
            count, data = _encode_tail(row, part, values.pop(part.attribute))
            values[part.count] = count
            tail.append(data)
        else:
            records.append(part)
    if values and not records:
        raise TypeError(f"{row.c_name} has no fields, got {', '.join(values)}")
    head = b"".join(record(**values).pack() for record in records)
    length = _HEADER_SIZE + len(head) + sum(memoryview(data).nbytes for data in tail)
    return [_pack_header(length, row.code, 0) + head, *tail]


def _encode_tail(row: Notification, part: Tail, value: Any) -> tuple[int, Buffer]:
    """Count and bytes of a tail."""
    if part.kind == "data":
        return memoryview(value).nbytes, value
    if part.kind == "nodeids":
        return len(value), struct.pack(f"={len(value)}Q", *value)
    if not 0 < len(value) <= NAME_MAX or b"\0" in value:
        raise ValueError(f"{row.c_name}: name {value!r} is empty, has a NUL, or has more than {NAME_MAX} bytes")
    return len(value), value + b"\0"


def encode_poll(kh: int) -> list[Buffer]:
    """Wake those who wait under the handle `kh` of a POLL request."""
    return encode_notification(1, kh=kh)


def encode_inval_inode(nodeid: int, offset: int = 0, length: int = 0) -> list[Buffer]:
    """Drop attributes and the pages from `offset`; `length` 0 means to the end, a negative `offset` no pages."""
    return encode_notification(2, ino=nodeid, off=offset, len=length)


def encode_inval_entry(parent: int, name: bytes, flags: int = 0) -> list[Buffer]:
    """Drop a name, or with `InvalEntryFlags.EXPIRE_ONLY` let its time-out end now."""
    return encode_notification(3, parent=parent, name=name, flags=int(InvalEntryFlags(flags)))


def encode_store(nodeid: int, offset: int, data: Buffer) -> list[Buffer]:
    """Put `data` into the page cache of a node."""
    return encode_notification(4, nodeid=nodeid, offset=offset, data=data)


def encode_retrieve(notify_unique: int, nodeid: int, offset: int, size: int) -> list[Buffer]:
    """Ask for up to `size` cached bytes; NOTIFY_REPLY brings them under `notify_unique`."""
    return encode_notification(5, notify_unique=notify_unique, nodeid=nodeid, offset=offset, size=size)


def encode_delete(parent: int, child: int, name: bytes) -> list[Buffer]:
    """Drop a name, if it still means the node `child`, and tell those who watch that it was deleted."""
    return encode_notification(6, parent=parent, child=child, name=name)


def encode_resend() -> list[Buffer]:
    """Have all pending requests sent again."""
    return encode_notification(7)


def encode_inc_epoch() -> list[Buffer]:
    """Have every name looked up again."""
    return encode_notification(8)


def encode_prune(nodeids: Sequence[int]) -> list[Buffer]:
    """Have those nodes forgotten that nobody uses."""
    return encode_notification(9, nodeids=nodeids)
