"""Opening files: the part of `AsyncFileSystem` that makes `open_async`, `open` and transactions out of its coroutines.

An author who implements `_info`, `_ls`, `_cat_file` and `_pipe_file` has all of it. Two hooks do better where a store
can: `_open_source` (reads that are pinned to a version) and `_open_writer` (uploads in parts); see `sources`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from aiovfs.errors import UnsupportedError
from aiovfs.fs.buffered import BufferedFile, make_reader
from aiovfs.fs.files import AsyncFile, ClosingBoth, ReadingFile, WritingFile, layered, place_of, write_mark
from aiovfs.fs.sources import CatSource, PipeWriter, Source, Writer
from aiovfs.fs.transactions import Staged, Transaction

__all__ = ["Opening"]

TEXT_OPTIONS = ("encoding", "errors", "newline")


class Opening:
    """Mixin before `fsspec.asyn.AsyncFileSystem`."""

    is_contract = True  # what is written here is a default, not something that a class can do
    transaction_type = Transaction
    if TYPE_CHECKING:
        asynchronous: bool
        transaction: Transaction
        _intrans: bool
        _strip_protocol: Any
        _info: Any
        _exists: Any
        _cat_file: Any
        _pipe_file: Any
        _put_file: Any

    # Hooks

    async def _open_source(self, path: str, *, details: Mapping[str, Any] | None = None, **kwargs: Any) -> Source:
        """The present version of `path`, to be read. `details` is its info dictionary, where the caller has it.

        `FileNotFoundError` when it is not there, `IsADirectoryError` when it is a directory.
        """
        details = await self._info(path) if details is None else details
        if details["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        source = CatSource(self, path, details)
        if source.size is None:
            source.whole = await self._cat_file(path)
            source.details["size"] = len(source.whole)
        return source

    async def _open_writer(self, path: str, mode: str, **kwargs: Any) -> Writer:
        """New content for `path`. `mode` is "wb", "xb" (nothing may be there at the commit) or "ab"."""
        from fsspec.asyn import AsyncFileSystem

        if getattr(type(self), "_pipe_file") is AsyncFileSystem._pipe_file:  # noqa: B009
            raise UnsupportedError(f"{type(self).__name__} has no _pipe_file: it cannot write {path!r}")
        return PipeWriter(self, path, mode, kwargs)

    # What is made of them

    async def open_async(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> AsyncFile:
        """Open a file on the running loop, asyncio's or Trio's.

        Modes as of `open`: r, w, x, a, with "b" for bytes and without for text (`encoding`, `errors`, `newline`);
        "r+" where the store can. `compression` as in fsspec, also "infer". `block_size` bounds the readahead in bytes.
        """
        path = self._strip_protocol(path)
        text = {name: kwargs.pop(name) for name in TEXT_OPTIONS if name in kwargs}
        compression = inferred(path, compression)
        binary = mode.replace("t", "").replace("b", "") + "b"
        file = await self._open_bytes(
            path, binary, block_size=block_size, cache_type=cache_type, cache_options=cache_options, **kwargs
        )
        if compression is None and "b" in mode:
            return file
        return await layered(file, binary if "b" in mode else binary[:-1], compression, text)

    async def _open_bytes(self, path: str, mode: str, **kwargs: Any) -> AsyncFile:
        """`open_async` for bytes as they are stored."""
        call = place_of(self)
        options = {name: kwargs.pop(name) for name in ("block_size", "cache_type", "cache_options")}
        if mode == "rb":
            source = await call(_with(self._open_source, kwargs), path)
            return ReadingFile(make_reader(source, call=call, **options), path)
        if mode not in ("wb", "xb", "ab"):
            raise ValueError(
                f"mode {mode!r} is none of rb, wb, xb, ab; {type(self).__name__} cannot change files in place"
            )
        position = await call(self._end_of, path) if mode == "ab" else 0
        if mode == "xb" and await call(self._exists, path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)  # and once more by the store
        writer = await call(_with(self._open_writer, kwargs), path, mode)
        if self._intrans:
            writer = self.transaction.stage(Staged(writer, path))
        return WritingFile(writer, path, mode, call=call, position=position)

    async def _end_of(self, path: str) -> int:
        try:
            return int((await self._info(path))["size"] or 0)
        except FileNotFoundError:
            return 0

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The synchronous file for bytes as they are stored; called by `open`."""
        return BufferedFile(
            self, path, mode, block_size=block_size, autocommit=autocommit, cache_options=cache_options, **kwargs
        )

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """fsspec's `open`. A `with` block that fails stores nothing, also through text and compression."""
        path = self._strip_protocol(path)
        text = {name: kwargs.pop(name) for name in TEXT_OPTIONS if name in kwargs}
        compression = inferred(path, compression)
        binary = mode if "b" in mode else mode.replace("t", "") + "b"
        autocommit = kwargs.pop("autocommit", not self._intrans)
        file = self._open(
            path, binary, block_size=block_size, autocommit=autocommit, cache_options=cache_options, **kwargs
        )
        if not autocommit and "r" not in binary:
            self.transaction.files.append(file)
        whole = file
        if compression is not None:
            from fsspec.compression import compr

            whole = CompressedFile(compr[compression](file, mode=mode[0].replace("x", "w")), file)
        return whole if "b" in mode else TextFile(whole, file, **text)


class CompressedFile(ClosingBoth):
    """A codec over a file; a failed block discards."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            discard(self._below)
        super().__exit__(kind, value, traceback)

    def close(self) -> None:
        if self._below.closed and not self._has_ended:
            # Discarded: the codec's last words are not wanted, and must not come when it is collected.
            self._has_ended = True
            with contextlib.suppress(ValueError, OSError):
                self._codec.close()
        super().close()


class TextFile(io.TextIOWrapper):
    """Text over a file; a failed block discards."""

    def __init__(self, buffer: Any, lowest: Any, **options: Any) -> None:
        write_mark(buffer, options)
        super().__init__(buffer, **options)
        self._lowest = lowest

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and discard(self._lowest):
            with contextlib.suppress(ValueError, OSError):
                self.buffer.close()
            return
        super().__exit__(kind, value, traceback)


def discard(file: Any) -> bool:
    """Discard what was written to `file`; False when it is one that is only read, or that has no way to."""
    if file.closed or not file.writable() or not hasattr(file, "discard"):
        return False
    file.discard()
    return True


def inferred(path: str, compression: str | None) -> str | None:
    """The name of the codec; "infer" looks at the name of the file. `ValueError` names the known ones."""
    from fsspec.core import get_compression

    name: str | None = get_compression(path, compression)
    return name


def _with(func: Any, options: Mapping[str, Any]) -> Any:
    async def call(*args: Any) -> Any:
        return await func(*args, **options)

    return call
