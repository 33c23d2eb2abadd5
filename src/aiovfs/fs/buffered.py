"""The synchronous file: what `open` returns where the store has no files of its own.

It is one of fsspec's buffered files, because pandas, pyarrow, h5py and fsspec's caching file systems know those, and
stands on the same reader and writer as the files of `open_async`. What differs from fsspec's:

- reads go through the block cache of the process, and read ahead by a window that adapts, whatever `cache_type` says;
  "none" reads exactly what is asked for, "all" everything at once, "parts" starts with the parts that are given;
- a read that the cache can answer never leaves the caller's thread;
- a `with` block that fails stores nothing; fsspec stores the half that was written until then;
- it is pinned to the version that was opened, also through pickle and in a forked child: `StaleError` when it is gone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import anyio
from fsspec.caching import BaseCache
from fsspec.spec import AbstractBufferedFile

from aiovfs._loop.companion import block_on, current_loop
from aiovfs.errors import StaleError
from aiovfs.fs.blocks import BLOCK_SIZE
from aiovfs.fs.facade import run_blocking
from aiovfs.fs.files import VersionReader
from aiovfs.fs.sources import Source, Writer
from aiovfs.fs.windows import LARGEST
from aiovfs.types import Buffer

__all__ = ["BufferedFile", "make_reader"]

HANDED_OVER = 1024 * 1024
"""Bytes that are written before they go to the loop of the file system."""


def make_reader(
    source: Source,
    *,
    block_size: int | str | None = None,
    cache_type: str | None = None,
    cache_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> VersionReader:
    """A reader that does what fsspec's names for caches ask for. `block_size` bounds the readahead."""
    ahead = max(block_size, BLOCK_SIZE) if isinstance(block_size, int) and block_size else LARGEST
    parts = (cache_options or {}).get("data") if cache_type == "parts" else None
    return VersionReader(source, ahead=ahead, exact=cache_type == "none", parts=parts, **kwargs)


class ReaderCache(BaseCache):  # type: ignore[misc]  # fsspec has no types
    """What stands in the place of fsspec's cache. A caching file system may put its own there instead."""

    def __init__(self, file: BufferedFile, name: str) -> None:
        super().__init__(file.blocksize, file._fetch_range, file.size)
        self.name = name
        self._file = file

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        begin = start or 0
        end = self.size if stop is None else min(stop, self.size)
        return self._file._read_at(begin, end - begin) if end > begin else b""


class BufferedFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """See the head of this file. Modes: rb, wb, xb, ab."""

    def __init__(
        self,
        fs: Any,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_type: str | None = None,
        cache_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """As `AbstractFileSystem._open` of fsspec; other options are the file system's."""
        if mode not in ("rb", "wb", "xb", "ab"):
            self.closed = True
            raise ValueError(f"mode {mode!r} is none of rb, wb, xb, ab; {fs.protocol} cannot change files in place")
        kwargs.pop("size", None)
        self._fingerprint: str | None = kwargs.pop("fingerprint", None)
        self._options: dict[str, Any] = {
            "block_size": block_size,
            "cache_type": cache_type,
            "cache_options": cache_options,
        }
        self.fs = fs
        self.path = path
        self.mode = mode
        self.blocksize = block_size if isinstance(block_size, int) and block_size else self.DEFAULT_BLOCK_SIZE
        self.autocommit = autocommit
        self.kwargs = kwargs
        self.loc = 0
        self.size: int = 0
        self.cache: Any = None
        self._pid = os.getpid()
        self._loop: Any = None
        self._reader: VersionReader | None = None
        self._writer: Writer | None = None
        self._pending = bytearray()
        self.closed = True  # until everything is there, or __del__ would store an empty file
        if mode == "rb":
            self._open_reader()
        else:
            self.loc = self._run_first(self._begin_writing)
        self.closed = False

    # Reading

    def _open_reader(self) -> None:
        self._reader = self._run_first(self._begin_reading)
        details = self._reader.source.details
        size = self._reader.size
        assert size is not None
        self._details = {**details, "size": size}
        self.size = size
        self.cache = ReaderCache(self, self._options["cache_type"] or "readahead")
        if self._options["cache_type"] == "all" and size:
            self._read_at(0, size)

    async def _begin_reading(self) -> VersionReader:
        self._loop = current_loop()
        source = await self.fs._open_source(self.path, **self.kwargs)
        seen = source.fingerprint
        if self._fingerprint is not None and seen != self._fingerprint:
            await source.aclose()
            raise StaleError(
                f"{self.path!r} is not the version any more that the file was opened for: {self._fingerprint} became "
                f"{seen}",
                hint="open it again",
            )
        self._fingerprint = seen
        return make_reader(source, **self._options)

    def _read_at(self, offset: int, size: int) -> bytes:
        reader = self._live_reader()
        data, ahead = reader.look(offset, size)
        if data is None:
            data = self._run(reader.pread, offset, size, ahead)
        elif ahead is not None:
            self._run(reader.start_ahead, ahead)
        return data

    def _fetch_range(self, start: int, end: int) -> bytes:
        """Exactly these bytes, past the cache: for caches of fsspec that are put in the place of ours."""
        data: bytes = self._run(self._live_reader().source.fetch, start, end)
        return data

    def pread(self, size: int, offset: int) -> bytes:
        """Read up to `size` bytes at `offset`, leaving the position alone. From any number of threads at once."""
        self._check_open()
        return self._read_at(offset, min(size, self.size - offset)) if offset < self.size else b""

    def readuntil(self, char: bytes = b"\n", blocks: int | None = None) -> bytes:
        """Read up to and including the first `char`, or to the end."""
        parts: list[bytes] = []
        step = blocks or BLOCK_SIZE // 4
        while part := self.read(step):
            end = part.find(char)
            if end >= 0:
                end += len(char)
                self.loc -= len(part) - end
                parts.append(part[:end])
                break
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        """Read up to and including the next newline, at most `size` bytes."""
        if size is not None and size >= 0:
            start = self.loc
            line: bytes = self.read(size)
            end = line.find(b"\n") + 1
            if end:
                self.loc = start + end
                return line[:end]
            return line
        return self.readuntil(b"\n")

    def _live_reader(self) -> VersionReader:
        if self._pid != os.getpid():
            # The loop stayed with the parent, and so did its requests.
            self._pid = os.getpid()
            self._open_reader()
        assert self._reader is not None
        return self._reader

    # Writing

    async def _begin_writing(self) -> int:
        self._loop = current_loop()
        size = 0
        if self.mode == "ab":
            try:
                size = (await self.fs._info(self.path))["size"] or 0
            except FileNotFoundError:
                pass
        elif self.mode == "xb" and await self.fs._exists(self.path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)  # and once more by the store
        self._writer = await self.fs._open_writer(self.path, self.mode, **self.kwargs)
        return size

    def write(self, data: Buffer) -> int:
        """Add to the content; all of `data` is taken."""
        if not self.writable():
            raise ValueError("File not in write mode")
        self._check_open()
        view = memoryview(data).cast("B")
        if len(view) >= HANDED_OVER:
            self._hand_over()
            self._send(view)
        else:
            self._pending += view
            if len(self._pending) >= HANDED_OVER:
                self._hand_over()
        self.loc += len(view)
        return len(view)

    def flush(self, force: bool = False) -> None:
        """Nothing to wait for: a file is stored as a whole, by `close`. What could be sent is."""
        if self.closed:
            raise ValueError("Flush on closed file")

    def _hand_over(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, bytearray()
            self._send(bytes(pending))

    def _send(self, data: Buffer) -> None:
        writer = self._live_writer()
        try:
            self._run(writer.write, data)
        except BaseException:
            self.discard()  # a part is missing: what is left must never be taken for the file
            raise

    def _live_writer(self) -> Writer:
        if self._pid != os.getpid():
            raise OSError(errno.EBADF, "a file that is being written cannot be used in a forked child", self.path)
        assert self._writer is not None
        return self._writer

    def commit(self) -> None:
        """Store what was written. Called by the transaction; by `close` where there is none. Once is enough."""
        if self._writer is None:
            return
        writer, self._writer = self._live_writer(), None
        try:
            if self._pending:
                self._run(writer.write, bytes(self._pending))
                self._pending = bytearray()
            self._run(writer.commit)
        except BaseException:
            self._run(self._discard_shielded, writer)
            raise
        finally:
            self.closed = True
        self.fs.invalidate_cache(self.path)

    def discard(self) -> None:
        """Forget what was written; the file stays as it was."""
        self.closed = True
        self._pending = bytearray()
        writer, self._writer = self._writer, None
        if writer is not None and self._pid == os.getpid():
            self._run(writer.discard)

    @staticmethod
    async def _discard_shielded(writer: Writer) -> None:
        with anyio.CancelScope(shield=True):
            await writer.discard()

    # Both

    def close(self) -> None:
        """Store what was written, outside of transactions; give back what is held."""
        if self.closed or getattr(self, "_unclosable", False):
            return
        if self.mode == "rb":
            self.closed = True
            cache, self.cache = self.cache, None
            close = getattr(cache, "close", None)
            if close is not None:
                close()
            reader, self._reader = self._reader, None
            if reader is not None and self._pid == os.getpid():
                self._close_reader(reader)
        elif self.autocommit and self._writer is not None:
            self.commit()
        self.closed = True

    def _close_reader(self, reader: VersionReader) -> None:
        if current_loop() is not None or not self._loop.is_running():
            return  # collected somewhere inside of a loop, or after it has ended: nothing may wait here
        self._run(reader.aclose)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and self.mode != "rb" and not self.closed:
            self.discard()
        else:
            self.close()

    def __del__(self) -> None:
        if not self.closed and self._pid == os.getpid():
            self.close()

    def __reduce__(self) -> Any:
        if self.mode != "rb":
            raise TypeError(f"a file that is being written cannot be pickled: {self.path!r}")
        options = {name: value for name, value in self._options.items() if value is not None}
        return _reopen, (self.fs, self.path, self.loc, {**self.kwargs, **options, "fingerprint": self._fingerprint})

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _run_first(self, func: Any) -> Any:
        return run_blocking(self.fs, func, (), {}, None, eager=False)

    def _run(self, func: Any, *args: Any) -> Any:
        return block_on(self._loop, func, args, {}, None)


def _reopen(fs: Any, path: str, position: int, options: dict[str, Any]) -> BufferedFile:
    file = BufferedFile(fs, path, "rb", **options)
    file.seek(position)
    return file
