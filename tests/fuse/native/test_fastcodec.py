"""The decoders in C agree with those in Python: on what the kernel sends, and on what it never would."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiovfs.errors import ProtocolError
from aiovfs.fuse.protocol import BY_OPCODE, OPERATIONS, Operation, Request, decode, decoders_for, encode_request
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import InitFlags
from aiovfs.testing import strategies
from aiovfs.testing.strategies import HEADER_NAMES, Message, with_length

_fastcodec = pytest.importorskip(
    "aiovfs.fuse.protocol._fastcodec", reason="not built: python setup.py build_ext --inplace"
)
NONE = InitFlags(0)
AGREED = st.sampled_from([NONE, InitFlags.SETXATTR_EXT])
COVERED = [row for row in OPERATIONS if row.opcode in _fastcodec.opcodes()]


def content(request: Request) -> dict[str, Any]:
    """Everything that a handler could see of a request, with types: True and 1 are not the same."""
    values = {name: getattr(request, name) for name in HEADER_NAMES} | request.values()
    return {
        name: (type(value), bytes(value) if isinstance(value, memoryview) else value) for name, value in values.items()
    }


def agree(wire: bytes, agreed: InitFlags = NONE) -> None:
    """C gives the same request, or leaves the message to Python; what Python refuses, C never takes."""
    fast = _fastcodec.decode(memoryview(wire), int(agreed))
    try:
        slow = decode(memoryview(wire), decoders_for(agreed))
    except ProtocolError:
        assert fast is None
        return
    if fast is None:
        assert slow.opcode not in _fastcodec.opcodes()
        return
    assert type(fast) is type(slow)
    assert fast.opcode == slow.opcode
    assert content(fast) == content(slow)
    assert repr(fast) == repr(slow)


def test_every_row_is_in_c_but_those_that_come_once_a_session() -> None:
    assert {row.name for row in OPERATIONS} - {row.name for row in COVERED} == {"init", "cuse_init"}


@pytest.mark.parametrize("row", COVERED, ids=lambda row: row.name)
def test_both_make_the_same_request_of_what_the_kernel_sends(row: Operation) -> None:
    @settings(max_examples=60, deadline=None)
    @given(AGREED.flatmap(lambda agreed: strategies.messages_of(row, agreed=agreed, extensions=True)))
    def check(message: Message) -> None:
        assert _fastcodec.decode(memoryview(message.wire), int(message.agreed)) is not None
        agree(message.wire, message.agreed)

    check()


@pytest.mark.parametrize("row", COVERED, ids=lambda row: row.name)
def test_both_refuse_a_message_cut_at_the_same_places(row: Operation) -> None:
    @settings(max_examples=5, deadline=None)
    @given(strategies.messages_of(row), AGREED)
    def check(message: Message, agreed: InitFlags) -> None:
        for length in range(len(message.wire)):
            agree(message.wire[:length], agreed)
            if length >= 4:
                agree(with_length(message.wire[:length]), agreed)

    check()


@settings(max_examples=400, deadline=None)
@given(strategies.garbage(), AGREED)
def test_both_do_the_same_with_garbage(wire: bytes, agreed: InitFlags) -> None:
    agree(wire, agreed)


@settings(max_examples=1500, deadline=None)
@given(strategies.near_misses(), AGREED)
def test_both_do_the_same_with_nonsense_behind_a_true_opcode_and_length(wire: bytes, agreed: InitFlags) -> None:
    agree(wire, agreed)


def test_requests_of_c_are_of_the_ordinary_classes() -> None:
    request = _fastcodec.decode(encode_request(m.Rename2(newdir=5, flags=1, name=b"a", newname=b"b")))
    assert type(request) is m.Rename2
    assert isinstance(request, m.Rename)
    request.name = b"other"
    assert request.name == b"other"
    del request.name
    with pytest.raises(AttributeError):
        _ = request.name


def test_data_of_a_write_is_a_view_that_can_be_released() -> None:
    buffer = bytearray(encode_request(m.Write(size=4, data=b"abcd")))
    request = _fastcodec.decode(memoryview(buffer))
    buffer[-1:] = b"!"
    assert bytes(request.data) == b"abc!"
    request.data.release()
    buffer += b"no view of it is left, so it can grow"


def test_a_subclass_row_has_its_own_opcode() -> None:
    for name in ("Rename", "Rename2", "CopyFileRange", "CopyFileRange64"):
        cls = getattr(m, name)
        made = cls(name=b"n", newname=b"m") if "Rename" in name else cls()
        assert _fastcodec.decode(encode_request(made)).opcode == cls.opcode
        assert BY_OPCODE[cls.opcode].request is cls


def test_many_requests_leave_no_references_behind() -> None:
    name = b"a name of its own"
    wire = encode_request(m.Symlink(nodeid=1 << 40, name=name, target=b"t" * 50))
    broken = with_length(wire[:-1])
    import gc
    import sys

    for _ in range(200):
        _fastcodec.decode(wire)
        _fastcodec.decode(broken)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(2000):
        _fastcodec.decode(wire)
        _fastcodec.decode(broken)
    gc.collect()
    assert sys.getallocatedblocks() - before < 100
