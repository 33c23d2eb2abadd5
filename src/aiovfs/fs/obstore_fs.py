"""Object stores as fsspec file systems, on obstore: S3, Google Cloud Storage, Azure. Paths are "bucket/key".

What a user of these may count on, beside fsspec's contract:

- one request for one small object: opening a file brings its first bytes, reading one needs no HEAD, and what was
  opened is read by ranges of that version (`If-Match`, and each answer's tag is compared: not every server heeds it);
- what is written appears as a whole: one PUT, or an upload in parts that is completed at the end. `mode="create"` and
  "xb" are `If-None-Match: *`; an append reads, and writes back only if nobody was faster, else again;
- a tree is listed flat, a thousand names a request. A listing that breaks off goes on behind the last name: obstore
  itself reports its end there, and a second attempt on the same stream would be silently short;
- one policy of repeating: obstore repeats a request within `retry_config`, this module what obstore leaves (bodies that
  break off, pages of listings), for `retry_seconds` in all. A failure that may pass is never "not found".

obstore's futures belong to asyncio. On Trio each request goes over the companion loop, so all of this runs there too.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import anyio
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.config import conf

from aiovfs import aio
from aiovfs._loop.background import to_its_end
from aiovfs._loop.companion import companion, run_on
from aiovfs._loop.library import running_library
from aiovfs.errors import MissingPackageError, OptionError, StaleError
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.blocks import BLOCK_SIZE
from aiovfs.fs.concurrency import batch_size_of, pace_of, window
from aiovfs.fs.failures import is_past_end, translate
from aiovfs.fs.local_files import replacing
from aiovfs.fs.object_options import ObstoreOptions, UntranslatableError, obstore_options
from aiovfs.fs.quirks import is_dated
from aiovfs.fs.ranges import ByteRange, split
from aiovfs.fs.retries import retrying
from aiovfs.fs.sources import PipeWriter, Source, Writer, content_key
from aiovfs.types import Buffer

__all__ = ["AzureFileSystem", "GCSFileSystem", "ObstoreFileSystem", "S3FileSystem"]

T = TypeVar("T")

_used_in: int | None = None
"""The process whose threads obstore has started."""

PART_SIZE = 8 * 1024 * 1024
"""Bytes of one part of a transfer; larger where an upload would need too many parts."""

AT_ONE_GO = 16 * 1024 * 1024
"""Bytes of an object that are asked for before its size is known."""

MAX_PARTS = 9000
PARTS_AT_ONCE = 4
PAGE = 1000
DELETED_AT_ONCE = 1000

AT_ONCE = 128
"""Requests of a bulk operation, unless told otherwise. Each is a connection of its own; more are not faster."""

APPENDS_TRIED = 5

GRACE = 5.0
"""Seconds that a cancelled writer waits to know whether what it was sending has been stored."""


async def on_asyncio(func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """Await `func(*args, **kwargs)` on an asyncio loop: the running one, or, on Trio, the companion's."""
    if running_library() == "trio":
        return await run_on(companion().loop, func, *args, **kwargs)
    return await func(*args, **kwargs)


class ObstoreFileSystem(AsyncFileSystem):
    """See the head of this file. Use a subclass: it says which service is meant."""

    family: ClassVar[str]
    """obstore's name of the service: "s3", "gs" or "az"."""
    root_marker = ""
    runs_anywhere = True
    moves_by_copying = True
    refuses_control_characters = True
    """In keys, as `InvalidPathError`."""

    def __init__(
        self, *, translated: ObstoreOptions | None = None, retry_seconds: float = 20.0, **options: Any
    ) -> None:
        """`options`: fsspec's for this service (of s3fs, gcsfs, adlfs), or obstore's own (see `object_options`).

        `retry_seconds`: how long failures that may pass are met with another attempt. `translated`: options that were
        made sense of already. Raises `OptionError` for one that obstore has no word for.
        """
        base = {name: options.pop(name) for name in BASE_OPTIONS if name in options}
        super().__init__(**base)
        if self.batch_size is None and conf.get("gather_batch_size") is None:
            self.batch_size = AT_ONCE
        self.retry_seconds = retry_seconds
        try:
            self.options = translated or obstore_options(self.family, options, os.environ)
        except UntranslatableError as exc:
            raise OptionError(
                f"{type(self).__name__} does not know {exc}", hint=f"fsspec's own client for {self.family}:// may"
            ) from exc
        self._stores: dict[str, Any] = {}
        self._stores_lock = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """ "bucket/key", whatever the scheme; of Azure's `container@account.host/blob` the account is an option."""
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        scheme, separator, rest = os.fspath(path).partition("://")
        text = (rest if separator and "/" not in scheme else os.fspath(path)).rstrip("/")
        bucket, slash, key = text.lstrip("/").partition("/")
        return bucket.partition("@")[0] + slash + key

    @property
    def fsid(self) -> str:
        """The same wherever the service is the same."""
        return f"{self.family}:{self.options.config.get('endpoint') or ''}"

    def make_store(self, path: str, *, read_only: bool = False) -> Any:
        """A store on this live file system, for mounts."""
        from aiovfs.fs.objectstores import PinnedStore

        root = self._strip_protocol(path)
        return PinnedStore(
            self, root, url=f"{self.family}://{root}", protocol=self.family, read_only=read_only, owned=False
        )

    def _store_of(self, bucket: str) -> Any:
        global _used_in
        if not bucket:
            raise OSError(errno.EINVAL, "a path begins with the name of a bucket", "")
        if _used_in not in (None, os.getpid()):
            raise RuntimeError(
                "obstore was used in the process that this one was forked from: its threads are gone, and a call would "
                "wait for ever; start workers by spawn or forkserver"
            )
        _used_in = os.getpid()
        with self._stores_lock:
            store = self._stores.get(bucket)
            if store is None:
                store = self._stores[bucket] = self._make_store_of(bucket)
            return store

    def _make_store_of(self, bucket: str) -> Any:
        try:
            from obstore.store import AzureStore, GCSStore, S3Store
        except ImportError as exc:
            raise MissingPackageError(f"{self.family}:// needs obstore", hint="pip install 'aiovfs[cloud]'") from exc
        client_options: dict[str, Any] = dict(self.options.client_options)
        certificates = client_options.pop("root_certificate_file", None)
        if certificates is not None:
            client_options["root_certificate"] = Path(certificates).read_bytes()
        cls: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[self.family]
        return cls(
            bucket,
            config=self.options.config,
            client_options=client_options,
            retry_config=self.options.retry_config,
            credential_provider=self.options.credential_provider,
        )

    def _locate(self, path: str) -> tuple[Any, str]:
        bucket, _, key = self._strip_protocol(path).partition("/")
        return self._store_of(bucket), key

    async def _close(self) -> None:
        """Forget the clients, and with them their connections."""
        self._stores.clear()

    async def _ask(self, path: str, func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """One request, or what else may be made again; failures in words of the operating system."""
        try:
            if not self.retry_seconds:
                return await on_asyncio(func, *args, **kwargs)
            return await retrying(
                partial(on_asyncio, func, *args, **kwargs), seconds=self.retry_seconds, about=f"{self.family}://{path}"
            )
        except (OSError, NotImplementedError) as exc:
            if isinstance(exc, OSError) and exc.errno is None:
                raise translate(exc, path) from exc
            raise
        except Exception as exc:
            raise translate(exc, path) from exc

    # Looking

    async def _probe(self, path: str) -> bool:
        """Whether any object is below `path`. An exception when the bucket is not there or refuses."""
        store, key = self._locate(path)
        return bool(await self._ask(path, _first_page, store, key))

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        store, key = self._locate(path)
        if key:
            try:
                return _facts(path, await self._ask(path, store.head_async, key))
            except FileNotFoundError:
                pass  # a directory is only the prefix of names
        if await self._probe(path) or not key:
            return {"name": path, "type": "directory", "size": None}
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        path = self._strip_protocol(path)
        bucket = path.partition("/")[0]
        store, key = self._locate(path)
        result = await self._ask(path, _listing, store, key, path)
        entries = [
            {"name": f"{bucket}/{prefix}", "type": "directory", "size": None} for prefix in result["common_prefixes"]
        ]
        for item in result["objects"]:
            # obstore drops the final slash of a marker's key: an object with the directory's own name is its marker.
            name = f"{bucket}/{item['path']}"
            entries.append(_facts(name + "/" if item["path"] == key else name, item))
        if not entries and key:
            # An object, or nothing.
            entries.append(_facts(path, await self._ask(path, store.head_async, key)))
        return entries if detail else sorted(str(entry["name"]) for entry in entries)

    async def _iter_find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, on_error: Any = "raise", **kwargs: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """A whole tree by one flat listing, page by page."""
        path = self._strip_protocol(path)
        if maxdepth is not None or on_error != "raise" or not path:
            infos = super()._iter_find(path, maxdepth=maxdepth, withdirs=withdirs, on_error=on_error, **kwargs)
            async with aclosing(infos):
                async for info in infos:
                    yield info
            return
        prefix = kwargs.get("prefix") or ""
        found = False
        seen: set[str] = set()
        async with aclosing(self._objects_below(path)) as objects:
            async for info in objects:
                name = info["name"]
                if withdirs:
                    for directory in _directories_between(path, name, seen):
                        yield {"name": directory, "type": "directory", "size": None}
                found = True
                if not prefix or name.startswith(f"{path}/{prefix}"):
                    yield info
        if not found:
            try:
                yield _facts(path, await self._head(path))
            except FileNotFoundError:
                return

    async def _objects_below(self, path: str) -> AsyncGenerator[dict[str, Any], None]:
        """All objects below a prefix, in the order of their keys. After a page that failed, on behind the last one."""
        bucket = path.partition("/")[0]
        store, key = self._locate(path)
        last: str | None = None
        pages: Any = None

        async def turn() -> Any:
            nonlocal pages
            if pages is None:
                pages = store.list(key or None, offset=last, chunk_size=PAGE)
            try:
                return await _next_page(pages, path)
            except BaseException:
                pages = None  # it would report its end now
                raise

        while True:
            page = await self._ask(path, turn)
            if page is None:
                return
            for item in page:
                last = item["path"]
                if last != key:
                    yield _facts(f"{bucket}/{last}", item)

    async def _head(self, path: str) -> Any:
        store, key = self._locate(path)
        if not key:
            raise FileNotFoundError(errno.ENOENT, "a bucket is no file", path)
        return await self._ask(path, store.head_async, key)

    async def _modified(self, path: str) -> datetime:
        modified: datetime = (await self._head(path))["last_modified"]
        return modified

    async def _sign(self, path: str, expiration: int = 100, **kwargs: Any) -> str:
        """A URL by which anybody may read the object for `expiration` seconds."""
        import obstore

        store, key = self._locate(path)
        method = kwargs.get("method", "GET")
        url: str = await self._ask(path, obstore.sign_async, store, method, key, timedelta(seconds=expiration))
        return url

    # Reading

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        store, key = self._locate(path)
        if not key:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if (start or 0) < 0 or (end or 0) < 0:
            size = (await self._ask(path, store.head_async, key))["size"]
            start, end, _ = slice(start, end).indices(size)
        if end is not None and end <= (start or 0):
            return b""
        if not start and end is None:
            return await self._get_whole(path)
        options: dict[str, Any] = {"range": {"offset": start} if end is None else (start or 0, end)}
        try:
            data, _ = await self._ask(path, _get, store, key, options)
        except OSError as exc:
            if is_past_end(exc):
                return b""
            raise
        return data

    async def _get_whole(self, path: str) -> bytes:
        """The content: by one request when it is small, else by ranges of one version, several at once."""
        store, key = self._locate(path)
        try:
            first, meta = await self._ask(path, _get, store, key, {"range": (0, AT_ONE_GO)})
        except OSError as exc:
            if is_past_end(exc):
                return b""
            if "non-partial" in str(exc):
                # A server that ignores ranges.
                return (await self._ask(path, _get, store, key, {}))[0]
            raise
        tag = _tag(meta)
        rest = [
            partial(self._read_pinned, path, part.start, part.end, tag)
            for part in split(ByteRange(len(first), meta["size"]), PART_SIZE)
        ]
        if not rest:
            return first
        content = b"".join([first, *await window(rest, size=PARTS_AT_ONCE)])
        if len(content) != meta["size"]:
            raise StaleError(
                f"{path!r} became shorter than {meta['size']} bytes while it was read", hint="read it again"
            )
        return content

    async def _read_pinned(self, path: str, start: int, end: int, fingerprint: str | None) -> bytes:
        """The bytes from `start` to `end` of one version; `StaleError` when there is another one."""
        store, key = self._locate(path)
        return await self._ask(path, _get_pinned, store, key, path, start, end, fingerprint)

    async def _open_source(self, path: str, *, details: Mapping[str, Any] | None = None, **kwargs: Any) -> Source:
        """The first request brings the first block, and with it size and version."""
        path = self._strip_protocol(path)
        store, key = self._locate(path)
        first = b""
        if details is None:
            if not key:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            try:
                first, meta = await self._ask(path, _get, store, key, {"range": (0, BLOCK_SIZE)})
                details = _facts(path, meta)
            except OSError as exc:
                if not is_past_end(exc) and not isinstance(exc, FileNotFoundError):
                    raise
                details = await self._info(path)  # empty, a directory, or not there
        if details["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return ObjectSource(self, path, details, first)

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        """Download by parts of one version, several at once; memory is bounded by those. `lpath` appears when whole."""
        rpath = self._strip_protocol(rpath)
        store, key = self._locate(rpath)
        try:
            if not key:
                raise FileNotFoundError(rpath)
            first, meta = await self._ask(rpath, _get, store, key, {"range": (0, PART_SIZE)})
        except OSError as exc:
            if not is_past_end(exc) and not isinstance(exc, FileNotFoundError):
                raise
            facts = await self._info(rpath)
            if facts["type"] == "directory":
                await aio.run(partial(os.makedirs, lpath, exist_ok=True))
                return
            first, meta = b"", facts
        size = meta["size"]
        callback.set_size(size)
        if hasattr(lpath, "write"):
            lpath.write(first)
            for part in split(ByteRange(len(first), size), PART_SIZE):
                lpath.write(await self._read_pinned(rpath, part.start, part.end, _tag(meta)))
            callback.absolute_update(size)
            return
        async with replacing(os.fspath(lpath)) as target:
            fd = target.file.fileno()
            await aio.pwrite(fd, first, 0)
            callback.relative_update(len(first))

            async def fetch(part: ByteRange) -> None:
                data = await self._read_pinned(rpath, part.start, part.end, _tag(meta))
                if len(data) != part.size:
                    raise StaleError(f"{rpath!r} became shorter than {size} bytes while it was downloaded")
                await aio.pwrite(fd, data, part.start)
                callback.relative_update(part.size)

            parts = split(ByteRange(len(first), size), PART_SIZE)
            await window([partial(fetch, part) for part in parts], size=PARTS_AT_ONCE)

    # Writing

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> str | None:
        """Write the object; its new entity tag, if the store tells one."""
        return await self._store(path, bytes(value), "create" if mode == "create" else "overwrite")

    async def _store(self, path: str, content: bytes, mode: Any) -> str | None:
        store, key = self._locate(path)
        if not key:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return await to_its_end(self._put_object, store, key, path, content, mode, grace=GRACE)

    async def _put_object(self, store: Any, key: str, path: str, content: bytes, mode: Any) -> str | None:
        if mode == "overwrite":
            return _tag(await self._ask(path, store.put_async, key, content))
        # Not made again here: whether the first attempt was stored decides what the second one means.
        try:
            return _tag(await on_asyncio(store.put_async, key, content, mode=mode))
        except Exception as exc:
            raise translate(exc, path, exclusive=mode == "create") from exc

    async def _put_file(  # type: ignore[override]
        self, lpath: Any, rpath: str, mode: str = "overwrite", callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> str | None:
        """Upload a local file, in parts when it is large; the new entity tag, if the store tells one."""
        if await aio.run(os.path.isdir, lpath):
            return None  # a directory is only the prefix of names
        size = (await aio.run(os.stat, lpath)).st_size
        callback.set_size(size)
        if size <= PART_SIZE or mode == "create":
            # The precondition belongs to one request. A file larger than memory cannot be created exclusively.
            tag = await self._pipe_file(rpath, await aio.run(Path(lpath).read_bytes), mode=mode)
            callback.absolute_update(size)
            return tag
        store, key = self._locate(rpath)
        part_size = max(PART_SIZE, -(-size // MAX_PARTS))

        async def send() -> Any:
            parts = _parts(lpath, size, part_size, callback)
            return await store.put_async(key, parts, chunk_size=part_size, max_concurrency=PARTS_AT_ONCE)

        try:
            return _tag(await to_its_end(on_asyncio, send, grace=GRACE))
        except Exception as exc:
            raise translate(exc, rpath) from exc

    async def _open_writer(self, path: str, mode: str, **kwargs: Any) -> Writer:
        path = self._strip_protocol(path)
        store, key = self._locate(path)
        if not key:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if mode == "wb":
            return ObjectWriter(store, key, path)
        # Conditions belong to one request, so these are put together before it.
        return AppendWriter(self, path, mode, kwargs) if mode == "ab" else PipeWriter(self, path, mode, kwargs)

    # Names

    async def _cp_file(self, path1: str, path2: str, mode: str = "overwrite", **kwargs: Any) -> None:
        """Copy inside the store; from one bucket to another, through this machine."""
        (store, old), (target, new) = self._locate(path1), self._locate(path2)
        try:
            if store is target:
                await self._ask(path1, store.copy_async, old, new, overwrite=mode != "create")
                return
            source = await self._open_source(path1)
            writer = await self._open_writer(path2, "xb" if mode == "create" else "wb")
        except FileNotFoundError:
            if await self._isdir(path1):
                return
            raise
        try:
            for part in split(ByteRange(0, source.size or 0), PART_SIZE):
                await writer.write(await source.fetch(part.start, part.end))
            await writer.commit()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await writer.discard()
            raise

    async def _mv_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        old, new = self._strip_protocol(path1), self._strip_protocol(path2)
        if old == new:
            await self._head(old)
            return
        await self._cp_file(old, new)
        await self._rm_file(old)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        """Delete an object. That nothing is there is no error: the services do not tell."""
        store, key = self._locate(path)
        await to_its_end(self._ask, path, store.delete_async, key, grace=GRACE)

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Remove objects; with `recursive` trees, by a flat listing. In bulk where the service is known for that."""
        if not recursive or maxdepth is not None:
            await super()._rm(path, recursive=recursive, batch_size=batch_size, maxdepth=maxdepth, **kwargs)
            return
        names: list[str] = []
        for each in [path] if isinstance(path, str | os.PathLike) else path:
            for top in await self._expand_path(os.fspath(each)):
                found = [info["name"] async for info in self._iter_find(top)]
                if not found:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), top)
                names += found
        await self._delete_all(names, batch_size)

    async def _delete_all(self, names: list[str], batch_size: int | None) -> None:
        if self.options.config.get("disable_bulk_delete", self.family != "s3"):
            await window(
                [partial(self._rm_file, name) for name in names],
                size=batch_size_of(self, batch_size, nofiles=True),
                pace=pace_of(self),
            )
            return
        by_bucket: dict[str, list[str]] = {}
        for name in names:
            bucket, _, key = name.partition("/")
            by_bucket.setdefault(bucket, []).append(key)
        for bucket, keys in by_bucket.items():
            for first in range(0, len(keys), DELETED_AT_ONCE):
                some = keys[first : first + DELETED_AT_ONCE]
                await to_its_end(self._ask, bucket, self._store_of(bucket).delete_async, some, grace=GRACE)

    async def _mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Nothing to do: a directory is only the prefix of names."""

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing to do: a directory is only the prefix of names."""

    async def _rmdir(self, path: str) -> None:
        """Nothing to do: a directory is gone with the last name in it."""


class S3FileSystem(ObstoreFileSystem):
    """S3 and what speaks like it. Options as of s3fs."""

    family = "s3"
    protocol = ("s3", "s3a")


class GCSFileSystem(ObstoreFileSystem):
    """Google Cloud Storage. Options as of gcsfs."""

    family = "gs"
    protocol = ("gs", "gcs")


class AzureFileSystem(ObstoreFileSystem):
    """Azure Blob Storage. Options as of adlfs."""

    family = "az"
    protocol = ("az", "abfs", "abfss", "adl")


CLASSES: dict[str, type[ObstoreFileSystem]] = {
    cls.family: cls for cls in (S3FileSystem, GCSFileSystem, AzureFileSystem)
}
"""By family."""

BASE_OPTIONS = ("asynchronous", "loop", "batch_size", "use_listings_cache", "listings_expiry_time", "max_paths")
"""Options of fsspec's base class."""


class ObjectSource(Source):
    """Ranges of one version of an object."""

    def __init__(self, fs: ObstoreFileSystem, path: str, details: Mapping[str, Any], first: bytes) -> None:
        super().__init__(path, details, key=content_key(fs, path, details))
        self.first = first
        self._fs = fs
        self._version = self.fingerprint

    async def fetch(self, start: int, end: int) -> bytes:
        if end <= len(self.first):
            return self.first[start:end]
        return await self._fs._read_pinned(self.path, start, end, self._version)


class ObjectWriter(Writer):
    """An upload: one PUT when it is small, else in parts as they come, a few at once."""

    def __init__(self, store: Any, key: str, path: str) -> None:
        self._store = store
        self._key = key
        self._path = path
        self._pending = bytearray()
        self._upload: Any = None

    async def write(self, data: Buffer) -> None:
        self._pending += data
        if len(self._pending) > PART_SIZE:
            await self._send()

    async def _send(self) -> None:
        import obstore

        pending, self._pending = bytes(self._pending), bytearray()
        try:
            if self._upload is None:
                self._upload = obstore.open_writer_async(
                    self._store, self._key, buffer_size=PART_SIZE, max_concurrency=PARTS_AT_ONCE
                )
            await on_asyncio(self._upload.write, pending)
        except Exception as exc:
            raise translate(exc, self._path) from exc

    async def commit(self) -> None:
        await to_its_end(self._complete, grace=GRACE)

    async def _complete(self) -> None:
        try:
            if self._upload is None:
                await on_asyncio(self._store.put_async, self._key, bytes(self._pending))
                return
            await self._send()
            upload, self._upload = self._upload, None
            await on_asyncio(upload.close)
        except Exception as exc:
            raise translate(exc, self._path) from exc

    async def discard(self) -> None:
        # Never completed, so nobody sees it. The parts that were sent are for the bucket's own rule to remove: obstore
        # has no call that gives an upload up.
        self._pending = bytearray()
        self._upload = None


class AppendWriter(PipeWriter):
    """Reads, and writes back with a condition; again when somebody else was faster."""

    async def _append(self) -> None:
        more = await aio.run(self._content)
        for attempt in range(APPENDS_TRIED):
            store, key = self._fs._locate(self._path)
            try:
                try:
                    before, meta = await self._fs._ask(self._path, _get, store, key, {})
                except FileNotFoundError:
                    await self._fs._store(self._path, more, "create")
                else:
                    condition = {name: meta[name] for name in ("e_tag", "version") if meta.get(name)}
                    await self._fs._store(self._path, before + more, condition or "overwrite")
                return
            except (StaleError, FileExistsError):
                if attempt + 1 == APPENDS_TRIED:
                    raise


# Requests. These run on asyncio.


async def _first_page(store: Any, key: str) -> Any:
    from obstore.exceptions import InvalidPathError

    try:
        async for chunk in store.list(key or None, chunk_size=1):
            return chunk
    except InvalidPathError:
        # An object whose name obstore cannot say ("a//b") is an object, too.
        return True
    return None


async def _listing(store: Any, key: str, path: str) -> Any:
    from obstore.exceptions import InvalidPathError

    try:
        return await store.list_with_delimiter_async(key or None)
    except InvalidPathError as exc:
        raise _unspeakable(exc, path) from exc


async def _next_page(pages: Any, path: str) -> Any:
    from obstore.exceptions import InvalidPathError

    try:
        return await anext(pages)
    except StopAsyncIteration:
        return None
    except InvalidPathError as exc:
        raise _unspeakable(exc, path) from exc


def _unspeakable(exc: Exception, path: str) -> OSError:
    text = f"{str(exc).partition(chr(10))[0]}; obstore cannot list such names, the client 's3fs' can"
    return OSError(errno.EINVAL, text, path)


async def _get(store: Any, key: str, options: Mapping[str, Any]) -> tuple[bytes, Any]:
    answer = await store.get_async(key, options=options)
    return bytes(await answer.bytes_async()), answer.meta


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


async def _parts(path: Any, size: int, part_size: int, callback: Any) -> AsyncIterator[bytes]:
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


def _directories_between(top: str, name: str, seen: set[str]) -> list[str]:
    """`top` and the directories down to `name` that were not seen yet; they are now."""
    new: list[str] = []
    directory = name
    while directory != top and directory:
        directory = directory.rpartition("/")[0]
        if directory in seen:
            break
        seen.add(directory)
        new.append(directory)
    return new[::-1]


def _tag(meta: Any) -> str | None:
    """The entity tag as fingerprints have it: without quotes."""
    tag = meta.get("e_tag")
    return str(tag).strip('"') if tag else None


def _facts(name: str, meta: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "directory" if name.endswith("/") else "file",
        "size": meta["size"],
        "e_tag": meta["e_tag"],
        "last_modified": meta["last_modified"],
        # Not `version`: listings do not tell it, and the same object would have two fingerprints.
    }
