"""A file past the page cache: O_DIRECT with everything aligned for it.

The device wants memory, offset and length in multiples of its own unit (`Alignment`, as statx(2) tells since Linux
6.1). Callers need not care:

- reads are widened to whole units, go into an aligned buffer of the pool and are cut to what was asked for. A caller's
  own buffer is used as it is when it, the offset and its length are aligned: no copy;
- of a write, the part in whole units goes directly, from the caller's memory when that is aligned, else from a buffer
  of the pool; what sticks out at either end goes through the page cache, by a second descriptor of the same file. The
  kernel keeps the two coherent.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiovfs.aio.batches import all_of
from aiovfs.aio.buffers import Buffer, alloc
from aiovfs.aio.descriptor import Descriptor
from aiovfs.aio.file import BUFFER_SIZE, File, Source, Sync, Target, view_of
from aiovfs.aio.modes import Mode

__all__ = ["Alignment", "DirectFile", "alignment_of"]

STATX_DIOALIGN = 0x2000
AT_EMPTY_PATH = 0x1000
STATX_SIZE = 256
DIO_MEM_ALIGN_OFFSET = 152  # of stx_dio_mem_align and stx_dio_offset_align in struct statx (linux/stat.h)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Alignment:
    """What a multiple of which offsets, lengths and addresses must be, in bytes."""

    memory: int
    offset: int


DEFAULT_ALIGNMENT = Alignment(4096, 4096)
"""Where the kernel does not say. Every unit in use divides it."""


def alignment_of(fd: int) -> Alignment:
    """The alignment that direct I/O on an open file needs."""
    answer = ctypes.create_string_buffer(STATX_SIZE)
    try:
        failed = _libc.statx(fd, b"", AT_EMPTY_PATH, STATX_DIOALIGN, answer)
    except AttributeError:  # a C library without it
        return DEFAULT_ALIGNMENT
    (mask,) = struct.unpack_from("I", answer, 0)
    memory, offset = struct.unpack_from("II", answer, DIO_MEM_ALIGN_OFFSET)
    if failed or not mask & STATX_DIOALIGN or not memory or not offset:
        return DEFAULT_ALIGNMENT
    return Alignment(memory, offset)


class DirectFile(File):
    """What `aio.open(…, direct=True)` returns."""

    __slots__ = ("_cached", "alignment")

    def __init__(
        self,
        descriptor: Descriptor,
        mode: Mode,
        status: os.stat_result,
        *,
        buffer_size: int = BUFFER_SIZE,
        alignment: Alignment = DEFAULT_ALIGNMENT,
    ) -> None:
        super().__init__(descriptor, mode, status, buffer_size=buffer_size)
        self.alignment = alignment
        self._cached: Descriptor | None = None  # the same file through the page cache

    def pread(self, size: int, offset: int) -> Awaitable[bytes]:
        if self._dirty:
            return self._after_flush(self.pread, size, offset)
        return self._get(size, offset)

    async def read_many(self, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
        if self._dirty:
            await self.flush()
        return await all_of([self.pread(size, offset) for offset, size in ranges])

    def preadv(self, buffers: Sequence[Target], offset: int) -> Awaitable[int]:
        return self._read_vector([view_of(buffer) for buffer in buffers], offset)

    def pwritev(self, buffers: Sequence[Source], offset: int) -> Awaitable[int]:
        return self.pwrite(b"".join(view_of(buffer) for buffer in buffers), offset)

    def _start_many(self, kind: str, parameters: list[tuple[Any, ...]]) -> Awaitable[list[Any]]:
        self._descriptor.check()
        start: Any = {"read": self._get, "readinto": self._get_into, "write": self._put}[kind]
        return all_of([start(*each) for each in parameters])

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            cached, self._cached = self._cached, None
            if cached is not None:
                await cached.aclose()

    close = aclose

    def _get(self, size: int, offset: int) -> Awaitable[bytes]:
        self._descriptor.check()
        return self._read_direct(size, offset)

    def _get_into(self, view: bytearray | memoryview, offset: int) -> Awaitable[int]:
        self._descriptor.check()
        window = memoryview(view).cast("B")
        if self._is_aligned(offset, len(window)) and _address_of(window) % self.alignment.memory == 0:
            operation: Awaitable[int] = self._descriptor.start("readinto", window, offset)
            return operation
        return self._read_into(window, offset)

    def _put(self, data: bytes | bytearray | memoryview, offset: int, sync: Sync = None) -> Awaitable[int]:
        self._descriptor.check()
        if sync not in (None, "data", "full"):
            raise ValueError(f"sync is None, 'data' or 'full', not {sync!r}")
        return self._write_direct(memoryview(data).cast("B"), offset, sync)

    async def _append(self, data: memoryview) -> None:
        await self._append_cached(bytes(data))

    async def _append_once(self, data: bytes) -> None:
        del self._dirty[: await self._append_cached(data)]

    def _after_append(self) -> None:
        if self._cached is not None:
            self._position = os.lseek(self._cached.fd, 0, os.SEEK_CUR)

    async def _append_cached(self, data: bytes) -> int:
        # The end of a file is where it is, aligned or not.
        count: int = await (await self._through_cache()).start("write", memoryview(bytearray(data)), -1)
        return count

    def _is_aligned(self, offset: int, length: int) -> bool:
        unit = self.alignment.offset
        return offset % unit == 0 and length % unit == 0

    def _window(self, size: int, offset: int) -> tuple[int, int]:
        """Start and length of the whole units that hold a range."""
        unit = self.alignment.offset
        start = offset - offset % unit
        return start, -(-(offset + size - start) // unit) * unit

    async def _read_direct(self, size: int, offset: int) -> bytes:
        if size <= 0:
            return b""
        start, length = self._window(size, offset)
        buffer = alloc(length)
        count = await self._descriptor.start("readinto", buffer.view, start)
        skip = offset - start
        data = bytes(buffer.view[skip : max(skip, min(skip + size, count))])
        buffer.release()
        return data

    async def _read_into(self, view: memoryview, offset: int) -> int:
        data = await self._read_direct(len(view), offset)
        view[: len(data)] = data
        return len(data)

    async def _read_vector(self, views: Sequence[memoryview], offset: int) -> int:
        data = memoryview(await self.pread(sum(map(len, views)), offset))
        done = 0
        for view in views:
            piece = data[done : done + len(view)]
            view[: len(piece)] = piece
            done += len(piece)
        return done

    async def _write_direct(self, view: memoryview, offset: int, sync: Sync) -> int:
        unit = self.alignment.offset
        head = min(-offset % unit, len(view))
        body = (len(view) - head) // unit * unit
        if head:
            await self._write_cached(view[:head], offset)
        if body:
            await self._write_aligned(view[head : head + body], offset + head)
        if head + body < len(view):
            await self._write_cached(view[head + body :], offset + head + body)
        if sync is not None:
            await self._descriptor.start("fdatasync" if sync == "data" else "fsync")
        return len(view)

    async def _write_aligned(self, view: memoryview, offset: int) -> None:
        if not view.readonly and _address_of(view) % self.alignment.memory == 0:
            await self._descriptor.start("write", view, offset)
            return
        buffer: Buffer = alloc(len(view))
        buffer.view[:] = view
        await self._descriptor.start("write", buffer.view, offset)
        buffer.release()

    async def _write_cached(self, view: memoryview, offset: int) -> None:
        await (await self._through_cache()).start("write", view, offset)

    async def _through_cache(self) -> Descriptor:
        if self._cached is None:
            flags = os.O_RDWR if self._mode.can_read else os.O_WRONLY
            if self._mode.is_append:
                flags |= os.O_APPEND
            # By the descriptor, not by the name, which may be another file's by now.
            again = await self._descriptor.call(_open_again, self._descriptor.fd, flags, self._name)
            if self._cached is None:
                self._cached = again
        return self._cached


def _open_again(fd: int, flags: int, name: Any) -> Descriptor:
    return Descriptor(os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC), name)


def _address_of(view: memoryview) -> int:
    """Where in memory a writable view begins; odd, and so never aligned, for a read-only one."""
    if view.readonly or not len(view):
        return 1
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
