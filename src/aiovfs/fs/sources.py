"""What an open file stands on: a `Source` of one version to read from, a `Writer` that makes a new one.

`AsyncFileSystem._open_source` and `_open_writer` return these. The two classes here need nothing but `_info`,
`_cat_file` and `_pipe_file` of a file system, so every author gets files; who can do better (a range pinned by its
entity tag, an upload in parts) returns a subclass.
"""

from __future__ import annotations

import inspect
import itertools
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from aiovfs import aio
from aiovfs.errors import StaleError
from aiovfs.fs import quirks
from aiovfs.types import Buffer

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["CatSource", "PipeWriter", "Source", "Writer", "content_key"]

SPOOL_LIMIT = 32 * 1024 * 1024
"""Bytes of an upload held in memory; a larger one that cannot be sent in parts waits in a temporary file."""

_numbers = itertools.count()


class Source(ABC):
    """One version of one file, to be read by ranges."""

    def __init__(self, path: str, details: Mapping[str, Any], *, key: Hashable = None) -> None:
        """`details`: fsspec's info dictionary of the version. `key`: see `blocks.Blocks`; None shares with nobody."""
        self.path = path
        self.details = dict(details)
        self.key = key
        self.first = b""
        """The first bytes of the file, where opening it has brought them: whole blocks, or all there are."""
        self.whole: bytes | None = None
        """The content, where it had to be read to learn how large it is."""

    @property
    def size(self) -> int | None:
        """Bytes in the file; None when only reading will tell."""
        size = self.details.get("size")
        return None if size is None else int(size)

    @property
    def fingerprint(self) -> str | None:
        """The name of the version, where the file system gives one."""
        return quirks.normalise(self.details, name="").fingerprint

    @abstractmethod
    async def fetch(self, start: int, end: int) -> bytes:
        """The bytes of the range, fewer only at the end of the file. `StaleError` when the version is gone."""

    async def aclose(self) -> None:  # noqa: B027  # most hold nothing
        """Give back what is held."""


class CatSource(Source):
    """Ranges by `_cat_file`. Where versions have names, a look after each range makes sure of the version."""

    def __init__(self, fs: AbstractFileSystem, path: str, details: Mapping[str, Any]) -> None:
        super().__init__(path, details, key=content_key(fs, path, details))
        self._fs = fs
        self._version = self.fingerprint

    async def fetch(self, start: int, end: int) -> bytes:
        data: bytes = await self._fs._cat_file(self.path, start=start, end=end)
        if len(data) > end - start:
            # The range was ignored and everything came.
            data = data[start:end]
        if self._version is not None:
            await self._check()
        return data

    async def _check(self) -> None:
        try:
            now = quirks.normalise(await self._fs._info(self.path), name="").fingerprint
        except FileNotFoundError:
            raise StaleError(f"{self.path!r} was removed while it was being read") from None
        if now != self._version:
            raise StaleError(
                f"{self.path!r} changed while it was being read: {self._version} became {now}", hint="open it again"
            )


class Writer(ABC):
    """New content for one file. Nobody sees it before `commit` has returned; then everybody sees all of it."""

    @abstractmethod
    async def write(self, data: Buffer) -> None:
        """Add to the content. The buffer may be used again when this has returned."""

    @abstractmethod
    async def commit(self) -> None:
        """Make what was written the file's content. Raises what keeps it from being stored."""

    @abstractmethod
    async def discard(self) -> None:
        """Forget what was written; the file stays as it was. Also after a failed `commit`."""


class PipeWriter(Writer):
    """Holds the content, and stores it with one `_pipe_file` (or, where it is large, one `_put_file`)."""

    def __init__(self, fs: Any, path: str, mode: str, options: Mapping[str, Any]) -> None:
        """`mode`: "wb", "xb" or "ab"."""
        self._fs = fs
        self._path = path
        self._mode = mode
        self._options = dict(options)
        self._file: Any = tempfile.SpooledTemporaryFile(SPOOL_LIMIT)  # noqa: SIM115  # closed by commit and discard
        self._size = 0

    async def write(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        if self._size + len(view) > SPOOL_LIMIT:
            await aio.run(self._file.write, view)
        else:
            self._file.write(view)
        self._size += len(view)

    async def commit(self) -> None:
        if self._mode == "ab":
            await self._append()
        else:
            await self._store(exclusive=self._mode == "xb")
        self._file.close()

    async def discard(self) -> None:
        self._file.close()

    async def _append(self) -> None:
        try:
            before = await self._fs._cat_file(self._path)
        except FileNotFoundError:
            await self._store(exclusive=False)
        else:
            await self._fs._pipe_file(self._path, before + await aio.run(self._content), **self._options)

    async def _store(self, *, exclusive: bool) -> None:
        options = dict(self._options)
        if exclusive:
            if takes(self._fs._pipe_file, "mode"):
                options["mode"] = "create"
            elif await self._fs._exists(self._path):
                raise FileExistsError(f"{self._path!r} is there already")
        if self._size <= SPOOL_LIMIT or exclusive or not has_own(self._fs, "_put_file"):
            await self._fs._pipe_file(self._path, await aio.run(self._content), **options)
            return
        with await aio.run(tempfile.NamedTemporaryFile) as named:
            await aio.run(self._copy_to, named)
            await self._fs._put_file(named.name, self._path, **options)

    def _content(self) -> bytes:
        self._file.seek(0)
        content: bytes = self._file.read()
        return content

    def _copy_to(self, target: Any) -> None:
        self._file.seek(0)
        while part := self._file.read(1024 * 1024):
            target.write(part)
        target.flush()


def content_key(fs: Any, path: str, details: Mapping[str, Any]) -> Hashable:
    """What names this content in the process, or None.

    A name made of size and time is none: it can come again with other bytes. Instances do not share, because nobody
    knows whether two of them mean the same place.
    """
    fingerprint = quirks.normalise(details, name="").fingerprint
    if fingerprint is None or quirks.is_dated(fingerprint):
        return None
    # On the object itself: file systems compare equal by what they were made with, which is not enough here.
    number = vars(fs).setdefault("_aiovfs_number", next(_numbers))
    return ("instance", number, path, fingerprint)


def takes(function: Any, parameter: str) -> bool:
    """True when the function names that parameter; a mere `**kwargs` may ignore it."""
    return parameter in inspect.signature(function).parameters


def has_own(fs: Any, name: str) -> bool:
    """True when the class has a method of that name that does something."""
    from fsspec.asyn import AsyncFileSystem

    return getattr(type(fs), name, None) is not getattr(AsyncFileSystem, name, None)
