"""Memory that a disk can write to directly: aligned, and taken from a pool.

O_DIRECT wants the memory, the offset and the size of a transfer aligned to what the device says (512 or 4096 bytes on
most). A `Buffer` begins at a page, so that every device takes it. Giving it back keeps the pages: what a page costs
when it is touched for the first time (a fault and 4 KiB of zeros) is paid once.

The pool keeps blocks by their size in powers of two, at most `POOL_SIZE` bytes; what is beyond goes back to the system.
Memory that is still used by somebody (an operation that runs, a memoryview that was kept) never gets into the pool: it
goes when its last user does.
"""

from __future__ import annotations

import mmap
import threading
from types import TracebackType
from typing import Self

__all__ = ["POOL_SIZE", "Buffer", "alloc"]

POOL_SIZE = 64 << 20
"""Bytes of free memory that are kept for the next `alloc`."""

PAGE = mmap.PAGESIZE


class _Pool:
    """Free blocks by size class. Threads share it: each class is a list, whose append and pop are atomic."""

    def __init__(self) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}
        self._size = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> mmap.mmap:
        with self._lock:
            blocks = self._free.get(size)
            if blocks:
                self._size -= size
                return blocks.pop()
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def give(self, block: mmap.mmap) -> None:
        size = len(block)
        with self._lock:
            if self._size + size <= POOL_SIZE:
                self._size += size
                self._free.setdefault(size, []).append(block)


_pool = _Pool()


def _class_of(size: int) -> int:
    """The block size that holds `size` bytes: a power of two, at least a page."""
    return max(PAGE, 1 << (size - 1).bit_length()) if size > 0 else PAGE


class Buffer:
    """`len(buffer)` bytes that begin at a page boundary. Use `buffer.view`, a writable memoryview, to look inside.

    Every call of `aio` that takes a buffer takes this one as it is. `with alloc(n) as buffer:` gives it back.
    """

    __slots__ = ("_block", "_view", "align")

    def __init__(self, size: int, *, align: int = PAGE) -> None:
        if size < 0:
            raise ValueError(f"a buffer cannot have {size} bytes")
        if align < 1 or align & (align - 1):
            raise ValueError(f"an alignment is a power of two, not {align}")
        if align > PAGE:
            raise ValueError(f"memory is aligned to pages of {PAGE} bytes; {align} is more")
        self.align = align
        self._block: mmap.mmap | None = _pool.take(_class_of(size))
        self._view: memoryview | None = memoryview(self._block)[:size]

    @property
    def view(self) -> memoryview:
        """The memory. `ValueError` after `release`."""
        if self._view is None:
            raise ValueError("the buffer was released")
        return self._view

    def __len__(self) -> int:
        return len(self.view)

    def __bytes__(self) -> bytes:
        return bytes(self.view)

    def __buffer__(self, flags: int, /) -> memoryview:
        return self.view

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Give the memory back to the pool, or leave it to those who still use it. Twice does nothing."""
        if self._view is None or self._block is None:
            return
        view, self._view = self._view, None
        block, self._block = self._block, None
        try:
            view.release()
            # Slices of the view count for the mapping, not for the view: only the mapping knows of all its users.
            block.resize(len(block))
        except BufferError:
            return
        _pool.give(block)

    def __del__(self) -> None:
        try:
            self.release()
        except (BufferError, AttributeError):
            pass  # in use, or never made

    def __repr__(self) -> str:
        state = "released" if self._view is None else f"{len(self._view)} bytes"
        return f"<aiovfs.aio.Buffer {state}>"


def alloc(size: int, *, align: int = PAGE) -> Buffer:
    """A `Buffer` of `size` bytes whose memory is aligned to `align` bytes (a power of two, at most a page)."""
    return Buffer(size, align=align)
