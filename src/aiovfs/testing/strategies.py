"""Hypothesis strategies derived from the protocol's table: a new row is tested by existing.

`messages_of(row)` draws a request as the kernel would send it together with what it must decode to. The bytes are put
together here from the row and its structs, by other code than the decoders', so that the two can disagree.

    @given(strategies.messages())
    def test_round_trip(message):
        assert decode(message.wire).values() == message.expected
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from aiovfs.fuse.protocol.flags import InitFlags
from aiovfs.fuse.protocol.layout import Record, Scalar
from aiovfs.fuse.protocol.operations import (
    BY_OPCODE,
    OPERATIONS,
    Absent,
    Arguments,
    Array,
    Name,
    Operation,
    Payload,
)
from aiovfs.fuse.protocol.structs import InHeader

__all__ = [
    "HEADER_NAMES",
    "Message",
    "garbage",
    "messages",
    "messages_of",
    "names",
    "near_misses",
    "records",
    "scalars",
    "with_length",
]

HEADER_NAMES = ("unique", "nodeid", "uid", "gid", "pid")

EDGES = sorted(
    {edge + delta for edge in (0, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 63, 1 << 64) for delta in (-1, 0, 1)}
)
"""Where a wrong width or sign shows."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request on the wire, and what it must decode to."""

    row: Operation
    wire: bytes
    header: dict[str, int]
    expected: dict[str, Any]
    agreed: InitFlags = field(default_factory=lambda: InitFlags(0))
    """The features of the session that it was sent in."""
    shortest: int = 0
    """A message of this many bytes would still be whole; every shorter one must be refused."""


def scalars(kind: Scalar) -> st.SearchStrategy[int]:
    """Integers of one wire type, often at the edges."""
    inside = [edge for edge in EDGES if kind.minimum <= edge <= kind.maximum]
    return st.sampled_from([*inside, kind.minimum, kind.maximum]) | st.integers(kind.minimum, kind.maximum)


def names(max_size: int = 255) -> st.SearchStrategy[bytes]:
    """Names as the kernel sends them: any bytes but NUL, at least one."""
    return st.lists(st.integers(1, 255), min_size=1, max_size=max_size).map(bytes)


@st.composite
def records(draw: st.DrawFn, record: type[Record], fixed: dict[str, int] | None = None) -> Any:
    """Instances of a struct. `fixed` gives some fields their value."""
    values: dict[str, Any] = {}
    for one in record.__layout__.fields:
        if one.is_reserved:
            continue
        if fixed is not None and one.name in fixed:
            values[one.name] = fixed[one.name]
        elif isinstance(one.kind, type):
            values[one.name] = draw(records(one.kind))
        elif isinstance(one.kind, Scalar):
            values[one.name] = draw(scalars(one.kind))
        else:
            values[one.name] = draw(st.binary(min_size=one.size, max_size=one.size))
    return record(**values)


def messages(rows: Sequence[Operation] = OPERATIONS) -> st.SearchStrategy[Message]:
    """Messages of any of the rows."""
    return st.sampled_from(rows).flatmap(messages_of)


@st.composite
def messages_of(
    draw: st.DrawFn, row: Operation, *, agreed: InitFlags | None = None, extensions: bool = False
) -> Message:
    """Messages of one row, in a session that agreed to the features `agreed`; with `extensions`, some at the end."""
    agreed = InitFlags(0) if agreed is None else agreed
    header = {
        "unique": draw(st.integers(0, (1 << 64) - 1)),
        "nodeid": draw(st.integers(0, (1 << 64) - 1)),
        "uid": draw(st.integers(0, (1 << 32) - 1)),
        "gid": draw(st.integers(0, (1 << 32) - 1)),
        "pid": draw(st.integers(0, (1 << 32) - 1)),
    }
    expected: dict[str, Any] = {}
    tail = b""
    counted: dict[str, int] = {}
    for part in row.parts:
        match part:
            case Name():
                expected[part.attribute] = draw(names())
                tail += expected[part.attribute] + b"\0"
            case Payload():
                expected[part.attribute] = draw(st.binary(max_size=300))
                counted[part.count] = len(expected[part.attribute])
                tail += expected[part.attribute]
            case Array():
                items = draw(st.lists(records(part.record), max_size=8))
                leaves = [path for path, _ in part.record.__layout__.leaves]
                expected[part.attribute] = [tuple(getattr(item, leaf) for leaf in leaves) for item in items]
                counted[part.count] = len(items)
                tail += b"".join(item.pack() for item in items)
            case Absent():
                expected[part.attribute] = part.value
            case Arguments():
                pass
    body = b""
    shortest = None
    for part in row.parts:
        if isinstance(part, Arguments):
            arguments = draw(records(part.record, counted))
            body = arguments.pack()
            if part.at_least is not None:
                shortest = InHeader.__layout__.size + part.at_least
                body = body[: draw(st.integers(part.at_least, len(body)))]
            if part.short is not None and not part.short[1] & agreed:
                body = body[: part.short[0]]
            expected |= expected_arguments(row, part, body)
    wire = body + tail
    words = draw(st.integers(1, 5)) if extensions else 0
    size = InHeader.__layout__.size + len(wire)
    head = InHeader(len=size + 8 * words, opcode=row.opcode, total_extlen=words, **header)
    return Message(
        row=row,
        wire=head.pack() + wire + draw(st.binary(min_size=8 * words, max_size=8 * words)),
        header=header,
        expected={attribute.name: expected[attribute.name] for attribute in row.attributes},
        agreed=agreed,
        shortest=size if shortest is None else shortest,
    )


def expected_arguments(row: Operation, part: Arguments, body: bytes) -> dict[str, int]:
    """The attributes that the bytes of a struct, or of its beginning, must become."""
    whole = part.record.unpack_from(body.ljust(part.record.__layout__.size, b"\0"))
    values = {path.rpartition(".")[2]: leaf_of(whole, path) for path, _ in part.record.__layout__.leaves}
    for low, high in part.high_half.items():
        upper = values.pop(high)
        if values[low] & InitFlags.INIT_EXT:
            values[low] += upper * (1 << 32)
    return {part.rename.get(name, name): value for name, value in values.items()}


def leaf_of(record: Any, path: str) -> int:
    for name in path.split("."):
        record = getattr(record, name)
    return int(record)


def with_length(wire: bytes, length: int | None = None) -> bytes:
    """The same bytes with a header that says `length`, by default the true one."""
    return struct.pack("=I", len(wire) if length is None else length) + wire[4:]


def garbage(max_size: int = 400) -> st.SearchStrategy[bytes]:
    """Bytes that are most likely no message."""
    return st.binary(max_size=max_size)


@st.composite
def near_misses(draw: st.DrawFn, rows: Sequence[Operation] = OPERATIONS) -> bytes:
    """Bytes with a true length and a known opcode, and nonsense in all other places: they get past the first checks."""
    opcode = draw(st.sampled_from([row.opcode for row in rows if row.opcode in BY_OPCODE]))
    rest = draw(st.binary(min_size=32, max_size=200))
    return with_length(struct.pack("=II", 0, opcode) + rest)
