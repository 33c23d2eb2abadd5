"""Open files: what `open_async` returns.

| class | for | how |
|---|---|---|
| `ReadingFile` | "rb" on any store | positioned reads of one version over the block cache of the process |
| `WritingFile` | "wb", "xb", "ab" on any store | a `Writer`; stored as a whole by `close`, or not at all |
| `FileOverSync` | text, compression, wrapped file systems | a synchronous file object, used in worker threads |

A file with a position belongs to one task at a time. `pread` has no position: any number of tasks may call it at once.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.from_thread

from aiovfs._loop.companion import companion, current_loop, run_on
from aiovfs._loop.library import running_library
from aiovfs.aio.descriptors import run_calling_back
from aiovfs.fs.blocks import Blocks
from aiovfs.fs.ranges import ByteRange
from aiovfs.fs.sources import Source, Writer
from aiovfs.fs.windows import LARGEST, Window
from aiovfs.types import Buffer

__all__ = [
    "AsyncFile",
    "ClosingBoth",
    "FileOverSync",
    "ReadingFile",
    "VersionReader",
    "WritingFile",
    "layered",
    "place_of",
    "write_mark",
]

LINE_CHUNK = 16 * 1024
"""Bytes looked through at a time for the end of a line."""

LINES_HINT = 256 * 1024
"""Bytes of lines taken from a thread at a time when a file is iterated."""

Call = Callable[..., Awaitable[Any]]
"""`await call(func, *args)`: await `func(*args)` where the file system's coroutines run."""


async def _here(func: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return await func(*args)


def place_of(fs: Any) -> Call:
    """Where the coroutines of `fs` have to run, seen from the running loop: here, on its own loop, or the companion."""
    if getattr(fs, "runs_anywhere", False):
        return _here
    loop = fs.loop if not fs.asynchronous else companion().loop if running_library() == "trio" else None
    if loop is None or loop is current_loop():
        return _here
    return partial(run_on, loop)


class VersionReader:
    """Positioned reads of a `Source` through the block cache, with readahead. One loop, any number of tasks."""

    def __init__(
        self,
        source: Source,
        *,
        call: Call = _here,
        ahead: int = LARGEST,
        exact: bool = False,
        parts: Mapping[tuple[int, int], bytes] | None = None,
    ) -> None:
        """`ahead`: bytes that may be ahead of the reader. `exact`: no cache, each read is one request. `parts`: bytes
        that are known already, by their ranges.
        """
        self.source = source
        self._call = call
        self._exact = exact
        self._parts = [(start, data) for (start, _), data in (parts or {}).items()]
        if source.whole is not None:
            self._parts.append((0, source.whole))
        self._window = Window(0 if exact else ahead)
        self._blocks = Blocks(self._fetch, source.size, key=source.key)
        if source.first:
            self._blocks.keep(0, source.first)

    @property
    def size(self) -> int | None:
        """Bytes in the file; None as long as nobody knows."""
        return self._blocks.size

    def look(self, offset: int, size: int) -> tuple[bytes | None, ByteRange | None]:
        """The bytes if they are in memory, and what to hand to `pread` for reading ahead. From any thread."""
        data = self._known(offset, size)
        if data is None and not self._exact:
            data = self._blocks.cached(offset, size)
        return data, self._window.on_read(offset, size)

    async def pread(self, offset: int, size: int, ahead: ByteRange | None = None) -> bytes:
        """`size` bytes at `offset`, fewer only at the end of the file; begins to fetch `ahead`."""
        if ahead is not None:
            self._blocks.fetch_ahead(ahead)
        if self._exact:
            return await self._blocks.read_exactly_once(offset, size)
        return await self._blocks.read(offset, size)

    async def start_ahead(self, ahead: ByteRange) -> None:
        """Begin to fetch a range that `look` named."""
        self._blocks.fetch_ahead(ahead)

    async def read(self, offset: int, size: int) -> bytes:
        """`look`, and `pread` where that found nothing."""
        data, ahead = self.look(offset, size)
        if data is None:
            return await self.pread(offset, size, ahead)
        if ahead is not None:
            self._blocks.fetch_ahead(ahead)
        return data

    async def aclose(self) -> None:
        """Give back what is held. More than once is no harm."""
        self._blocks.close()
        await self._call(self.source.aclose)

    async def _fetch(self, start: int, end: int) -> bytes:
        data: bytes = await self._call(self.source.fetch, start, end)
        return data

    def _known(self, offset: int, size: int) -> bytes | None:
        if self._parts and self.size is not None:
            size = min(size, self.size - offset)
        for start, data in self._parts:
            if start <= offset and offset + size <= start + len(data):
                return data[offset - start : offset - start + max(size, 0)]
        return None


class AsyncFile(ABC):
    """An open file. Use as `async with await fs.open_async(path) as file:`; iterate over its lines with `async for`."""

    def __init__(self, name: str, mode: str) -> None:
        self.name = name
        self.mode = mode
        self._position = 0
        self._is_closed = False

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._is_closed

    @property
    def size(self) -> int | None:
        """Bytes in the file; None when only reading to the end will tell."""
        return None

    def readable(self) -> bool:
        """Whether it was opened to be read."""
        return "r" in self.mode or "+" in self.mode

    def writable(self) -> bool:
        """Whether it was opened to be written."""
        return self.mode.strip("bt") != "r"

    def seekable(self) -> bool:
        """Whether `seek` goes anywhere."""
        return self.readable()

    @abstractmethod
    async def pread(self, size: int, *, offset: int) -> bytes:
        """Read up to `size` bytes at `offset`, leaving the position alone.

        Returns fewer bytes only at the end of the file; `b""` at or past it. `StaleError` when the store no longer has
        the version that was opened.
        """

    async def read(self, length: int | None = -1) -> Any:
        """Read `length` bytes (of a text file: characters), or all there are; empty at the end."""
        self._check(self.readable(), "read")
        if length is None or length < 0:
            return await self._read_rest()
        data = await self.pread(length, offset=self._position)
        self._position += len(data)
        return data

    async def _read_rest(self) -> bytes:
        parts: list[bytes] = []
        while True:
            left = LINE_CHUNK * 64 if self.size is None else self.size - self._position
            part = await self.pread(left, offset=self._position) if left > 0 else b""
            self._position += len(part)
            parts.append(part)
            if not part or self.size is not None:
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def readinto(self, buffer: Buffer) -> int:
        """Fill `buffer` from the file; returns how many bytes were read."""
        view = memoryview(buffer).cast("B")
        data = await self.read(len(view))
        view[: len(data)] = data
        return len(data)

    async def readline(self, length: int = -1) -> Any:
        """Read up to and including the next newline, at most `length` bytes; empty at the end."""
        self._check(self.readable(), "read")
        parts: list[bytes] = []
        left = length
        while left:
            part = await self.pread(LINE_CHUNK if left < 0 else min(left, LINE_CHUNK), offset=self._position)
            end = part.find(b"\n") + 1
            part = part[:end] if end else part
            self._position += len(part)
            left -= len(part) if left > 0 else 0
            parts.append(part)
            if end or not part:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def readlines(self, hint: int = -1) -> list[Any]:
        """The lines that follow; with `hint`, no more once that many bytes are there."""
        lines, size = [], 0
        while (hint < 0 or size < hint) and (line := await self.readline()):
            lines.append(line)
            size += len(line)
        return lines

    async def write(self, data: Any) -> int:
        """Write all of `data`; returns its length."""
        raise self._refusal("write")

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` bytes from the start, the position (1) or the end (2); returns the new position."""
        self._check(self.seekable(), "seek")
        if whence == os.SEEK_END:
            if self.size is None:
                raise OSError(errno.ESPIPE, "the store does not say where the end of this file is", self.name)
            offset += self.size
        elif whence == os.SEEK_CUR:
            offset += self._position
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence is 0 (start), 1 (position) or 2 (end), not {whence}")
        if offset < 0:
            raise ValueError(f"cannot seek to {offset}, before the start of the file")
        self._position = offset
        return offset

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    async def truncate(self, size: int | None = None) -> int:
        """Cut or lengthen the file to `size`, by default the position."""
        raise self._refusal("truncate")

    async def flush(self, force: bool = False) -> None:  # noqa: B027  # most buffer nothing
        """Hand over what is buffered, where the store takes parts."""

    @abstractmethod
    async def close(self) -> None:
        """Store what was written, and close. More than once is no harm. Raises when the store did not take it."""

    async def aclose(self) -> None:
        """The same as `close`, by the name that AnyIO uses."""
        await self.close()

    async def discard(self) -> None:
        """Close, and leave the file as it was before it was opened for writing."""
        await self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
            return
        # Half a file is none: what the failed block has written is not stored.
        with anyio.CancelScope(shield=True):
            await self.discard()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while line := await self.readline():
            yield line

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.mode}{' closed' if self._is_closed else ''}>"

    def _check(self, allowed: bool, what: str) -> None:
        if self._is_closed:
            raise ValueError(f"I/O operation on closed file {self.name!r}")
        if not allowed:
            raise self._refusal(what)

    def _refusal(self, what: str) -> io.UnsupportedOperation:
        return io.UnsupportedOperation(f"cannot {what}: {self.name!r} was opened with mode {self.mode!r}")


class ReadingFile(AsyncFile):
    """One version of a file, read through the block cache."""

    def __init__(self, reader: VersionReader, name: str) -> None:
        super().__init__(name, "rb")
        self._reader = reader

    @property
    def size(self) -> int | None:
        return self._reader.size

    @property
    def details(self) -> dict[str, Any]:
        """fsspec's info dictionary of the version that was opened."""
        return self._reader.source.details

    async def pread(self, size: int, *, offset: int) -> bytes:
        self._check(True, "read")
        if offset < 0:
            raise ValueError(f"cannot read at {offset}, before the start of the file")
        return await self._reader.read(offset, size)

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self._reader.aclose()


class WritingFile(AsyncFile):
    """New content. Nobody sees any of it before `close` has returned."""

    def __init__(self, writer: Writer, name: str, mode: str, *, call: Call = _here, position: int = 0) -> None:
        """`position`: where the content begins; not 0 when it is appended."""
        super().__init__(name, mode)
        self._writer = writer
        self._call = call
        self._position = position

    def readable(self) -> bool:
        return False

    async def pread(self, size: int, *, offset: int) -> bytes:
        raise self._refusal("read")

    async def write(self, data: Any) -> int:
        self._check(True, "write")
        try:
            await self._call(self._writer.write, data)
        except BaseException:
            # A part is missing: what is left must never be taken for the file.
            with anyio.CancelScope(shield=True):
                await self.discard()
            raise
        size = memoryview(data).nbytes
        self._position += size
        return size

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._call(self._writer.commit)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._call(self._writer.discard)
            raise

    async def discard(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self._call(self._writer.discard)


class FileOverSync(AsyncFile):
    """A synchronous file object, text or binary. `run` decides where its blocking calls are made."""

    def __init__(
        self,
        file: Any,
        run: Callable[..., Awaitable[Any]],
        *,
        below: AsyncFile | None = None,
        name: str | None = None,
        mode: str | None = None,
    ) -> None:
        """`below`: the async file that `file` stands on, where it does; closed, or discarded, with this one."""
        super().__init__(str(getattr(file, "name", "")) if name is None else name, mode or _mode_of(file))
        self._file = file
        self._run = run
        self._below = below

    @property
    def size(self) -> int | None:
        size = getattr(self._file, "size", None)
        return None if size is None or callable(size) else int(size)

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    async def pread(self, size: int, *, offset: int) -> bytes:
        self._check(self.readable(), "read")
        data: bytes = await self._run(_pread, self._file, size, offset)
        return data

    async def read(self, length: int | None = -1) -> Any:
        return await self._run(self._file.read, -1 if length is None else length)

    async def readinto(self, buffer: Buffer) -> int:
        count: int = await self._run(self._file.readinto, buffer)
        return count

    async def readline(self, length: int = -1) -> Any:
        return await self._run(self._file.readline, length)

    async def readlines(self, hint: int = -1) -> list[Any]:
        lines: list[Any] = await self._run(self._file.readlines, hint)
        return lines

    async def write(self, data: Any) -> int:
        count: int = await self._run(self._file.write, data)
        return count

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position: int = await self._run(self._file.seek, offset, whence)
        return position

    def tell(self) -> int:
        return int(self._file.tell())

    async def truncate(self, size: int | None = None) -> int:
        result: int = await self._run(self._file.truncate, size)
        return result

    async def flush(self, force: bool = False) -> None:
        await self._run(self._file.flush)

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._run(self._file.close)
        except BaseException:
            if self._below is not None:
                with anyio.CancelScope(shield=True):
                    await self._below.discard()
            raise
        if self._below is not None:
            await self._below.close()

    async def discard(self) -> None:
        if self._below is not None:
            self._is_closed = True
            await self._below.discard()
        elif not self._is_closed and hasattr(self._file, "discard"):
            self._is_closed = True
            await self._run(self._file.discard)
        else:
            await self.close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while lines := await self._run(self._file.readlines, LINES_HINT):
            for line in lines:
                yield line


class Bridge(io.RawIOBase):
    """An async file for codecs, which are synchronous: used in a worker thread of the file's loop."""

    def __init__(self, file: AsyncFile) -> None:
        super().__init__()
        self._async = file
        self.name = file.name

    def readable(self) -> bool:
        return self._async.readable()

    def writable(self) -> bool:
        return self._async.writable()

    def seekable(self) -> bool:
        return self._async.seekable()

    def readinto(self, buffer: Any) -> int:
        return anyio.from_thread.run(self._async.readinto, buffer)

    def readall(self) -> bytes:
        data: bytes = anyio.from_thread.run(self._async.read)
        return data

    def write(self, data: Any) -> int:
        if self._async.closed:
            return memoryview(data).nbytes  # discarded: what a codec still has to say when it is collected goes nowhere
        return anyio.from_thread.run(self._async.write, data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return anyio.from_thread.run(self._async.seek, offset, whence)

    def tell(self) -> int:
        return self._async.tell()


async def layered(file: AsyncFile, mode: str, compression: str | None, text: Mapping[str, Any]) -> FileOverSync:
    """A file that decodes what `file` has, or encodes what it gets: compression, text, or both.

    `text` is for `io.TextIOWrapper`; used when `mode` has no "b".
    """

    def stack() -> Any:
        raw = Bridge(file)
        buffered: Any = io.BufferedReader(raw, LINE_CHUNK * 4) if file.readable() else io.BufferedWriter(raw)
        if compression is not None:
            from fsspec.compression import compr

            compressed = compr[compression](buffered, mode=mode[0].replace("x", "w"))
            buffered = ClosingBoth(compressed, buffered)
        if "b" in mode:
            return buffered
        write_mark(buffered, text)
        return io.TextIOWrapper(buffered, **text)

    try:
        return FileOverSync(await run_calling_back(stack), run_calling_back, below=file, name=file.name, mode=mode)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await file.discard()
        raise


class ClosingBoth(io.BufferedIOBase):
    """A codec's file that closes what it stands on: the codecs of Python leave theirs open, and unflushed."""

    def __init__(self, codec: Any, below: Any) -> None:
        self._codec = codec
        self._below = below
        self._has_ended = False

    def readable(self) -> bool:
        return bool(self._below.readable())

    def writable(self) -> bool:
        return bool(self._below.writable())

    def seekable(self) -> bool:
        seekable = getattr(self._codec, "seekable", None)
        return bool(seekable()) if seekable is not None else False

    def read(self, size: int | None = -1) -> bytes:
        data: bytes = self._codec.read(-1 if size is None else size)
        return data

    def read1(self, size: int = -1) -> bytes:
        data: bytes = self._codec.read(size) if not hasattr(self._codec, "read1") else self._codec.read1(size)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self._codec.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        self._codec.write(data)
        return memoryview(data).nbytes

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._codec.seek(offset, whence))

    def tell(self) -> int:
        tell = getattr(self._codec, "tell", None)
        return int(tell()) if tell is not None else 0

    def flush(self) -> None:
        if not self._has_ended and self.writable():
            self._codec.flush()

    def close(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._codec.close()
            self._below.close()
        super().close()


def write_mark(file: Any, text: Mapping[str, Any]) -> None:
    """Begin a text with its byte order mark: `io.TextIOWrapper` leaves it out where the file below cannot seek."""
    name = codecs.lookup(text.get("encoding") or "utf-8").name
    if name in ("utf-16", "utf-32") and file.writable() and not file.seekable() and file.tell() == 0:
        file.write("".encode(name))


def _mode_of(file: Any) -> str:
    mode = getattr(file, "mode", None)
    return mode if isinstance(mode, str) else "rb" if file.readable() else "wb"


def _pread(file: Any, size: int, offset: int) -> bytes:
    position = file.tell()
    file.seek(offset)
    try:
        parts, left = [], size
        while left > 0 and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        file.seek(position)
