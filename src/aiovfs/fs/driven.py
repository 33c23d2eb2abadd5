"""A store that drives any fsspec file system.

Everything special about a family of backends is in a hook that a subclass overrides; the hooks are the methods under
"Hooks" below and the class attributes above them. What this class itself adds to fsspec's contract:

- listings and `info` are never answered from fsspec's listing cache;
- `rmdir` refuses a directory with content, `mkdir` one that exists;
- where a directory cannot exist by itself, an empty one is kept by a zero-byte marker object inside it, hidden from
  listings. One is also written when the last file of a directory is removed or moved away. To know when that is costs
  one listing per directory, not one per removal: the number of files seen is counted down;
- `rename` is one call where the backend has one, else copy everything, then delete; undone when a copy fails;
- a reader sees one version: what it was opened for, or `StaleError`.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar

import anyio
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.caching import BaseCache
from fsspec.callbacks import Callback

from aiovfs.aio import disk
from aiovfs.errors import StaleError
from aiovfs.fs import failures, paths, quirks
from aiovfs.fs.drivers import Driver, driver_of
from aiovfs.fs.info import Capabilities, Info, Kind
from aiovfs.fs.store import Progress, Reader, Store

__all__ = ["MARKER", "DrivenStore"]

MARKER = ".aiovfs-directory"
"""Name of the zero-byte object that keeps an empty directory alive where directories cannot exist by themselves."""

PARALLEL_COPIES = 16
"""Copies and deletes in flight while a directory is moved by copying."""


class DrivenStore(Store):
    """Any fsspec file system as a store. See the head of this file."""

    object_store: ClassVar[bool] = False
    """Directories are only prefixes of names: `empty_directories` is False and an absent root is an empty directory."""

    pinned_reads: ClassVar[bool] = False
    """`_read_range` itself guarantees the version; else the fingerprint is looked up again after each range."""

    def __init__(
        self,
        fs: AbstractFileSystem,
        root: str,
        *,
        url: str,
        protocol: str,
        read_only: bool = False,
        capabilities: Capabilities | None = None,
        owned: bool = True,
    ) -> None:
        """`owned`: nobody else uses `fs`, so its listing cache may be switched off and its session closed."""
        super().__init__(
            fs, root, url=url, protocol=protocol, capabilities=capabilities or self._guess_capabilities(fs, read_only)
        )
        self._owned = owned
        self._driver: Driver = driver_of(fs)
        self._files_left: dict[str, int] = {}
        if owned and hasattr(getattr(fs, "dircache", None), "use_listings_cache"):
            fs.dircache.use_listings_cache = False

    def _guess_capabilities(self, fs: AbstractFileSystem, read_only: bool) -> Capabilities:
        return Capabilities(
            writable=not read_only and can_write(fs), empty_directories=not self.object_store, ranged_reads=True
        )

    # Looking

    async def info(self, path: str) -> Info:
        paths.check(path)
        if paths.name_of(path) == MARKER and self._keeps_markers:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        try:
            raw = await self._call("info", self._full(path), about=path)
        except FileNotFoundError:
            if not path and self.object_store:
                return Info("", Kind.DIRECTORY)
            raise
        return quirks.normalise(raw, name=paths.name_of(path))

    async def list(self, path: str) -> list[Info]:
        entries, _ = await self._list(path)
        return entries

    async def _list(self, path: str) -> tuple[list[Info], bool]:
        """The directory's entries, and whether a marker of ours is among what the store keeps there."""
        paths.check(path)
        try:
            raw = await self._list_raw(path)
        except FileNotFoundError:
            if not path and self.object_store:
                return [], False
            # Some backends list a file as "nothing there".
            if path and not (await self.info(path)).is_directory:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            raise
        listing = quirks.listing(raw, self._full(path), strip=type(self.fs)._strip_protocol)
        if listing.is_file:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        entries = [info for info in listing.entries if info.name != MARKER] if self._keeps_markers else listing.entries
        marked = len(entries) != len(listing.entries)
        if not entries and not marked and not listing.has_self and path:
            # An empty answer is what some backends give for a file or for nothing at all.
            if not (await self.info(path)).is_directory:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return entries, marked

    # Content

    async def open_reader(self, path: str, info: Info) -> Reader:
        paths.check(path)
        if info.is_directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not self._driver.is_async and type(self)._read_range is DrivenStore._read_range:
            return FileReader(self, path, info)
        return RangeReader(self, path, info)

    async def upload(
        self, source: str, path: str, *, exclusive: bool = False, progress: Progress | None = None
    ) -> Info:
        paths.check(path)
        self._check_writable(path)
        await self._upload(source, path, exclusive, progress)
        self._files_left.pop(paths.parent_of(path), None)
        return await self.info(path)

    async def download(self, path: str, target: str, *, progress: Progress | None = None) -> None:
        paths.check(path)
        try:
            await self._call("get_file", self._full(path), target, about=path, callback=progress_callback(progress))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await disk.run(_unlink_if_there, target)
            raise

    # Names

    async def remove(self, path: str) -> None:
        paths.check(path)
        self._check_writable(path)
        if (await self.info(path)).is_directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        await self._keep_parent(path)
        await self._remove_file(path)

    async def mkdir(self, path: str, mode: int = 0o755) -> None:
        paths.check(path)
        self._check_writable(path)
        try:
            await self.info(path)
        except FileNotFoundError:
            pass
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if self._keeps_markers:
            await self._write_marker(path)
        else:
            await self._call("mkdir", self._full(path), about=path, create_parents=False)
        self._files_left.pop(paths.parent_of(path), None)

    async def rmdir(self, path: str) -> None:
        paths.check(path)
        self._check_writable(path)
        entries, marked = await self._list(path)
        if entries:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        await self._keep_parent(path)
        if not self._keeps_markers:
            await self._call("rmdir", self._full(path), about=path)
            return
        if marked:
            await self._remove_marker(path)
        self._files_left.pop(path, None)
        try:
            await self._remove_foreign_marker(path)
        except FileNotFoundError:
            pass

    async def copy(self, old: str, new: str) -> None:
        paths.check(old), paths.check(new)
        self._check_writable(new)
        if (await self.info(old)).is_directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), old)
        if old != new:
            await self._copy_file(old, new)
            self._files_left.pop(paths.parent_of(new), None)

    async def rename(self, old: str, new: str) -> None:
        paths.check(old), paths.check(new)
        self._check_writable(old)
        paths.check_rename(old, new)
        source = await self.info(old)
        if old == new:
            return
        replaced = await self._check_replaceable(source, new)
        native = native_move(self.fs)
        if native is not None:
            await self._move(native, old, new, replaced)
        elif source.is_directory:
            if replaced is not None:
                await self.rmdir(new)
            await self._keep_parent(old)
            await self._move_tree(old, new)
        else:
            await self._copy_file(old, new)
            await self._keep_parent(old)
            await self._remove_file(old)
        self._files_left.pop(paths.parent_of(new), None)

    async def _check_replaceable(self, source: Info, new: str) -> Info | None:
        try:
            target = await self.info(new)
        except FileNotFoundError:
            return None
        if target.is_directory and not source.is_directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), new)
        if source.is_directory and not target.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), new)
        if target.is_directory and await self.list(new):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), new)
        return target

    async def _move(self, method: str, old: str, new: str, replaced: Info | None) -> None:
        """Move by the backend's own call. Not all of them replace; what is in the way is put aside, never just deleted."""
        if replaced is None:
            await self._call(method, self._full(old), self._full(new), about=old)
            return
        if replaced.is_directory:
            await self.rmdir(new)
            await self._call(method, self._full(old), self._full(new), about=old)
            return
        aside = paths.join(paths.parent_of(new), f".aiovfs-{os.urandom(6).hex()}")
        await self._call(method, self._full(new), self._full(aside), about=new)
        try:
            await self._call(method, self._full(old), self._full(new), about=old)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._call(method, self._full(aside), self._full(new), about=new)
            raise
        await self._remove_file(aside)

    async def _move_tree(self, old: str, new: str) -> None:
        files: list[str] = []
        directories: list[str] = []
        async for path, info, marked in self._walk(old):
            if info.is_directory:
                directories.append(path)
                if marked:
                    files.append(paths.join(path, MARKER))
            else:
                files.append(path)
        made: list[str] = []

        async def copy(path: str) -> None:
            target = new + path[len(old) :]
            made.append(target)
            await self._copy_file(path, target)

        try:
            if not self._keeps_markers:
                for path in directories:
                    await self._call("mkdir", self._full(new + path[len(old) :]), about=path, create_parents=False)
            await each(copy, files)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._undo(made, [new + path[len(old) :] for path in directories])
            raise
        await each(self._remove_file, files)
        for path in reversed(directories):
            self._files_left.pop(path, None)
            if self._keeps_markers:
                try:
                    await self._remove_foreign_marker(path)
                except FileNotFoundError:
                    pass
            else:
                await self._call("rmdir", self._full(path), about=path)

    async def _undo(self, files: Sequence[str], directories: Sequence[str]) -> None:
        for path in files:
            try:
                await self._remove_file(path)
            except OSError:
                pass  # that copy was never made; whatever stopped the rest is being raised
        if not self._keeps_markers:
            for path in reversed(directories):
                try:
                    await self._call("rmdir", self._full(path), about=path)
                except OSError:
                    pass

    async def _walk(self, path: str) -> AsyncIterator[tuple[str, Info, bool]]:
        """Everything at and below `path`, directories before what is in them. Errors are raised, nothing is left out."""
        pending = [path]
        yielded: Info
        while pending:
            directory = pending.pop()
            entries, marked = await self._list(directory)
            yielded = Info(paths.name_of(directory), Kind.DIRECTORY)
            yield directory, yielded, marked
            for info in entries:
                below = paths.join(directory, info.name)
                if info.is_directory:
                    pending.append(below)
                else:
                    yield below, info, False

    async def _keep_parent(self, path: str) -> None:
        """Before `path` goes away: if its directory would vanish with it, give the directory a marker."""
        parent = paths.parent_of(path)
        if not parent or not self._keeps_markers:
            return
        left = self._files_left.get(parent, 0) - 1
        if left <= 0:
            entries, marked = await self._list(parent)
            left = sum(info.name != paths.name_of(path) for info in entries)
            if left == 0 and not marked:
                await self._write_marker(parent)
        self._files_left[parent] = left

    # Life

    async def verify(self) -> None:
        await self._check_root()

    async def aclose(self) -> None:
        if self._owned:
            await self._close_fs()
        self._owned = False

    # Hooks. Each may be overridden alone; all get paths relative to the root.

    async def _check_root(self) -> None:
        """Raise what is wrong with the root. For object stores: the bucket must exist, the prefix need not."""
        await super().verify()

    async def _list_raw(self, path: str) -> Sequence[Mapping[str, Any]]:
        """The backend's own listing of one directory; `quirks.listing` makes sense of it."""
        raw: Sequence[Mapping[str, Any]] = await self._call("ls", self._full(path), about=path, detail=True)
        return raw

    async def _read_range(self, path: str, info: Info, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`, of the version in `info` if `pinned_reads`; never asked for what is past the end."""
        data: bytes = await self._call("cat_file", self._full(path), about=path, start=offset, end=offset + size)
        if len(data) > size:
            # The range was ignored and everything came.
            data = data[offset : offset + size] if len(data) >= offset + size else data[offset:]
        return data

    async def _upload(self, source: str, path: str, exclusive: bool, progress: Progress | None) -> None:
        """Put the local file `source` at `path`."""
        if exclusive:
            try:
                await self.info(path)
            except FileNotFoundError:
                pass
            else:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        options: dict[str, Any] = {"callback": progress_callback(progress)}
        if exclusive and self._driver.takes("put_file", "mode"):
            options["mode"] = "create"
        await self._call("put_file", source, self._full(path), about=path, **options)

    async def _copy_file(self, old: str, new: str) -> None:
        """Copy one file, replacing. By way of this machine when the backend cannot."""
        try:
            await self._call("cp_file", self._full(old), self._full(new), about=old)
        except NotImplementedError:
            async with disk.temporary_file() as name:
                await self.download(old, name)
                await self._upload(name, new, False, None)

    async def _remove_file(self, path: str) -> None:
        """Delete one file or object."""
        try:
            await self._call("rm_file", self._full(path), about=path)
        except NotImplementedError:
            await self._call("rm", self._full(path), about=path)

    async def _write_marker(self, path: str) -> None:
        """Make the directory `path` exist without content."""
        await self._call("pipe_file", self._full(paths.join(path, MARKER)), b"", about=path)

    async def _remove_marker(self, path: str) -> None:
        """Take back what `_write_marker` wrote."""
        await self._remove_file(paths.join(path, MARKER))

    async def _remove_foreign_marker(self, path: str) -> None:
        """Remove an empty object "path/" that another program left for a directory. Here: report that it is there."""
        await self.info(path)
        raise OSError(errno.ENOTEMPTY, "kept by an object of another program whose name ends with a slash", path)

    async def _close_fs(self) -> None:
        """Close the backend's sessions and connections."""
        await self._driver.aclose()

    # Helpers for the hooks

    @property
    def _keeps_markers(self) -> bool:
        return not self.capabilities.empty_directories

    def _full(self, path: str) -> str:
        """`path` in the backend's own form."""
        return paths.join(self.root, path)

    async def _call(self, method: str, *args: Any, about: str, **kwargs: Any) -> Any:
        """Call a method of the backend, by its name without underscore, and translate how it fails.

        `about` is the path that errors name. `NotImplementedError` is left as it is.
        """
        # Whatever an earlier listing left in fsspec's cache may be older than what we have just done.
        self.fs.invalidate_cache()
        try:
            return await self._driver.call(method, *args, **kwargs)
        except NotImplementedError:
            raise
        except Exception as exc:
            raise failures.translate(exc, about) from exc


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
    """Have an fsspec file fetch what is asked for: its own readahead is 5 MiB, and whoever reads through us keeps a cache."""
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


async def each(function: Callable[[str], Any], items: Sequence[str]) -> None:
    """Run `function` on all `items`, `PARALLEL_COPIES` at a time; the first failure stops the rest and is raised."""
    pending = iter(items)
    failed: list[BaseException] = []

    async def work(group: anyio.abc.TaskGroup) -> None:
        for item in pending:
            try:
                await function(item)
            except Exception as exc:
                failed.append(exc)
                group.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in range(min(PARALLEL_COPIES, len(items))):
            group.start_soon(work, group)
    if failed:
        raise failed[0]


class ProgressCallback(Callback):
    """fsspec's callback as ours."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def call(self, *args: Any, **kwargs: Any) -> None:
        self._progress(self.value)


def progress_callback(progress: Progress | None) -> Callback:
    """What fsspec's `callback=` takes, for our `progress`."""
    return Callback() if progress is None else ProgressCallback(progress)


@functools.cache
def _defining_class(cls: type, name: str) -> type | None:
    return next((base for base in cls.__mro__ if name in vars(base)), None)


def overrides(fs: AbstractFileSystem, name: str) -> bool:
    """True when the class of `fs`, or the instance, has a `name` of its own and not fsspec's default."""
    return name in vars(fs) or _defining_class(type(fs), name) not in (None, AbstractFileSystem, AsyncFileSystem)


def can_write(fs: AbstractFileSystem) -> bool:
    """False when the class has no way to put a file."""
    if fs.async_impl:
        return overrides(fs, "_put_file") or overrides(fs, "_pipe_file")
    return any(overrides(fs, name) for name in ("put_file", "pipe_file", "rm_file", "_rm", "rm"))


def native_move(fs: AbstractFileSystem) -> str | None:
    """The method by which `fs` moves in one call, if it has one that is not copy and delete."""
    if fs.async_impl:
        return "mv_file" if overrides(fs, "_mv_file") else None
    for name in ("mv", "mv_file"):
        if overrides(fs, name) and not inspect.iscoroutinefunction(getattr(fs, name)):
            return name
    return None


def _unlink_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
