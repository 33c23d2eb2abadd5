"""How far to read ahead of one reader: a policy without clock, fd or loop.

A reader that goes through a file in order gets a window that doubles with each window it has used up; a jump closes
the window. Two jumps in a row mean random access: then exactly what was asked for is fetched, and nothing ahead, until
two reads have been contiguous again. Small steps forward (a reader that skips a header) count as contiguous.
"""

from __future__ import annotations

from aiovfs.fs.ranges import ByteRange

__all__ = ["Readahead"]

KIB = 1024
MIB = 1024 * KIB


class Readahead:
    """The state of one open file. `on_read` is called for each read, in order; the caller fetches what it returns."""

    __slots__ = ("_contiguous", "_end", "_jumps", "_max_window", "_min_window", "_skip", "_until", "_window")

    def __init__(self, *, max_window: int, min_window: int = 256 * KIB, skip: int = 128 * KIB) -> None:
        """`max_window` bytes are the most that is ever ahead of the reader; 0 turns readahead off.

        `skip` is the longest step forward, in bytes, that still counts as reading on.
        """
        self._max_window = max_window
        self._min_window = min(min_window, max_window)
        self._skip = skip
        self._window = 0
        self._end = 0  # where the last read ended
        self._until = 0  # what has been asked for, ahead included
        self._jumps = 0
        self._contiguous = 0

    @property
    def is_random(self) -> bool:
        """True after two jumps in a row: fetch only what is asked for."""
        return self._jumps >= 2

    def on_read(self, offset: int, size: int) -> ByteRange | None:
        """The range to fetch ahead after this read, or None. Sequential reads double the window, up to `max_window`."""
        end = offset + size
        if self._end - self._skip <= offset <= self._end + self._skip:
            # The kernel reads ahead itself and several of its requests may overtake each other, so "a little
            # backwards" is reading on as well.
            self._contiguous += 1
        else:
            self._contiguous = 0
            self._jumps += 1
            self._window = 0
            self._until = end
            self._end = end
            return None
        self._end = max(self._end, end)
        if self._contiguous >= 2:
            self._jumps = 0
        if self._max_window == 0 or self.is_random:
            return None
        if self._window == 0:
            self._window = self._min_window
        elif self._until - self._end > self._window // 2:
            return None  # more than half of the window is still ahead: nothing to do yet
        else:
            self._window = min(2 * self._window, self._max_window)
        start = max(self._until, self._end)
        self._until = self._end + self._window
        return ByteRange(start, self._until) if self._until > start else None
