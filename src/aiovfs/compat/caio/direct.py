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

__all__ = ["ALIGNMENT", "is_direct", "read", "write"]

ALIGNMENT = 4096
"""Enough for every device; a page is what mmap(2) aligns to."""


def is_direct(fd: int) -> bool:
    """Was `fd` opened with O_DIRECT?"""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & getattr(os, "O_DIRECT", 0))
    except OSError:
        return False


async def read(engine: Any, fd: int, nbytes: int, offset: int) -> bytes:
    """Up to `nbytes` bytes at `offset`."""
    if nbytes <= 0:
        return b""
    before = offset % ALIGNMENT
    size = -(-(before + nbytes) // ALIGNMENT) * ALIGNMENT
    memory = mmap.mmap(-1, size)
    got: int = await engine.perform("readinto", fd, memory, offset - before)
    return memory[before : min(got, before + nbytes)]


async def write(engine: Any, fd: int, payload: bytes, offset: int) -> int:
    """All of `payload` at `offset`; `OSError` (EINVAL) unless offset and length are aligned as the device wants."""
    memory = mmap.mmap(-1, max(len(payload), 1))
    memory[: len(payload)] = payload
    count: int = await engine.perform("write", fd, memoryview(memory)[: len(payload)], offset)
    return count
