"""How far to read ahead of one reader. Pure: reads in, ranges out.

A reader that jumps gets what it asks for and nothing more. One that reads on gets a window that doubles each time it
has used half of the last one, so a whole file is read with a handful of requests in flight, and what is fetched and
never used is at most `largest`.

Reading on once may be chance (a magic number, then a header); the window opens at the second read that goes on.
"""

from __future__ import annotations

from aiovfs.fs.ranges import ByteRange

__all__ = ["LARGEST", "SMALLEST", "Window"]

SMALLEST = 256 * 1024
"""Bytes of the first window."""

LARGEST = 16 * 1024 * 1024
"""Bytes of the last one."""

SKIP = 128 * 1024
"""The longest step forward, in bytes, that still counts as reading on."""


class Window:
    """The readahead of one open file."""

    __slots__ = ("_end", "_largest", "_run", "_size", "_until")

    def __init__(self, largest: int = LARGEST) -> None:
        """`largest`: the most bytes ahead of the reader; 0 turns readahead off."""
        self._largest = largest
        self._size = 0  # of the present window
        self._end = 0  # where the last read ended
        self._until = 0  # what has been asked for, ahead included
        self._run = 0  # reads that went on where the last one ended

    @property
    def size(self) -> int:
        """Bytes that may be ahead of the reader now."""
        return self._size

    def on_read(self, offset: int, size: int) -> ByteRange | None:
        """What to fetch ahead after a read of `size` bytes at `offset`; None when there is nothing to do."""
        end = offset + size
        reads_on = self._end <= offset <= self._end + SKIP and self._end > 0
        self._end = end
        if not reads_on:
            self._run = self._size = 0
            self._until = end
            return None
        self._run += 1
        if self._run < 2 or not self._largest:
            return None
        if self._size == 0:
            self._size = min(max(SMALLEST, 2 * size), self._largest)
        elif self._until - end > self._size // 2:
            return None  # more than half of the window is still ahead
        else:
            self._size = min(2 * self._size, self._largest)
        start = max(self._until, end)
        self._until = end + self._size
        return ByteRange(start, self._until) if self._until > start else None
