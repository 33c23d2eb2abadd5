"""Byte ranges of a file: join near ones, cut large ones, align them to blocks.

Values in, values out; no I/O. A range is half open, `[start, end)`, as Python slices are. HTTP's ranges are closed at
both ends; `to_header` and `parse_content_range` are the only two places where that difference exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["ByteRange", "ContentRange", "align", "merge", "missing", "parse_content_range", "split", "to_header"]

_CONTENT_RANGE = re.compile(r"\s*bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)\s*", re.IGNORECASE)


class ByteRange(NamedTuple):
    """Bytes `start` up to, not including, `end`. Empty when both are equal."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def contains(self, other: ByteRange) -> bool:
        """Whether every byte of `other` is in this range."""
        return self.start <= other.start and other.end <= self.end


class ContentRange(NamedTuple):
    """What a `Content-Range` header says. `range` is None for an unsatisfied range, `total` None when unknown."""

    range: ByteRange | None
    total: int | None


def merge(ranges: Iterable[ByteRange], *, max_gap: int = 0, max_size: int | None = None) -> list[ByteRange]:
    """Join ranges that overlap, touch, or are at most `max_gap` bytes apart; sorted, without empty ones.

    No join makes a range larger than `max_size`, except where the ranges overlap: bytes are never named twice.
    """
    merged: list[ByteRange] = []
    for current in sorted(r for r in ranges if r.size > 0):
        last = merged[-1] if merged else None
        if last is None or current.start > last.end + max_gap:
            merged.append(current)
            continue
        joined = ByteRange(last.start, max(last.end, current.end))
        if max_size is not None and joined.size > max_size and current.start >= last.end:
            merged.append(current)
        else:
            merged[-1] = joined
    return merged


def split(whole: ByteRange, size: int) -> Iterator[ByteRange]:
    """Cut `whole` into consecutive ranges of `size` bytes; the last one may be shorter."""
    if size <= 0:
        raise ValueError(f"ranges of {size} bytes cannot cover anything; give a size of at least 1")
    for start in range(whole.start, whole.end, size):
        yield ByteRange(start, min(start + size, whole.end))


def align(wanted: ByteRange, block_size: int, *, limit: int | None = None) -> ByteRange:
    """The smallest range of whole blocks around `wanted`, cut off at `limit` (the size of the file, when known)."""
    if wanted.size <= 0:
        return wanted
    start = wanted.start // block_size * block_size
    end = -(-wanted.end // block_size) * block_size
    if limit is not None:
        end = min(end, limit)
    return ByteRange(min(start, end), end)


def missing(wanted: ByteRange, present: Iterable[ByteRange]) -> list[ByteRange]:
    """The parts of `wanted` that no range of `present` covers, in order."""
    gaps: list[ByteRange] = []
    position = wanted.start
    for have in merge(present):
        if have.end <= position:
            continue
        if have.start >= wanted.end:
            break
        if have.start > position:
            gaps.append(ByteRange(position, have.start))
        position = have.end
    if position < wanted.end:
        gaps.append(ByteRange(position, wanted.end))
    return gaps


def to_header(wanted: ByteRange) -> str:
    """The value of HTTP's `Range` header for a range that is not empty.

    Source: RFC 9110, section 14.2.
    """
    if wanted.start < 0 or wanted.size <= 0:
        raise ValueError(
            f"bytes {wanted.start} to {wanted.end} cannot be asked for: HTTP has no empty or negative range"
        )
    return f"bytes={wanted.start}-{wanted.end - 1}"


def parse_content_range(value: str) -> ContentRange | None:
    """Read a `Content-Range` header; None when it is malformed or of another unit than bytes.

    Source: RFC 9110, section 14.4: `bytes 0-9/100`, `bytes 0-9/*`, `bytes */100`.
    """
    match = _CONTENT_RANGE.fullmatch(value)
    if match is None:
        return None
    first, last, total_text = match.groups()
    total = None if total_text == "*" else int(total_text)
    if first is None:
        return ContentRange(None, total)
    found = ByteRange(int(first), int(last) + 1)
    if found.size <= 0 or (total is not None and found.end > total):
        return None
    return ContentRange(found, total)
