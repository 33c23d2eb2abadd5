"""A web server's directory as a store. What is asked of the server, and how, is in `http`."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import anyio

from aiovfs.errors import StaleError, StoreError
from aiovfs.fs import paths, quirks
from aiovfs.fs.driven import DrivenStore
from aiovfs.fs.http import REQUEST_OPTIONS, ByteStream, HTTPFileSystem, RangesIgnoredError, quote_name
from aiovfs.fs.info import Capabilities, Info, Kind
from aiovfs.fs.registry import redact
from aiovfs.fs.store import Reader, Store

__all__ = ["OPTION_NAMES", "HTTPStore", "connect"]

OPTION_NAMES = frozenset(
    {"headers", "client_kwargs", "get_client", "timeout", "connect_timeout", "retry_seconds", "connections"}
    | set(REQUEST_OPTIONS)
)


async def connect(url: str, *, options: Mapping[str, Any], client: str | None, read_only: bool) -> Store:
    """The store for an `http://` or `https://` URL of a directory."""
    parts = urlsplit(url)
    if parts.query:
        raise StoreError(
            f"{redact(url)} with a query names one file, not a directory",
            url=redact(url),
            hint="give the directory's URL; a token belongs into the option `headers`",
        )
    fs = HTTPFileSystem(asynchronous=True, skip_instance_cache=True, **options)
    root = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return HTTPStore(fs, root, url=redact(url), protocol=parts.scheme)


class HTTPStore(DrivenStore):
    """Read-only. `capabilities.ranged_reads` turns False when the server is seen to ignore ranges."""

    pinned_reads = True

    def __init__(self, fs: HTTPFileSystem, root: str, *, url: str, protocol: str, owned: bool = True) -> None:
        super().__init__(
            fs, root, url=url, protocol=protocol, owned=owned, read_only=True, capabilities=Capabilities(writable=False)
        )

    async def verify(self) -> None:
        # No patience of the store's own beside: the file system retries by itself.
        await self._check_root()

    async def info(self, path: str) -> Info:
        paths.check(path)
        if not path:
            # The root is a directory, as `verify` has found; servers say nothing else about it.
            return Info("", Kind.DIRECTORY)
        return await super().info(path)

    async def _list(self, path: str) -> tuple[list[Info], bool]:
        paths.check(path)
        try:
            raw = await self._call("ls", self._full(path), about=path, detail=True)
        except FileNotFoundError:
            if path and not (await self.info(path)).is_directory:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            raise
        # Times in listings are rounded: a fingerprint made of them would differ from the file's own.
        return [
            replace(quirks.normalise(item, name=_decoded_name(item["name"])), fingerprint=None) for item in raw
        ], False

    async def open_reader(self, path: str, info: Info) -> Reader:
        paths.check(path)
        if info.is_directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return HTTPReader(self, path, info)

    async def _check_root(self) -> None:
        if await self._call("probe", self.root, about="") != "directory":
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.url)

    async def _close_fs(self) -> None:
        await self._driver.call("close")

    def _full(self, path: str) -> str:
        if not path:
            return self.root
        return paths.join(self.root, "/".join(quote_name(name) for name in path.split("/")))

    def _ranges_are_ignored(self) -> None:
        self.capabilities = replace(self.capabilities, ranged_reads=False)


class HTTPReader(Reader):
    """By ranges; by one stream that is read on where the server knows no ranges."""

    def __init__(self, store: HTTPStore, path: str, info: Info) -> None:
        self._store = store
        self._path = path
        self._info = info
        self._url = store._full(path)
        self._stream: ByteStream | None = None
        self._lock = anyio.Lock()

    async def read(self, offset: int, size: int) -> bytes:
        known = self._info.size
        if known is not None:
            size = min(size, known - offset)
        if size <= 0:
            return b""
        data = await self._read(offset, size)
        if known is not None and len(data) < size:
            raise StaleError(f"{self._path!r} became shorter than the {known} bytes it had when it was opened")
        return data

    async def _read(self, offset: int, size: int) -> bytes:
        if self._stream is None and self._store.capabilities.ranged_reads:
            try:
                data: bytes = await self._store._call(
                    "read_range",
                    self._url,
                    offset,
                    offset + size,
                    fingerprint=self._info.fingerprint,
                    size=self._info.size,
                    about=self._path,
                )
                return data
            except RangesIgnoredError:
                self._store._ranges_are_ignored()
        stream = await self._open_stream()
        streamed: bytes = await self._store._call("read_stream", stream, offset, size, about=self._path)
        return streamed

    async def _open_stream(self) -> ByteStream:
        async with self._lock:
            if self._stream is None:
                self._stream = await self._store._call(
                    "open_stream", self._url, self._info.fingerprint, self._info.size, about=self._path
                )
            return self._stream

    async def aclose(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await self._store._call("close_stream", stream, about=self._path)


def _decoded_name(url: str) -> str:
    return unquote(url.rpartition("/")[2], errors="surrogateescape")
