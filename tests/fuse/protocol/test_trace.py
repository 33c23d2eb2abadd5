"""The trace line, by example."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings

from aiovfs.fuse.protocol import decode, encode_error, messages, reply_header, trace_reply, trace_request
from aiovfs.fuse.protocol import notifications as n
from aiovfs.fuse.protocol.request import Request, Unknown
from aiovfs.testing import strategies
from aiovfs.testing.strategies import Message

LINES = [
    (
        messages.Read(unique=9, nodeid=2, fh=1, offset=131072, size=131072),
        "read unique=9 nodeid=2 fh=1 offset=131072 size=131072",
    ),
    (messages.Lookup(unique=4, nodeid=1, name=b"caf\xc3\xa9 \n"), r"lookup unique=4 nodeid=1 name='caf\xc3\xa9 \n'"),
    (
        messages.Write(unique=8, nodeid=2, fh=3, offset=0, size=4, flags=0x8001, data=memoryview(b"abcd")),
        "write unique=8 nodeid=2 fh=3 offset=0 size=4 flags=0x8001 data=<4 bytes>",
    ),
    (
        messages.Rename2(unique=6, nodeid=1, newdir=5, flags=1, name=b"a", newname=b"b"),
        "rename2 unique=6 nodeid=1 newdir=5 flags=0x1 name='a' newname='b'",
    ),
    (
        messages.Mkdir(unique=2, nodeid=1, mode=0o755, umask=0o22, name=b"d"),
        "mkdir unique=2 nodeid=1 mode=0o755 umask=0o22 name='d'",
    ),
    (
        messages.Setxattr(unique=2, nodeid=3, size=3, name=b"user.a", value=b"abc"),
        "setxattr unique=2 nodeid=3 size=3 name='user.a' value=<3 bytes>",
    ),
    (messages.BatchForget(unique=3, items=[(1, 2), (3, 4)]), "batch_forget unique=3 items=<2 items>"),
    (messages.Interrupt(unique=10, target=9), "interrupt unique=10 target=9"),
    (messages.Statfs(unique=2, nodeid=1), "statfs unique=2 nodeid=1"),
    (Unknown(opcode=77, unique=3, nodeid=1, body=b"xy"), "opcode-77 unique=3 nodeid=1 body=<2 bytes>"),
]


@pytest.mark.parametrize(("request_", "line"), LINES, ids=lambda value: type(value).__name__)
def test_a_request_is_one_readable_line(request_: Request, line: str) -> None:
    assert trace_request(request_) == line


@settings(max_examples=300, deadline=None)
@given(strategies.messages())
def test_any_request_gives_exactly_one_printable_line(message: Message) -> None:
    line = trace_request(decode(memoryview(message.wire)))
    assert line.startswith(f"{message.row.name} unique={message.header['unique']}")
    assert line.isprintable()


def test_a_reply_shows_its_size_or_its_error() -> None:
    assert trace_reply([reply_header(9, 16 + 4), b"data"]) == "reply unique=9 size=4"
    assert trace_reply(encode_error(11, errno.ENOENT)) == "reply unique=11 error=ENOENT"
    assert trace_reply((encode_error(11, 4000),)) == "reply unique=11 error=-4000"


def test_a_notification_shows_its_name() -> None:
    assert trace_reply(n.encode_inval_entry(1, b"name")) == "notify inval_entry size=21"
    assert trace_reply([reply_header(0, 16, 55)]) == "notify code-55 size=0"
