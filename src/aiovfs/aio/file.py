"""A binary file: sequential calls with a position and a buffer, positioned calls without either.

Positioned calls (`pread`, `pwrite`, …) return the engine's operation itself, so that a hit in the page cache costs no
coroutine. Sequential calls go through a buffer in both directions, as those of the builtin `open` do: small reads and
lines come out of it without asking the system, small writes gather in it until it is full, flushed or closed. At any
time it holds either what was read ahead or what is to be written, never both.

- Where the file ends up (`_position`) is ours; the kernel's own position is used only by files that have no other
  (pipes) and by append mode, where the kernel says where the end is.
- Sequential calls take turns. Positioned ones do not, but what was written before through the buffer goes out first,
  and what they write is not hidden by what was read ahead.
- Closing waits for everything on its way. Whoever comes later gets `ClosedError`, which is a `ValueError`.

What `File` reads and writes goes through `_get`, `_put` and `_append`, which is what a subclass changes.
"""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from io import UnsupportedOperation
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import anyio

from aiovfs.aio.buffers import Buffer as AlignedBuffer
from aiovfs.aio.descriptor import Descriptor
from aiovfs.aio.modes import Mode
from aiovfs.aio.turns import Turns

__all__ = ["BUFFER_SIZE", "File", "Source", "Sync", "Target"]

BUFFER_SIZE = 64 * 1024
"""Bytes that a sequential reader or writer moves at a time, unless it asks for another size."""

MAX_GROWTH = 16 << 20
"""The most bytes that one operation of a read to the end asks for, once the size that the file had is exceeded."""

Source: TypeAlias = bytes | bytearray | memoryview | AlignedBuffer
"""What can be written."""

Target: TypeAlias = bytearray | memoryview | AlignedBuffer
"""What can be read into."""

Sync: TypeAlias = Literal["data", "full"] | None
"""Whether a write returns only when it is on stable storage: the data, or the data and all attributes."""


def view_of(data: Source | Any) -> memoryview:
    """The bytes of a buffer. `TypeError` for text and everything else that is none."""
    if isinstance(data, AlignedBuffer):
        return data.view
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


class File:
    """What `aio.open` returns in a binary mode. Made by `open`, not by hand.

    `async with` closes it; so does `aclose` (or `close`, the same). A file that is dropped unclosed is closed with a
    `ResourceWarning`.
    """

    __slots__ = (
        "__weakref__",
        "_ahead",
        "_ahead_at",
        "_can_seek",
        "_descriptor",
        "_dirty",
        "_dirty_at",
        "_mode",
        "_name",
        "_position",
        "_size",
        "_size_hint",
        "_turns",
    )

    def __init__(
        self, descriptor: Descriptor, mode: Mode, status: os.stat_result, *, buffer_size: int = BUFFER_SIZE
    ) -> None:
        self._descriptor = descriptor
        self._mode = mode
        self._name: Any = descriptor.name
        self._size = buffer_size
        self._turns = Turns()
        self._ahead = b""
        self._ahead_at = 0
        self._dirty = bytearray()
        self._dirty_at = 0
        self._size_hint = status.st_size
        self._position = 0
        try:
            # Seeking by nothing asks no disk. Append mode begins at the end, as the builtin does.
            self._position = os.lseek(descriptor.fd, 0, os.SEEK_END if mode.is_append else os.SEEK_CUR)
            self._can_seek = not stat.S_ISFIFO(status.st_mode)
        except OSError:
            self._can_seek = False

    # --- what it is

    @property
    def name(self) -> Any:
        """What was opened: the path, or the number."""
        return self._name

    @property
    def mode(self) -> str:
        return self._mode.raw

    @property
    def is_buffered(self) -> bool:
        """Unless it was opened with `buffering=0`."""
        return self._size > 0

    @property
    def closed(self) -> bool:
        """True as soon as closing has begun."""
        return self._descriptor.is_closing

    def fileno(self) -> int:
        """The descriptor's number; it is valid until the file is closed."""
        return self._descriptor.check()

    def readable(self) -> bool:
        self._descriptor.check()
        return self._mode.can_read

    def writable(self) -> bool:
        self._descriptor.check()
        return self._mode.can_write

    def seekable(self) -> bool:
        self._descriptor.check()
        return self._can_seek

    def isatty(self) -> bool:
        return os.isatty(self._descriptor.check())

    def __repr__(self) -> str:
        state = "closed " if self.closed else ""
        return f"<{state}aiovfs.aio.{type(self).__name__} name={self._name!r} mode={self.mode!r}>"

    # --- sequential reading

    async def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, fewer only at the end of the file; without a size, everything up to the end."""
        size = -1 if size is None else size
        start = self._position - self._ahead_at
        if 0 < size <= len(self._ahead) - start and start >= 0 and not self._turns.is_busy:
            self._position += size
            return self._ahead[start : start + size]
        async with self._turns:
            await self._begin_reading()
            return await (self._read_all() if size < 0 else self._read(size))

    async def readall(self) -> bytes:
        """Everything up to the end."""
        return await self.read()

    async def read1(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes with at most one operation: what is buffered, if anything is."""
        async with self._turns:
            await self._begin_reading()
            if size == 0:
                return b""
            if not self._buffered() and not await self._fill():
                return b""
            return self._take(len(self._ahead) if size < 0 else size)

    async def peek(self, size: int = 0, /) -> bytes:
        """What comes next, without moving on: what is buffered, or one buffer full. `size` is ignored, as in `io`."""
        async with self._turns:
            await self._begin_reading()
            if not self._buffered():
                await self._fill()
            return self._ahead[self._position - self._ahead_at :]

    async def readinto(self, buffer: Target, /) -> int:
        """Fill `buffer` and return how many bytes came; fewer than it holds only at the end of the file.

        If cancelled, returns once the kernel is done with the buffer.
        """
        async with self._turns:
            await self._begin_reading()
            view = view_of(buffer)
            done = min(self._buffered(), len(view))
            view[:done] = self._take(done)
            if done < len(view):
                if not self._can_seek or len(view) - done < self._size:
                    rest = await self._read(len(view) - done)
                    view[done : done + len(rest)] = rest
                    return done + len(rest)
                count: int = await self._get_into(view[done:], self._position)
                self._position += count
                done += count
            return done

    async def readline(self, size: int | None = -1, /) -> bytes:
        """The next line with its line feed, at most `size` bytes of it; `b""` at the end of the file."""
        size = -1 if size is None else size
        start = self._position - self._ahead_at
        if size < 0 and start >= 0 and not self._turns.is_busy:
            end = self._ahead.find(b"\n", start) + 1
            if end:
                self._position += end - start
                return self._ahead[start:end]
        async with self._turns:
            await self._begin_reading()
            return await self._read_line(size)

    async def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """All lines up to the end; with a positive `hint`, whole lines until they have that many bytes."""
        lines = []
        total = 0
        while line := await self.readline():
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint < total:
                break
        return lines

    def __aiter__(self) -> File:
        self._check_reading()
        return self

    async def __anext__(self) -> bytes:
        start = self._position - self._ahead_at
        if start >= 0 and not self._turns.is_busy:
            end = self._ahead.find(b"\n", start) + 1
            if end:
                self._position += end - start
                return self._ahead[start:end]
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def lines(self) -> AsyncIterator[bytes]:
        """The lines from here on; the same as iterating over the file."""
        return self.__aiter__()

    async def chunks(self, size: int = 1 << 20) -> AsyncIterator[bytes]:
        """The content from here on in pieces of `size` bytes; the last may be shorter."""
        if size <= 0:
            raise ValueError(f"a chunk has at least one byte, not {size}")
        while data := await self.read(size):
            yield data

    # --- sequential writing

    async def write(self, data: Source, /) -> int:
        """Write all of `data` at the position (in append mode: at the end) and return its length in bytes.

        What is smaller than the buffer waits in it; `flush`, `aclose` and every other call that needs it write it out.
        """
        view = view_of(data)
        if self._mode.can_write and not self._turns.is_busy and not self.closed:
            room = self._size - len(self._dirty)
            if len(view) < room and (self._dirty or not self._ahead):
                self._buffer(view)
                return len(view)
        async with self._turns:
            self._check_writing()
            self._ahead = b""
            if len(self._dirty) + len(view) >= self._size:
                await self._flush()
            if len(view) >= self._size:
                await self._write_through(view)
            else:
                self._buffer(view)
            return len(view)

    async def writelines(self, lines: Iterable[Source], /) -> None:
        """Write each of `lines`. No line feeds are added."""
        for line in lines:
            await self.write(line)

    async def flush(self) -> None:
        """Hand what is buffered to the system. Not the same as having it on the disk: see `fsync`."""
        self._descriptor.check()
        if self._dirty or self._turns.is_busy:
            async with self._turns:
                await self._flush()

    # --- the position

    async def tell(self) -> int:
        """The position in bytes from the start."""
        self._descriptor.check()
        if not self._can_seek:
            raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE), self._name)
        if self._turns.is_busy:
            async with self._turns:
                return self._position
        return self._position

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position and return it. `whence` as for lseek(2), SEEK_DATA and SEEK_HOLE included."""
        async with self._turns:
            fd = self._descriptor.check()
            if not self._can_seek:
                raise UnsupportedOperation("underlying stream is not seekable")
            await self._flush()
            if whence == os.SEEK_SET:
                target = offset
            elif whence == os.SEEK_CUR:
                target = self._position + offset
            elif whence == os.SEEK_END:
                target = (await self._descriptor.start("fstat")).st_size + offset
            else:
                target = await self._descriptor.call(os.lseek, fd, offset, whence)
            if target < 0:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self._name)
            if not 0 <= target - self._ahead_at <= len(self._ahead):
                self._ahead = b""
            self._position = target
            return target

    async def truncate(self, size: int | None = None, /) -> int:
        """Cut the file, or lengthen it with zeros, to `size` bytes (default: the position); returns the size."""
        async with self._turns:
            self._check_writing("truncate")
            await self._flush()
            self._ahead = b""
            size = self._position if size is None else size
            await self._descriptor.start("ftruncate", size)
            return size

    # --- positioned

    def pread(self, size: int, offset: int) -> Awaitable[bytes]:
        """Read `size` bytes at `offset`, leaving the position alone; fewer only at the end of the file.

        Any number of these may run at a time, in no order.
        """
        if self._dirty:
            return self._after_flush(self.pread, size, offset)
        operation: Awaitable[bytes] = self._descriptor.start("read", size, offset)
        return operation

    def preadinto(self, buffer: Target, offset: int) -> Awaitable[int]:
        """Fill `buffer` from `offset` on. If cancelled, returns once the kernel is done with the buffer."""
        if self._dirty:
            return self._after_flush(self.preadinto, buffer, offset)
        return self._get_into(buffer.view if isinstance(buffer, AlignedBuffer) else buffer, offset)

    def preadv(self, buffers: Sequence[Target], offset: int) -> Awaitable[int]:
        """Fill `buffers` one after the other from `offset` on, and return how many bytes came."""
        if self._dirty:
            return self._after_flush(self.preadv, buffers, offset)
        operation: Awaitable[int] = self._descriptor.start("readv", [view_of(buffer) for buffer in buffers], offset)
        return operation

    def pwrite(self, data: Source, offset: int, *, sync: Sync = None) -> Awaitable[int]:
        """Write all of `data` at `offset` and return its length in bytes. Append mode writes at the end (pwrite(2)).

        With `sync="data"` the data is on stable storage when this returns, with "full" all attributes are too.
        """
        if self._dirty:
            return self._after_flush(self.pwrite, data, offset, sync=sync)
        self._ahead = b""
        return self._put(data.view if isinstance(data, AlignedBuffer) else data, offset, sync)

    def pwritev(self, buffers: Sequence[Source], offset: int) -> Awaitable[int]:
        """Write all of `buffers`, one after the other, from `offset` on, and return how many bytes that were."""
        if self._dirty:
            return self._after_flush(self.pwritev, buffers, offset)
        self._ahead = b""
        operation: Awaitable[int] = self._descriptor.start("writev", [view_of(buffer) for buffer in buffers], offset)
        return operation

    def read_many(self, ranges: Iterable[tuple[int, int]]) -> Awaitable[list[bytes]]:
        """Read several ranges, each `(offset, size)`, as one operation; the results are in the order of the ranges.

        All are begun before the first is waited for. The first failure is raised, once none is on its way any more.
        """
        if self._dirty:
            return self._after_flush(self.read_many, list(ranges))
        return self._start_many("read", [(size, offset) for offset, size in ranges])

    def readinto_many(self, requests: Iterable[tuple[Target, int]]) -> Awaitable[list[int]]:
        """Fill several buffers, each `(buffer, offset)`, as one operation; the counts are in the requests' order."""
        if self._dirty:
            return self._after_flush(self.readinto_many, list(requests))
        return self._start_many("readinto", [(view_of(buffer), offset) for buffer, offset in requests])

    async def write_many(self, requests: Iterable[tuple[Source, int]]) -> int:
        """Write several pieces, each `(data, offset)`, at once and in no order; returns how many bytes that were."""
        if self._dirty:
            await self.flush()
        self._ahead = b""
        return sum(await self._start_many("write", [(view_of(data), offset) for data, offset in requests]))

    def _start_many(self, kind: str, parameters: list[tuple[Any, ...]]) -> Awaitable[list[Any]]:
        operation: Awaitable[list[Any]] = self._descriptor.start_many(kind, parameters)
        return operation

    # --- the file as such

    def fsync(self) -> Awaitable[None]:
        """Return when content and attributes are on stable storage."""
        if self._dirty:
            return self._after_flush(self.fsync)
        operation: Awaitable[None] = self._descriptor.start("fsync")
        return operation

    def fdatasync(self) -> Awaitable[None]:
        """Return when the content, and what is needed to find it, are on stable storage."""
        if self._dirty:
            return self._after_flush(self.fdatasync)
        operation: Awaitable[None] = self._descriptor.start("fdatasync")
        return operation

    def stat(self) -> Awaitable[os.stat_result]:
        """The attributes of the open file."""
        if self._dirty:
            return self._after_flush(self.stat)
        operation: Awaitable[os.stat_result] = self._descriptor.start("fstat")
        return operation

    def fallocate(self, offset: int, length: int, *, mode: int = 0) -> Awaitable[None]:
        """Allocate a range, or what `mode` says (FALLOC_FL_* of fallocate(2): punch, zero, collapse)."""
        if self._dirty:
            return self._after_flush(self.fallocate, offset, length, mode=mode)
        self._ahead = b""
        operation: Awaitable[None] = self._descriptor.start("fallocate", mode, offset, length)
        return operation

    def fadvise(self, offset: int, length: int, advice: int) -> Awaitable[None]:
        """Say how a range will be used: `os.POSIX_FADV_*`."""
        operation: Awaitable[None] = self._descriptor.start("fadvise", offset, length, advice)
        return operation

    # --- the end

    async def aclose(self) -> None:
        """Write out what is buffered, wait for what is on its way, close. The file is closed also if writing fails."""
        if self.closed:
            return
        try:
            async with self._turns:
                if self._dirty and not self.closed:
                    await self._flush()
        finally:
            self._ahead = b""
            self._dirty = bytearray()
            await self._descriptor.aclose()

    close = aclose

    async def __aenter__(self) -> Self:
        self._descriptor.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        try:
            descriptor = self._descriptor
        except AttributeError:
            return
        if descriptor.is_closing:
            return
        warnings.warn(f"unclosed file {self!r}", ResourceWarning, source=self, stacklevel=1)
        try:
            if self._dirty:
                if self._mode.is_append or not self._can_seek:
                    os.write(descriptor.fd, self._dirty)
                else:
                    os.pwrite(descriptor.fd, self._dirty, self._dirty_at)
        except OSError:
            pass  # nobody is there to be told; the warning said what to do
        descriptor.abandon()

    # --- what a subclass changes

    def _get(self, size: int, offset: int) -> Awaitable[bytes]:
        operation: Awaitable[bytes] = self._descriptor.start("read", size, offset)
        return operation

    def _get_into(self, view: bytearray | memoryview, offset: int) -> Awaitable[int]:
        operation: Awaitable[int] = self._descriptor.start("readinto", view, offset)
        return operation

    def _put(self, data: bytes | bytearray | memoryview, offset: int, sync: Sync = None) -> Awaitable[int]:
        if sync is None:
            operation: Awaitable[int] = self._descriptor.start("write", data, offset)
        elif sync in ("data", "full"):
            operation = self._descriptor.start("write_sync", data, offset, sync == "data")
        else:
            raise ValueError(f"sync is None, 'data' or 'full', not {sync!r}")
        return operation

    async def _append(self, data: memoryview) -> None:
        """Write where the kernel's own position is: the end in append mode, a pipe's only place."""
        done = 0
        while done < len(data):
            if not self._can_seek:
                await self._until_ready(anyio.wait_writable)
            done += await self._descriptor.start("write", data[done:], -1)

    # --- steps; the turn is ours in all of them

    def _check_reading(self) -> None:
        self._descriptor.check()
        if not self._mode.can_read:
            raise UnsupportedOperation("not readable")

    def _check_writing(self, what: str = "write") -> None:
        self._descriptor.check()
        if not self._mode.can_write:
            raise UnsupportedOperation("not writable" if what == "write" else "File not open for writing")

    async def _begin_reading(self) -> None:
        self._check_reading()
        if self._dirty:
            await self._flush()

    def _buffered(self) -> int:
        """Bytes of the buffer that begin at the position."""
        start = self._position - self._ahead_at
        return max(0, len(self._ahead) - start) if start >= 0 else 0

    def _take(self, size: int) -> bytes:
        """Up to `size` bytes out of the buffer."""
        start = self._position - self._ahead_at
        data = self._ahead[start : start + size]
        self._position += len(data)
        return data

    async def _fill(self) -> int:
        """Replace the buffer, which is used up, by what comes next; 0 at the end of the file."""
        self._ahead = await self._read_some(max(self._size, 1))
        self._ahead_at = self._position
        return len(self._ahead)

    async def _read_some(self, size: int) -> bytes:
        """One operation at the position: all of `size` from a file, what is there from a pipe."""
        if self._can_seek:
            return await self._get(size, self._position)
        await self._until_ready(anyio.wait_readable)
        data: bytes = await self._descriptor.start("read", size, -1)
        return data

    async def _until_ready(self, wait: Any) -> None:
        """Wait in a way that can be cancelled, where the descriptor has such a way; a thread waits for others."""
        try:
            await wait(self._descriptor.fd)
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.EINVAL):
                raise

    async def _read(self, size: int) -> bytes:
        parts = [self._take(size)] if self._buffered() else []
        missing = size - len(parts[0]) if parts else size
        while missing > 0:
            if missing < self._size:
                if not await self._fill():
                    break
                data = self._take(missing)
                is_end = self._can_seek and len(data) < missing
            else:
                data = await self._read_some(missing)
                self._position += len(data)
                is_end = self._can_seek or not data
            parts.append(data)
            missing -= len(data)
            if is_end:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _read_all(self) -> bytes:
        parts = [self._take(self._buffered())] if self._buffered() else []
        # One byte more than the file had: a shorter answer says that this is the end.
        size = max(0, self._size_hint - self._position) + 1
        if not self._can_seek or size == 1:
            size = max(self._size, 4096)
        while data := await self._read_some(size):
            self._position += len(data)
            parts.append(data)
            if self._can_seek and len(data) < size:
                break
            size = min(max(2 * size, BUFFER_SIZE), MAX_GROWTH)
        self._ahead = b""
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _read_line(self, size: int) -> bytes:
        parts = []
        while size:
            if not self._buffered() and not await self._fill():
                break
            start = self._position - self._ahead_at
            end = self._ahead.find(b"\n", start) + 1
            part = self._take(
                (end or len(self._ahead)) - start if size < 0 else min(size, (end or len(self._ahead)) - start)
            )
            parts.append(part)
            size = size - len(part) if size > 0 else size
            if part.endswith(b"\n"):
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _buffer(self, view: memoryview) -> None:
        if not self._dirty:
            self._dirty_at = self._position
        self._dirty += view
        self._position += len(view)

    async def _write_through(self, view: memoryview) -> None:
        if self._mode.is_append or not self._can_seek:
            await self._append(view)
            self._after_append()
        else:
            await self._put(view, self._position)
            self._position += len(view)

    def _after_append(self) -> None:
        if self._can_seek:
            self._position = os.lseek(self._descriptor.fd, 0, os.SEEK_CUR)

    async def _flush(self) -> None:
        """Write the buffer out. What was not written stays in it; what was appended before a failure does not."""
        if not self._dirty:
            return
        if self._mode.is_append or not self._can_seek:
            while self._dirty:
                piece = bytes(self._dirty)
                await self._append_once(piece)
            self._after_append()
        else:
            data, at = self._dirty, self._dirty_at
            await self._put(data, at)
            self._dirty = bytearray()

    async def _append_once(self, data: bytes) -> None:
        if not self._can_seek:
            await self._until_ready(anyio.wait_writable)
        view = memoryview(data)
        operation = self._descriptor.start("write", memoryview(bytearray(view)), -1)
        try:
            await operation
        finally:
            # Also of a caller that was cancelled: what the kernel took must not be appended once more.
            del self._dirty[: _count_of(operation)]

    async def _after_flush(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        await self.flush()
        return await method(*args, **kwargs)


def _count_of(operation: Any) -> int:
    """Bytes that an operation that has ended has written."""
    try:
        return int(operation.result())
    except BaseException:
        return 0
