"""The table itself: rows, request classes and decoders belong together one to one."""

from __future__ import annotations

import pytest

from aiovfs.fuse.protocol import BY_NAME, BY_OPCODE, DECODERS, OPERATIONS, Operation, Request, Unknown, messages
from aiovfs.fuse.protocol.flags import KERNEL_MAJOR, KERNEL_MINOR
from aiovfs.fuse.protocol.layout import Record
from aiovfs.fuse.protocol.operations import Bytes, Dirents, Never
from aiovfs.fuse.protocol.structs import EntryOut

ROWS = pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
HEADER = {"unique", "nodeid", "uid", "gid", "pid", "opcode", "fields"}


def request_classes() -> set[type[Request]]:
    return {getattr(messages, name) for name in messages.__all__} - {Request, Unknown}


def test_every_row_has_one_request_class_and_every_class_one_row() -> None:
    assert {row.request for row in OPERATIONS} == request_classes()
    assert len(OPERATIONS) == len(request_classes())


def test_opcodes_and_names_are_unique_and_in_order() -> None:
    opcodes = [row.opcode for row in OPERATIONS]
    assert opcodes == sorted(set(opcodes))
    assert len(BY_OPCODE) == len(BY_NAME) == len(OPERATIONS) == len(DECODERS)


@ROWS
def test_the_request_class_has_opcode_and_attributes_of_its_row(row: Operation) -> None:
    names = tuple(attribute.name for attribute in row.attributes)
    assert row.request.opcode == row.opcode
    assert row.request.fields == names
    assert len(set(names)) == len(names)
    assert not set(names) & HEADER, "would hide a field of the header"
    assert not hasattr(row.request.__new__(row.request), "__dict__"), "a slot is missing somewhere"


@ROWS
def test_the_constructor_takes_every_attribute_by_name(row: Operation) -> None:
    values = {"int": 3, "bytes": b"x", "Buffer": b"abc"}
    given = {attribute.name: values.get(attribute.annotation, []) for attribute in row.attributes}
    request = row.request(unique=1, nodeid=2, uid=3, gid=4, pid=5, **given)
    assert request.values() == given
    assert (request.unique, request.nodeid, request.uid, request.gid, request.pid) == (1, 2, 3, 4, 5)
    assert row.class_name in repr(request)


@ROWS
def test_a_row_says_something_for_people(row: Operation) -> None:
    assert row.summary.endswith(".")
    assert row.since[0] == KERNEL_MAJOR
    assert row.since[1] <= KERNEL_MINOR
    assert row.request.__doc__ is not None
    assert str(row.opcode) in row.request.__doc__


@ROWS
def test_a_reply_that_adds_a_lookup_carries_an_entry_and_the_reverse(row: Operation) -> None:
    parts = () if isinstance(row.reply, Never) else row.reply
    has_entry = any(
        part is EntryOut or (isinstance(part, Dirents) and part.record.__layout__.size > 100) for part in parts
    )
    assert row.adds_lookup == has_entry


@ROWS
def test_reply_parts_name_attributes_of_the_request(row: Operation) -> None:
    if isinstance(row.reply, Never):
        return
    for part in row.reply:
        if isinstance(part, Bytes) and part.at_most:
            assert part.at_most in row.request.fields
            assert part.when_zero is None or part.when_zero.__layout__.size == 8
        else:
            assert isinstance(part, (Bytes, Dirents)) or issubclass(part, Record)


def test_only_requests_that_nobody_waits_for_have_no_reply() -> None:
    assert {row.name for row in OPERATIONS if row.never_replies} == {
        "forget",
        "batch_forget",
        "interrupt",
        "notify_reply",
    }


def test_a_long_value_is_shown_short() -> None:
    shown = repr(messages.Write(size=1 << 20, data=memoryview(bytes(1 << 20))))
    assert "<1048576 bytes>" in shown
    assert "<5000 bytes>" in repr(messages.Setxattr(name=b"user.a", value=bytes(5000)))
    assert "<1000 items>" in repr(messages.BatchForget(items=[(1, 1)] * 1000))
