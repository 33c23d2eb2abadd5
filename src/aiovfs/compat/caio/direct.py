"""Reads and writes of files opened with O_DIRECT, which want memory, offsets and sizes aligned.

A `bytes` object never is, so caio's operations always fail there. Ours go through aligned memory: what is read is
copied once; what was asked for at odd places is cut out of the aligned range around it. Writes need aligned places,
which is the kernel's own rule for them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Any

__all__ = ["ALIGNMENT", "is_direct", "read", "read_in_place", "write", "write_in_place"]

ALIGNMENT = 4096
"""Enough for every device; a page is what mmap(2) aligns to."""


def is_direct(fd: int) -> bool:
    """Was `fd` opened with O_DIRECT?"""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & getattr(os, "O_DIRECT", 0))
    except OSError:
        return False


def _around(nbytes: int, offset: int) -> tuple[int, int]:
    """How many bytes the aligned range around a read begins earlier, and its size."""
    before = offset % ALIGNMENT
    return before, -(-(before + nbytes) // ALIGNMENT) * ALIGNMENT


def _aligned(payload: bytes) -> memoryview:
    memory = mmap.mmap(-1, max(len(payload), 1))
    memory[: len(payload)] = payload
    return memoryview(memory)[: len(payload)]


async def read(engine: Any, fd: int, nbytes: int, offset: int) -> bytes:
    """Up to `nbytes` bytes at `offset`."""
    if nbytes <= 0:
        return b""
    before, size = _around(nbytes, offset)
    memory = mmap.mmap(-1, size)
    got: int = await engine.perform("readinto", fd, memory, offset - before)
    return memory[before : min(got, before + nbytes)]


def read_in_place(fd: int, nbytes: int, offset: int) -> bytes:
    """The same, blocking."""
    if nbytes <= 0:
        return b""
    before, size = _around(nbytes, offset)
    memory = mmap.mmap(-1, size)
    got = os.preadv(fd, [memory], offset - before)
    return memory[before : min(got, before + nbytes)]


async def write(engine: Any, fd: int, payload: bytes, offset: int) -> int:
    """All of `payload` at `offset`; `OSError` (EINVAL) unless offset and length are aligned as the device wants."""
    count: int = await engine.perform("write", fd, _aligned(payload), offset)
    return count


def write_in_place(fd: int, payload: bytes, offset: int) -> int:
    """The same, blocking; may write less."""
    return os.pwritev(fd, [_aligned(payload)], offset)
