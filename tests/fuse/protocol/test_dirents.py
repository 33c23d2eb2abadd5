"""Directory listings, read back by a parser that knows nothing of ours: the kernel's rules, written out again."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiovfs.errors import ReplyError
from aiovfs.fuse.protocol.dirents import NAME_MAX, NO_ENTRY, DirentBuffer

U64 = st.integers(0, 2**64 - 1)
NAMES = st.binary(min_size=1, max_size=300).filter(lambda name: b"/" not in name)
ENTRIES = st.lists(st.tuples(NAMES, U64, st.integers(0, 15), U64), max_size=30)


class Parsed(NamedTuple):
    name: bytes
    ino: int
    type: int
    offset: int
    entry_out: bytes = b""


def number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def parse(data: bytes, *, plus: bool) -> list[Parsed]:
    """As the kernel walks a listing: head, name, padding to 8 bytes; it stops at the first record that is cut off."""
    found = []
    while data:
        entry_out, data = (data[:128], data[128:]) if plus else (b"", data)
        length = number(data[16:20])
        assert length > 0
        assert len(data) >= 24 + length, "a record is cut off"
        name = data[24 : 24 + length]
        assert b"/" not in name
        found.append(Parsed(name, number(data[:8]), number(data[20:24]), number(data[8:16]), entry_out))
        padded = (24 + length + 7) // 8 * 8
        assert data[24 + length : padded] == bytes(padded - 24 - length), "padding is not zero"
        data = data[padded:]
    return found


@settings(max_examples=200, deadline=None)
@given(ENTRIES, st.integers(0, 3000))
def test_a_listing_holds_what_was_added_and_no_more_than_its_size(
    entries: list[tuple[bytes, int, int, int]], size: int
) -> None:
    buffer = DirentBuffer(size)
    taken = []
    for name, ino, kind, offset in entries:
        before = bytes(buffer.getvalue())
        if not buffer.add(name, ino, kind, offset):
            assert bytes(buffer.getvalue()) == before, "a refused entry left something"
            assert len(buffer) + 24 + len(name) > size - 7, "refused although it fits"
            break
        taken.append(Parsed(name, ino, kind, offset))
    data = bytes(buffer.getvalue())
    assert len(data) == len(buffer) <= size
    assert parse(data, plus=False) == taken


@settings(max_examples=200, deadline=None)
@given(ENTRIES, st.integers(0, 6000), st.binary(min_size=128, max_size=128))
def test_a_listing_with_attributes_holds_them_before_each_entry(
    entries: list[tuple[bytes, int, int, int]], size: int, entry_out: bytes
) -> None:
    buffer = DirentBuffer(size)
    taken = []
    for index, (name, ino, kind, offset) in enumerate(entries):
        attributes = entry_out if index % 3 else NO_ENTRY
        if not buffer.add_plus(attributes, name, ino, kind, offset):
            break
        taken.append(Parsed(name, ino, kind, offset, attributes))
    data = bytes(buffer.getvalue())
    assert len(data) <= size
    assert parse(data, plus=True) == taken


@pytest.mark.parametrize("length", range(1, 18))
def test_an_entry_fits_exactly_into_its_padded_size(length: int) -> None:
    name = b"n" * length
    padded = (24 + length + 7) // 8 * 8
    assert DirentBuffer(padded).add(name, 1, 8, 1)
    assert not DirentBuffer(padded - 1).add(name, 1, 8, 1)
    assert DirentBuffer(128 + padded).add_plus(NO_ENTRY, name, 1, 8, 1)
    assert not DirentBuffer(128 + padded - 1).add_plus(NO_ENTRY, name, 1, 8, 1)


@pytest.mark.parametrize("name", [b"", b"a/b", b"n" * (NAME_MAX + 1)], ids=["empty", "slash", "long"])
def test_a_name_that_would_spoil_the_whole_listing_is_refused_with_advice(name: bytes) -> None:
    with pytest.raises(ReplyError, match="refuses the whole listing otherwise; leave the entry out"):
        DirentBuffer(4096).add(name, 1, 8, 1)
    with pytest.raises(ReplyError, match="refuses the whole listing otherwise; leave the entry out"):
        DirentBuffer(4096).add_plus(NO_ENTRY, name, 1, 8, 1)


def test_attributes_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(ReplyError, match="entry_out of b'x' has 120 bytes, needs 128"):
        DirentBuffer(4096).add_plus(bytes(120), b"x", 1, 8, 1)


def test_an_empty_listing_is_no_bytes() -> None:
    assert bytes(DirentBuffer(4096).getvalue()) == b""
