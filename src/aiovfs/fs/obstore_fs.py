"""obstore's fsspec adapter without its quirks. Import it only where obstore is installed.

What the adapter does otherwise: a range needs both ends; exclusive creation is ignored; downloads are held in memory
whole; listings leave out dates, and report a directory's own marker object as a file; entity tags of uploads are lost.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync
from fsspec.callbacks import DEFAULT_CALLBACK
from obstore.exceptions import InvalidPathError
from obstore.fsspec import FsspecStore
from obstore.store import AzureStore, GCSStore, S3Store

from aiovfs.errors import StaleError
from aiovfs.fs.object_options import ObstoreOptions
from aiovfs.fs.quirks import is_dated
from aiovfs.fs.ranges import ByteRange, split

__all__ = ["ObstoreFileSystem"]

_STORES: dict[str, Callable[..., Any]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}

PART_SIZE = 8 * 1024 * 1024
"""Bytes of one part of a transfer; larger where an upload would need too many parts."""

MAX_PARTS = 9000
PARTS_AT_ONCE = 4


class ObstoreFileSystem(FsspecStore):
    """One object store through obstore, with fsspec's contract kept. Paths are "bucket/key"."""

    refuses_control_characters = True
    """In keys, as `InvalidPathError`."""

    def __init__(self, protocol: str, options: ObstoreOptions, **kwargs: Any) -> None:
        self.options = options
        super().__init__(protocol, **kwargs)  # type: ignore[call-overload]

    def _construct_store(self, bucket: str) -> Any:
        client_options = dict(self.options.client_options)
        certificates = client_options.pop("root_certificate_file", None)
        if certificates is not None:
            client_options["root_certificate"] = Path(certificates).read_bytes()
        return _STORES[str(self.protocol)](
            bucket,
            config=self.options.config,
            client_options=client_options,
            retry_config=self.options.retry_config,
            credential_provider=self.options.credential_provider,
        )

    def _locate(self, path: str) -> tuple[Any, str]:
        bucket, key = self._split_path(path)
        return self._construct_store(bucket), key

    async def _close(self) -> None:
        """Forget the clients, and with them their connections."""
        self._construct_store.cache_clear()  # type: ignore[attr-defined]

    # Looking

    async def _probe(self, path: str) -> bool:
        """Whether any object is below `path`. An exception when the bucket is not there or refuses."""
        store, key = self._locate(path)
        try:
            async for chunk in store.list(key or None, chunk_size=1):
                return bool(chunk)
        except InvalidPathError:
            # An object whose name obstore cannot say ("a//b") is an object, too.
            return True
        return False

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        store, key = self._locate(path)
        if key:
            try:
                return _facts(path, await store.head_async(key))
            except FileNotFoundError:
                pass  # a directory is only the prefix of names
        if await self._probe(path) or not key:
            return {"name": path, "type": "directory", "size": None}
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        bucket, key = self._split_path(path)
        store = self._construct_store(bucket)
        try:
            result = await store.list_with_delimiter_async(key or None)
        except InvalidPathError as exc:
            text = f"{str(exc).partition(chr(10))[0]}; obstore cannot list such names, the client 's3fs' can"
            raise OSError(errno.EINVAL, text, path) from exc
        entries = [
            {"name": f"{bucket}/{prefix}", "type": "directory", "size": None} for prefix in result["common_prefixes"]
        ]
        for item in result["objects"]:
            # obstore drops the final slash of a marker's key: an object with the directory's own name is its marker.
            name = f"{bucket}/{item['path']}"
            entries.append(_facts(name + "/" if item["path"] == key else name, item))
        if not entries and key:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return entries if detail else sorted(str(entry["name"]) for entry in entries)

    # Reading

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        store, key = self._locate(path)
        if (start or 0) < 0 or (end or 0) < 0:
            size = (await store.head_async(key))["size"]
            start, end, _ = slice(start, end).indices(size)
        if end is not None and end <= (start or 0):
            return b""
        options: dict[str, Any] = {}
        if end is not None:
            options["range"] = (start or 0, end)
        elif start:
            options["range"] = {"offset": start}
        answer = await store.get_async(key, options=options)
        return bytes(await answer.bytes_async())

    async def _read_pinned(self, path: str, start: int, end: int, fingerprint: str | None) -> bytes:
        """The bytes from `start` to `end` of one version; `StaleError` when there is another one."""
        store, key = self._locate(path)
        return await self._get_pinned(store, key, path, start, end, fingerprint)

    @staticmethod
    async def _get_pinned(store: Any, key: str, path: str, start: int, end: int, fingerprint: str | None) -> bytes:
        options: dict[str, Any] = {"range": (start, end)}
        pinned = fingerprint is not None and not is_dated(fingerprint)
        if pinned:
            options["if_match"] = f'"{fingerprint}"'
        answer = await store.get_async(key, options=options)
        # Not every server heeds If-Match.
        seen = _tag(answer.meta)
        if pinned and seen not in (None, fingerprint):
            detail = f"{fingerprint} became {seen}"
            raise StaleError(f"{path!r} was replaced while it was open: {detail}", hint="open it again")
        return bytes(await answer.bytes_async())

    async def _get_file(self, rpath: str, lpath: str, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        """Download by parts of one version, several at once; memory is bounded by those."""
        store, key = self._locate(rpath)
        meta = await store.head_async(key)
        tag = _tag(meta)
        callback.set_size(meta["size"])
        limiter = anyio.CapacityLimiter(PARTS_AT_ONCE)
        fd = await run_sync(os.open, lpath, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

        async def fetch(part: ByteRange) -> None:
            try:
                data = await self._get_pinned(store, key, rpath, part.start, part.end, tag)
                if len(data) != part.size:
                    raise StaleError(f"{rpath!r} became shorter than {meta['size']} bytes while it was downloaded")
                await run_sync(_write_at, fd, data, part.start)
                callback.relative_update(part.size)
            finally:
                limiter.release_on_behalf_of(part)

        try:
            async with anyio.create_task_group() as group:
                for part in split(ByteRange(0, meta["size"]), PART_SIZE):
                    await limiter.acquire_on_behalf_of(part)
                    group.start_soon(fetch, part)
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(os.close, fd)

    # Writing

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> str | None:
        """Write the object; its new entity tag, if the store tells one."""
        store, key = self._locate(path)
        result = await store.put_async(key, bytes(value), mode="create" if mode == "create" else "overwrite")
        return _tag(result)

    async def _put_file(  # type: ignore[override]
        self, lpath: str, rpath: str, mode: str = "overwrite", callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> str | None:
        """Upload a local file, in parts when it is large; the new entity tag, if the store tells one."""
        size = (await anyio.Path(lpath).stat()).st_size
        callback.set_size(size)
        if size <= PART_SIZE or mode == "create":
            # The precondition belongs to one request. A file larger than memory cannot be created exclusively.
            tag = await self._pipe_file(rpath, await anyio.Path(lpath).read_bytes(), mode=mode)
            callback.absolute_update(size)
            return tag
        store, key = self._locate(rpath)
        part_size = max(PART_SIZE, -(-size // MAX_PARTS))
        parts = _parts(lpath, size, part_size, callback)
        result = await store.put_async(key, parts, chunk_size=part_size, max_concurrency=PARTS_AT_ONCE)
        return _tag(result)

    async def _mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Nothing to do: a directory is only the prefix of names."""


async def _parts(path: str, size: int, part_size: int, callback: Any) -> AsyncIterator[bytes]:
    """The file in parts of exactly `part_size` bytes. Progress is what was handed over, not what has arrived."""
    async with await anyio.open_file(path, "rb") as source:
        sent = 0
        while sent < size:
            part = await source.read(min(part_size, size - sent))
            if not part:
                raise OSError(errno.EIO, f"the file became shorter than {size} bytes while it was uploaded", path)
            yield part
            sent += len(part)
            callback.absolute_update(sent)


def _tag(meta: Any) -> str | None:
    """The entity tag as fingerprints have it: without quotes."""
    return str(meta["e_tag"]).strip('"') if meta["e_tag"] else None


def _facts(name: str, meta: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "directory" if name.endswith("/") else "file",
        "size": meta["size"],
        "e_tag": meta["e_tag"],
        "last_modified": meta["last_modified"],
        # Not `version`: listings do not tell it, and the same object would have two fingerprints.
    }


def _write_at(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
