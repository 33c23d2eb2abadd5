"""Readers of driven stores: one request a read, or one open file object; always one version of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from fsspec.caching import BaseCache

from aiovfs.errors import StaleError
from aiovfs.fs import failures
from aiovfs.fs.info import Info
from aiovfs.fs.store import Reader

if TYPE_CHECKING:
    from aiovfs.fs.driven import DrivenStore

__all__ = ["FileReader", "RangeReader"]


class RangeReader(Reader):
    """One request a read."""

    def __init__(self, store: DrivenStore, path: str, info: Info) -> None:
        self._store = store
        self._path = path
        self._info = info

    async def read(self, offset: int, size: int) -> bytes:
        known = self._info.size
        if known is not None:
            size = min(size, known - offset)
        if size <= 0:
            return b""
        data = await self._store._read_range(self._path, self._info, offset, size)
        await check_version(self._store, self._path, self._info, short=known is not None and len(data) < size)
        return data


class FileReader(Reader):
    """Reads of one open synchronous file object, one at a time."""

    def __init__(self, store: DrivenStore, path: str, info: Info) -> None:
        self._store = store
        self._path = path
        self._info = info
        self._file: Any = None
        self._lock = anyio.Lock()

    async def read(self, offset: int, size: int) -> bytes:
        async with self._lock:
            if self._file is None:
                self._file = await self._store._call("open", self._store._full(self._path), "rb", about=self._path)
                fetch_exactly(self._file)
            try:
                data: bytes = await self._store._driver.run(read_at, self._file, offset, size)
            except Exception as exc:
                raise failures.translate(exc, self._path) from exc
        known = self._info.size
        await check_version(
            self._store, self._path, self._info, short=known is not None and len(data) < min(size, known - offset)
        )
        return data

    async def aclose(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            await self._store._driver.run(file.close)


def read_at(file: Any, offset: int, size: int) -> bytes:
    """Read until `size` bytes are there or the file ends."""
    file.seek(offset)
    data: bytes = file.read(size)
    if len(data) == size or not data:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and (part := file.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def fetch_exactly(file: Any) -> None:
    """Have an fsspec file fetch what is asked for, and not 5 MiB ahead: whoever reads through us keeps a cache."""
    if isinstance(getattr(file, "cache", None), BaseCache) and hasattr(file, "_fetch_range"):
        file.cache = BaseCache(file.blocksize, file._fetch_range, file.size)


async def check_version(store: DrivenStore, path: str, info: Info, *, short: bool) -> None:
    """Raise `StaleError` when the store's version of `path` is no longer that of `info`."""
    if short:
        raise StaleError(f"{path!r} became shorter than the {info.size} bytes it had when it was opened")
    if info.fingerprint is None or store.pinned_reads:
        return
    try:
        now = await store.info(path)
    except FileNotFoundError:
        raise StaleError(f"{path!r} was removed while it was being read") from None
    if now.fingerprint != info.fingerprint:
        raise StaleError(f"{path!r} changed while it was being read: {info.fingerprint} became {now.fingerprint}")
