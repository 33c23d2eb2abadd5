"""The range planner: every byte that was wanted is covered, and none twice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovfs.fs.ranges import ByteRange, align, merge, missing, parse_content_range, split, to_header

byte_ranges = st.builds(lambda start, size: ByteRange(start, start + size), st.integers(0, 300), st.integers(0, 60))


def bytes_of(ranges: list[ByteRange]) -> set[int]:
    return {position for r in ranges for position in range(r.start, r.end)}


@given(st.lists(byte_ranges), st.integers(0, 20))
def test_merged_ranges_cover_all_bytes_in_order_and_none_twice(ranges: list[ByteRange], max_gap: int) -> None:
    merged = merge(ranges, max_gap=max_gap)
    assert bytes_of(ranges) <= bytes_of(merged)
    assert all(a.end + max_gap < b.start for a, b in itertools.pairwise(merged))


@given(st.lists(byte_ranges))
def test_merging_without_a_gap_adds_no_byte(ranges: list[ByteRange]) -> None:
    assert bytes_of(merge(ranges)) == bytes_of(ranges)


def test_ranges_are_not_joined_beyond_the_largest_size() -> None:
    assert merge([ByteRange(0, 8), ByteRange(8, 16), ByteRange(17, 20)], max_gap=4, max_size=12) == [
        ByteRange(0, 8),
        ByteRange(8, 20),
    ]


def test_overlapping_ranges_are_joined_even_beyond_the_largest_size() -> None:
    assert merge([ByteRange(0, 8), ByteRange(4, 16)], max_size=10) == [ByteRange(0, 16)]


@given(byte_ranges, st.integers(1, 50))
def test_split_pieces_follow_each_other_and_are_at_most_the_size(whole: ByteRange, size: int) -> None:
    pieces = list(split(whole, size))
    assert sum(p.size for p in pieces) == whole.size
    assert all(0 < p.size <= size for p in pieces)
    assert all(a.end == b.start for a, b in itertools.pairwise(pieces))


def test_splitting_into_pieces_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        list(split(ByteRange(0, 10), 0))


@given(byte_ranges.filter(lambda r: r.size > 0), st.integers(1, 64))
def test_aligned_range_is_whole_blocks_around_the_wanted_bytes(wanted: ByteRange, block: int) -> None:
    aligned = align(wanted, block)
    assert aligned.contains(wanted)
    assert aligned.start % block == 0
    assert aligned.end % block == 0
    assert aligned.size < wanted.size + 2 * block


def test_alignment_stops_at_the_end_of_the_file() -> None:
    assert align(ByteRange(70, 90), 64, limit=100) == ByteRange(64, 100)


def test_alignment_of_an_empty_range_is_that_range() -> None:
    assert align(ByteRange(70, 70), 64) == ByteRange(70, 70)


@given(byte_ranges, st.lists(byte_ranges))
def test_missing_parts_are_exactly_the_bytes_not_present(wanted: ByteRange, present: list[ByteRange]) -> None:
    assert bytes_of(missing(wanted, present)) == bytes_of([wanted]) - bytes_of(present)


def test_header_closes_the_range_at_its_last_byte() -> None:
    assert to_header(ByteRange(0, 10)) == "bytes=0-9"


def test_header_for_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="no empty"):
        to_header(ByteRange(5, 5))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes 0-9/100", (ByteRange(0, 10), 100)),
        ("Bytes 5-5/*", (ByteRange(5, 6), None)),
        ("bytes */100", (None, 100)),
        ("bytes 9-0/100", None),
        ("bytes 0-100/100", None),
        ("items 0-9/100", None),
        ("bytes 0-9", None),
        ("", None),
    ],
)
def test_content_range_is_read_or_refused(header: str, expected: object) -> None:
    assert parse_content_range(header) == expected
