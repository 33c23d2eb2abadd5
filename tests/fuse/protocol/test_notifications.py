"""A notification is a header with the code, the struct, and a tail of the length that the struct says."""

from __future__ import annotations

import struct
import sys

import pytest

from aiovfs.fuse.protocol import notifications as n
from aiovfs.fuse.protocol.flags import KERNEL_MINOR, InvalEntryFlags
from aiovfs.fuse.protocol.layout import Record
from aiovfs.fuse.protocol.structs import OutHeader
from aiovfs.types import Buffer

BIG = 2**63 + 5

# row → an encoder's result, and the values it was given: (field, value) and the tail.
SAMPLES: dict[str, tuple[list[Buffer], dict[str, int], bytes]] = {
    "poll": (n.encode_poll(BIG), {"kh": BIG}, b""),
    "inval_inode": (n.encode_inval_inode(BIG, -1, 2**40), {"ino": BIG, "off": -1, "len": 2**40}, b""),
    "inval_entry": (
        n.encode_inval_entry(BIG, b"na\xffme", InvalEntryFlags.EXPIRE_ONLY),
        {"parent": BIG, "namelen": 5, "flags": 1},
        b"na\xffme\0",
    ),
    "store": (n.encode_store(7, 2**33, b"data"), {"nodeid": 7, "offset": 2**33, "size": 4}, b"data"),
    "retrieve": (
        n.encode_retrieve(BIG, 7, 2**33, 4096),
        {"notify_unique": BIG, "nodeid": 7, "offset": 2**33, "size": 4096},
        b"",
    ),
    "delete": (n.encode_delete(1, BIG, b"gone"), {"parent": 1, "child": BIG, "namelen": 4}, b"gone\0"),
    "resend": (n.encode_resend(), {}, b""),
    "inc_epoch": (n.encode_inc_epoch(), {}, b""),
    "prune": (n.encode_prune([1, BIG]), {"count": 2}, struct.pack("=QQ", 1, BIG)),
}

ROWS = pytest.mark.parametrize("row", n.NOTIFICATIONS, ids=lambda row: row.name)


def record_of(row: n.Notification) -> type[Record] | None:
    return next((part for part in row.parts if isinstance(part, type)), None)


def test_every_code_is_in_the_table_once_and_has_a_sample_here() -> None:
    assert [row.code for row in n.NOTIFICATIONS] == list(range(1, 10))
    assert {row.name for row in n.NOTIFICATIONS} == SAMPLES.keys()
    assert all(row.since <= (7, KERNEL_MINOR) for row in n.NOTIFICATIONS)


@ROWS
def test_the_header_has_the_code_no_unique_and_the_true_length(row: n.Notification) -> None:
    wire = b"".join(SAMPLES[row.name][0])
    assert OutHeader.unpack_from(wire) == OutHeader(len=len(wire), error=row.code, unique=0)


@ROWS
def test_each_value_is_at_the_offset_of_its_field_and_the_tail_follows_the_struct(row: n.Notification) -> None:
    buffers, values, tail = SAMPLES[row.name]
    body = b"".join(buffers)[16:]
    record = record_of(row)
    size = record.__layout__.size if record else 0
    assert body[size:] == tail
    seen = {}
    for field in record.__layout__.fields if record else ():
        raw = body[field.offset : field.offset + field.size]
        if field.is_reserved:
            assert raw == bytes(field.size)
        else:
            signed = values[field.name] < 0
            seen[field.name] = int.from_bytes(raw, sys.byteorder, signed=signed)
    assert seen == values


def test_stored_data_is_handed_on_without_a_copy() -> None:
    data = memoryview(bytearray(b"pages"))
    assert n.encode_store(1, 0, data)[-1] is data


@pytest.mark.parametrize("name", [b"", b"a\0b", b"n" * 1025], ids=["empty", "nul", "long"])
def test_a_name_that_the_kernel_would_refuse_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="FUSE_NOTIFY_INVAL_ENTRY: name"):
        n.encode_inval_entry(1, name)


def test_a_value_that_does_not_fit_names_field_and_value() -> None:
    with pytest.raises(ValueError, match=r"NotifyInvalInodeOut.ino = -1 does not fit uint64_t"):
        n.encode_inval_inode(-1)


def test_a_notification_without_fields_takes_none() -> None:
    with pytest.raises(TypeError, match="FUSE_NOTIFY_RESEND has no fields, got nodeid"):
        n.encode_notification(7, nodeid=1)
