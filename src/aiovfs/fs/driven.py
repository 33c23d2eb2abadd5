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
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import anyio
from fsspec import AbstractFileSystem
from fsspec.callbacks import Callback

from aiovfs import aio
from aiovfs.fs import failures, paths, quirks
from aiovfs.fs.concurrency import window
from aiovfs.fs.drivers import Driver, can_write, driver_of, native_move
from aiovfs.fs.info import Capabilities, Info, Kind
from aiovfs.fs.readers import FileReader, RangeReader
from aiovfs.fs.retries import retrying
from aiovfs.fs.store import Progress, Reader, Store

__all__ = ["MARKER", "DrivenStore"]

MARKER = ".aiovfs-directory"
"""Name of the zero-byte object that keeps an empty directory alive where directories cannot exist by themselves."""

REPEATABLE = frozenset({"info", "ls", "cat_file"})
"""Calls that change nothing: made again when they fail in a way that may pass."""

RETRY_SECONDS = 20.0
"""How long such calls are made again before their failure is reported."""

PARALLEL_COPIES = 16
"""Copies and deletes in flight while a directory is moved by copying."""


Infos = list[Info]


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
        self._patience = 0.0  # a store that does not answer at all is reported at once
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

    async def _list(self, path: str) -> tuple[Infos, bool]:
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
        is_in_doubt = not entries and not marked and not listing.has_self and path
        # An empty answer is what some backends give for a file or for nothing at all.
        if is_in_doubt and not (await self.info(path)).is_directory:
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
                await aio.run(_unlink_if_there, target)
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
        """Move by the backend's own call. Not all of them replace: what is in the way is put aside meanwhile."""
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
            await window([partial(copy, path) for path in files], size=PARALLEL_COPIES)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._undo(made, [new + path[len(old) :] for path in directories])
            raise
        await window([partial(self._remove_file, path) for path in files], size=PARALLEL_COPIES)
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
        """Everything at and below `path`, directories before what is in them; raises rather than leave out."""
        pending = [path]
        while pending:
            directory = pending.pop()
            entries, marked = await self._list(directory)
            yield directory, Info(paths.name_of(directory), Kind.DIRECTORY), marked
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
        self._patience = RETRY_SECONDS

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
        """`size` bytes at `offset`, of the version in `info` if `pinned_reads`. Only for what is there."""
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
            async with aio.descriptors.temporary_name() as name:
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

        attempt = partial(self._driver.call, method, *args, **kwargs)
        try:
            if method in REPEATABLE:
                return await retrying(attempt, seconds=self._patience, about=f"{method} {about!r}")
            return await attempt()
        except NotImplementedError:
            raise
        except Exception as exc:
            error = failures.translate(exc, about)
            if error is exc:
                raise  # "from itself" would hide what it was raised from
            raise error from exc


class ProgressCallback(Callback):  # type: ignore[misc]  # fsspec has no types
    """fsspec's callback as ours."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def call(self, *args: Any, **kwargs: Any) -> None:
        self._progress(self.value)


def progress_callback(progress: Progress | None) -> Callback:
    """What fsspec's `callback=` takes, for our `progress`."""
    return Callback() if progress is None else ProgressCallback(progress)


def _unlink_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
