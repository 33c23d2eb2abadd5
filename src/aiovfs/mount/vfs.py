"""The virtual file system: a store, seen as inodes and open files. It knows nothing of FUSE.

What is asked of a `VFS` are the calls of POSIX, on `Inode` and `OpenFile` objects and names as bytes; what it asks of
the store are paths. In between lie what is remembered (attributes, listings, names that are not there), what is fetched
once for many, and what waits to be uploaded.

Rules for people who edit this
- A path is only true until the next `await`. Read it, ask the store, look again: that is `at`. What changes the store
  holds the namespace lock shared meanwhile, so that no rename can come in between.
- What the store said is noted with the time at which it was *asked*. An answer older than what we know is dropped.
- A name is only known to be absent when the store definitely said so. Every other failure is raised as it is.
- Our own changes go through `note_change`, which keeps listings true and outdates those that are still on their way.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import stat
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from aiovfs.errors import StaleError
from aiovfs.fs.info import Info, Kind
from aiovfs.fs.store import Store, StoreFile
from aiovfs.mount.cache.blocks import BlockCache
from aiovfs.mount.cache.disk import DiskCache
from aiovfs.mount.errors import error
from aiovfs.mount.files import DirectFile, OpenFile, RemoteFile
from aiovfs.mount.inode import NEVER, Inode, Tree
from aiovfs.mount.listing import HiddenNames, Listing
from aiovfs.mount.locks import NamespaceLock, SharedCalls
from aiovfs.mount.names import check_name, decode_name
from aiovfs.mount.namespace import Namespace
from aiovfs.mount.options import MountOptions
from aiovfs.mount.readahead import Readahead
from aiovfs.mount.remote import DrainReport, RemoteContent
from aiovfs.mount.staging import StagingDirectory, blocks_directory
from aiovfs.types import Usage

__all__ = ["VFS", "Dirent"]

logger = logging.getLogger("aiovfs.mount")

R = TypeVar("R")

LARGE = Usage(size=1 << 50, free=1 << 50, available=1 << 50, files=1 << 32, files_free=1 << 32)
"""What statfs(2) says of a store that does not know: room enough for every program that asks first."""

LISTING_ATTEMPTS = 3
"""How often a listing is asked for again because we changed the directory meanwhile."""


class Dirent(NamedTuple):
    """One name of a directory, and what was said of it at `checked_at`."""

    name: bytes
    ino: int
    info: Info
    checked_at: float


class VFS:
    """One mounted store. An async context manager: its background work ends with it.

    Leaving it does not upload: call `drain` first. The store is the caller's to close.
    """

    def __init__(self, store: Store, options: MountOptions | None = None) -> None:
        self.store = store
        self.options = options if options is not None else MountOptions()
        self.tree = Tree(Info(name="", kind=Kind.DIRECTORY))
        self.namespace = NamespaceLock()
        self.staging = StagingDirectory(self.options.cache_dir)
        self.remote = RemoteContent(self)
        self.hidden = HiddenNames()
        self.blocks: BlockCache
        self.disk: DiskCache | None = None
        self._names = Namespace(self)
        self._listings: SharedCalls[int, Listing]
        self._tasks: TaskGroup | None = None
        self._now = 0.0

    @property
    def root(self) -> Inode:
        return self.tree.root

    @property
    def is_read_only(self) -> bool:
        return self.options.read_only or not self.store.capabilities.writable

    @property
    def is_direct(self) -> bool:
        """Files are read and written in place, not staged."""
        return self.store.capabilities.positioned_writes

    @property
    def is_cheap(self) -> bool:
        """Asking the store costs so little that nothing is remembered."""
        return self.store.capabilities.cheap_metadata

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._listings = SharedCalls(self._tasks)
        self.blocks = BlockCache(
            self._tasks, max_size=self.options.cache_size, max_ahead=self.options.readahead_requests
        )
        if self.options.disk_cache and self.store.identity is not None and not self.is_direct:
            self.disk = await DiskCache.open(
                blocks_directory(self.options.cache_dir),
                self._tasks,
                max_size=self.options.disk_cache,
                min_free=self.options.disk_free,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)
        with anyio.CancelScope(shield=True):
            for inode in [self.root, *self.tree.below(self.root)]:
                for file in list(inode.direct_files):
                    await file.release()
                if inode.content is not None:
                    await inode.content.close_reader()
            if self.disk is not None:
                await self.disk.aclose()
            await self.remote.aclose()
            await self.staging.aclose()

    def now(self) -> float:
        """The loop's clock, but never the same twice: what was asked before a change is older than the change.

        (uvloop's clock stands still during one turn of the loop.)
        """
        self._now = max(anyio.current_time(), math.nextafter(self._now, math.inf))
        return self._now

    # Asking the store

    async def at(self, inode: Inode, call: Callable[[str], Awaitable[R]]) -> R:
        """`call(path)` with the path of `inode`, repeated if the inode was renamed meanwhile."""
        while True:
            path = self.tree.path(inode)
            try:
                result = await call(path)
            except OSError:
                if path == self.tree.path(inode):
                    raise
            else:
                if path == self.tree.path(inode):
                    return result

    def note(self, directory: Inode, name: bytes, info: Info, checked_at: float) -> Inode:
        """The inode of `name`, after the store said `info` of it at `checked_at`."""
        child = directory.children.get(name)
        if child is None:
            return self.tree.add(directory, name, info, checked_at)
        if child.staged is not None or checked_at < child.checked_at:
            return child  # we know better
        if child.kind is not info.kind or (child.has_store_ino and info.ino is not None and info.ino != child.ino):
            return self.tree.add(directory, name, info, checked_at)
        same = child.kind is not Kind.FILE or child.is_same_version(info)
        if not same and child.open_count and not self.is_direct:
            return self.tree.add(directory, name, info, checked_at)
        child.update(info, checked_at)
        if not same and child.content is not None and not self.is_direct:
            child.content.drop()
            child.content = None
        return child

    def distrust(self, inode: Inode) -> None:
        """The store has another version than we thought: whoever comes next asks it, however young our knowledge."""
        inode.checked_at = NEVER
        if inode.parent is not None:
            inode.parent.listing = None

    def note_change(self, directory: Inode, name: bytes, info: Info | None) -> None:
        """We made, changed or (`None`) removed `name`."""
        directory.changes += 1
        if not self.store.capabilities.attributes:
            directory.mtime_ns = directory.ctime_ns = time.time_ns()
            directory.has_local_times = True
        if info is not None:
            directory.negatives.pop(name, None)
            if directory.listing is not None:
                directory.listing.put(name, info)
        else:
            if directory.listing is not None:
                directory.listing.discard(name)
            self._note_absent(directory, name)

    def _note_absent(self, directory: Inode, name: bytes) -> None:
        if self.is_cheap or not self.options.negative_timeout:
            return
        now = self.now()
        if len(directory.negatives) > 1000:
            directory.negatives = {key: until for key, until in directory.negatives.items() if until > now}
        directory.negatives[name] = now + self.options.negative_timeout

    def _fresh_listing(self, directory: Inode) -> Listing | None:
        listing = directory.listing
        if listing is None or self.now() - listing.taken_at >= self.options.listing_timeout:
            return None
        return listing

    def _is_fresh(self, inode: Inode, max_age: float) -> bool:
        if self.is_cheap:
            return False
        return self.now() - inode.checked_at < max_age

    def check_writable(self, what: object = None) -> None:
        """Every change begins with this."""
        if self.is_read_only:
            raise error(errno.EROFS, what)

    # Looking

    async def lookup(self, directory: Inode, name: bytes) -> Inode:
        """The child called `name`. `FileNotFoundError` only when it is definitely not there."""
        check_name(name)
        self.check_directory(directory)
        child = directory.children.get(name)
        if child is not None and (child.staged is not None or self._is_fresh(child, self.options.attr_timeout)):
            return child
        listing = self._fresh_listing(directory)
        if listing is not None:
            info = listing.get(name)
            if info is None:
                raise error(errno.ENOENT, name)
            if info.kind is not Kind.FILE or info.size is not None:
                return self.note(directory, name, info, listing.taken_at)
        if directory.negatives.get(name, 0.0) > self.now():
            raise error(errno.ENOENT, name)
        checked_at, changes = self.now(), directory.changes
        try:
            info = await self._info_of(directory, name)
        except FileNotFoundError:
            child = directory.children.get(name)
            if child is not None and child.staged is not None:
                return child  # made here while we asked
            if child is not None and child.checked_at < checked_at:
                self.tree.detach(child)
            if directory.changes == changes:
                self._note_absent(directory, name)
            raise error(errno.ENOENT, name) from None
        if directory.changes != changes and directory.negatives.get(name, 0.0) > self.now():
            raise error(errno.ENOENT, name)  # removed by us while we asked
        return self.note(directory, name, info, checked_at)

    async def _info_of(self, directory: Inode, name: bytes) -> Info:
        text = decode_name(name)
        return await self.at(directory, lambda path: self.store.info(f"{path}/{text}" if path else text))

    async def refresh(self, inode: Inode, file: OpenFile | None = None) -> Inode:
        """Bring the attributes of `inode` up to date, as far as the options ask for it; returns it.

        `file` is a handle of it, if the caller has one. Raises `FileNotFoundError` when the name is gone, `StaleError`
        when it now means another file.
        """
        if not isinstance(file, DirectFile) and inode.direct_files and inode.is_unlinked:
            file = inode.direct_files[0]
        checked_at = self.now()
        if isinstance(file, DirectFile):
            inode.update(await file.file.info(), checked_at)
            return inode
        if inode.is_unlinked or inode.staged is not None or (inode is self.root and not self.is_cheap):
            return inode
        if self._is_fresh(inode, self.options.attr_timeout):
            return inode
        if inode.parent is None:
            inode.update(await self.store.info(""), checked_at)
            return inode
        listing = self._fresh_listing(inode.parent)
        if listing is not None and inode.name in listing and inode.size is not None:
            return inode
        return await self._ask_again(inode)

    async def _ask_again(self, inode: Inode) -> Inode:
        directory, name = inode.parent, inode.name
        if directory is None:
            return inode
        checked_at = self.now()
        try:
            info = await self.at(inode, self.store.info)
        except FileNotFoundError:
            if inode.staged is not None or inode.checked_at > checked_at:
                return inode
            if directory.listing is not None:
                directory.listing.discard(name)
            if inode.open_count:
                inode.is_replaced = True  # somebody removed it; those who have it open keep what they have
                self.tree.detach(inode)
                return inode
            self.tree.detach(inode)
            raise
        if inode.is_unlinked:
            return inode
        current = self.note(inode.parent or directory, inode.name, info, checked_at)
        if directory.listing is not None and directory.listing.get(name) is not None and inode.name == name:
            directory.listing.put(name, info)
        if current is not inode:
            raise StaleError("another file was put under this name in the store; look it up again")
        return inode

    async def list(self, directory: Inode) -> list[Dirent]:
        """Everything in a directory but "." and "..", files that were never uploaded included."""
        self.check_directory(directory)
        listing = self._fresh_listing(directory)
        while listing is None:
            changes = directory.changes
            listing = await self._listings.run(id(directory), lambda: self._fetch_listing(directory))
            if directory.changes != changes and not self.is_cheap:
                # Joined a request that may have been sent before our change: ask once more, now from its beginning.
                listing = self._fresh_listing(directory)
                if listing is None:
                    listing = await self._fetch_listing(directory)
        entries = dict(listing)
        for name, child in directory.children.items():
            if child.staged is not None:
                entries[name] = child.info()
        prefix = self.tree.path(directory)
        return [
            Dirent(name, self.tree.ino_for(directory, name, info, prefix), info, listing.taken_at)
            for name, info in entries.items()
        ]

    async def _fetch_listing(self, directory: Inode) -> Listing:
        for _ in range(LISTING_ATTEMPTS):
            changes, taken_at = directory.changes, self.now()
            infos = await self.at(directory, self.store.list)
            listing = Listing.of(self.tree.path(directory), infos, taken_at, self.hidden)
            if self.is_cheap:
                break
            if directory.changes == changes:
                directory.listing = listing
                break
        return listing

    async def readlink(self, inode: Inode) -> bytes:
        """Where a symlink points."""
        if inode.kind is not Kind.SYMLINK:
            raise error(errno.EINVAL, inode.name)
        if inode.target is None:
            inode.target = await self.at(inode, self.store.readlink)
        return inode.target.encode("utf-8", "surrogateescape")

    async def usage(self) -> Usage:
        """How full the store is, or a large constant; never a network request."""
        return await self.store.usage() or LARGE

    def check_directory(self, inode: Inode) -> None:
        if not inode.is_directory:
            raise error(errno.ENOTDIR, inode.name)
        if inode.is_unlinked:
            raise error(errno.ENOENT, inode.name)

    # Files

    async def open(self, inode: Inode, flags: int) -> OpenFile:
        """Open a file with open(2)'s flags (O_CREAT and O_EXCL are `create`'s).

        The store is asked again if what is known is older than `revalidate_after`. `StaleError` when the name now means
        another file than `inode`: look it up again.
        """
        if inode.is_directory:
            raise error(errno.EISDIR, inode.name)
        if inode.kind is Kind.SYMLINK:
            raise error(errno.ELOOP, inode.name)
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            self.check_writable(inode.name)
        if self.is_direct:
            return await self._open_direct(inode, flags)
        is_new_version = False
        await self._until_stays(inode)
        if inode.staged is None and not inode.is_unlinked and not self._is_fresh(inode, self.options.revalidate_after):
            before = (inode.size, inode.fingerprint)
            await self._ask_again(inode)
            await self._until_stays(inode)
            if inode.is_replaced and inode.is_unlinked:
                raise error(errno.ENOENT, inode.name)
            is_new_version = before != (inode.size, inode.fingerprint)
        if inode.is_replaced and not inode.open_count:
            raise StaleError("the file was replaced in the store; look it up again")
        if inode.is_unlinked and inode.staged is None and not inode.open_count:
            raise StaleError("the file was removed or replaced here; look its name up again")
        file = RemoteFile(self, inode, flags, Readahead(max_window=self.options.readahead))
        file.is_new_version = is_new_version
        inode.open_count += 1
        try:
            if flags & os.O_TRUNC:
                self.remote.overwrite(inode)
                await self.remote.truncate(inode, 0)
            elif inode.staged is None:
                if inode.content is not None and inode.fingerprint is None and inode.open_count == 1:
                    inode.content.drop()  # nothing says that it is still the same
                    inode.content = None
                if not self.store.capabilities.ranged_reads:
                    await self.remote.stage(inode)
                else:
                    self.remote.content_of(inode)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await file.release()
            raise
        return file

    async def _until_stays(self, inode: Inode) -> None:
        """Wait while the name of `inode` is being taken away here. Afterwards it is unlinked, or that has failed."""
        while inode.leaving is not None:
            await inode.leaving.wait()

    async def _open_direct(self, inode: Inode, flags: int) -> DirectFile:
        writable, truncate = flags & os.O_ACCMODE != os.O_RDONLY, bool(flags & os.O_TRUNC)
        if inode.is_unlinked:
            raise error(errno.ESTALE, inode.name)
        while True:
            path = self.tree.path(inode)
            opened = await self.store.open_file(path, writable=writable or truncate, truncate=truncate)
            try:
                checked_at = self.now()
                info = await opened.info()
                if path == self.tree.path(inode):
                    break
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await opened.aclose()
                raise
            await opened.aclose()
        if inode.has_store_ino and info.ino is not None and info.ino != inode.ino:
            await opened.aclose()
            raise StaleError("another file was put under this name in the store; look it up again")
        inode.update(info, checked_at)
        return self.add_direct(inode, flags, opened)

    def add_direct(self, inode: Inode, flags: int, opened: StoreFile) -> DirectFile:
        """One more handle of `inode`."""
        file = DirectFile(self, inode, flags, opened)
        inode.open_count += 1
        inode.direct_files.append(file)
        return file

    async def release_direct(self, file: DirectFile) -> None:
        """Close a file that works in place."""
        inode = file.inode
        inode.direct_files.remove(file)
        inode.open_count -= 1
        self.tree.drop_if_unused(inode)
        await file.file.aclose()

    # Attributes

    async def set_attributes(
        self,
        inode: Inode,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        size: int | None = None,
        file: OpenFile | None = None,
    ) -> Inode:
        """Change what is given. Where the store keeps none, times last as long as the mount; the rest has no effect."""
        self.check_writable(inode.name)
        if size is not None and inode.is_directory:
            raise error(errno.EISDIR, inode.name)
        given = {"mode": mode, "uid": uid, "gid": gid, "atime_ns": atime_ns, "mtime_ns": mtime_ns}
        values = {name: value for name, value in given.items() if value is not None}
        if self.is_direct:
            if size is not None:
                values["size"] = size
            await self._set_direct(inode, values, file)
        else:
            if size is not None:
                await self._truncate_remote(inode, size, file)
            if values:
                await self._set_remote(inode, values)
        return await self.refresh(inode, file)

    async def _set_direct(self, inode: Inode, values: dict[str, int], file: OpenFile | None) -> None:
        if not values:
            return
        if not isinstance(file, DirectFile) and inode.is_unlinked and inode.direct_files:
            file = inode.direct_files[0]
        if isinstance(file, DirectFile):
            if "size" in values:
                await file.truncate(values.pop("size"))
            if values:
                await file.file.set_attributes(**values)
        else:
            async with self.namespace.shared():
                await self.store.set_attributes(self.tree.path(inode), **values)

    async def _truncate_remote(self, inode: Inode, size: int, file: OpenFile | None) -> None:
        if file is not None:
            await file.truncate(size)
            return
        # truncate(2): nobody will close, so it is uploaded now. Opening makes sure of the version, and cleans up.
        was_staged = inode.staged is not None
        opened = await self.open(inode, os.O_WRONLY)
        try:
            if not size:
                self.remote.overwrite(inode)
            await opened.truncate(size)
            await opened.flush()
        except StaleError:
            # Nobody has this version open: nothing is lost, and the kernel tries again with the version that is there.
            if not was_staged and inode.open_count == 1:
                await self.remote.abandon(inode)
            self.distrust(inode)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await opened.release()

    async def _set_remote(self, inode: Inode, values: dict[str, int]) -> None:
        keeps = self.store.capabilities.attributes
        if keeps and not inode.is_unlinked:
            if inode.staged is not None and inode.is_dirty:
                inode.staged.pending_attributes.update(values)
            else:
                async with self.namespace.shared():
                    await self.store.set_attributes(self.tree.path(inode), **values)
        if keeps:
            inode.mode = values.get("mode", inode.mode)
            inode.uid = values.get("uid", inode.uid)
            inode.gid = values.get("gid", inode.gid)
        if "mtime_ns" in values or "atime_ns" in values:
            inode.mtime_ns = values.get("mtime_ns", inode.mtime_ns)
            inode.atime_ns = values.get("atime_ns", inode.atime_ns)
            inode.has_local_times = True
            inode.has_set_times = inode.has_set_times or not keeps
            inode.checked_at = max(inode.checked_at, self.now()) if keeps else inode.checked_at

    # Names: see `namespace`

    async def create(
        self, directory: Inode, name: bytes, flags: int, mode: int = 0o644, *, owner: tuple[int, int] | None = None
    ) -> tuple[Inode, OpenFile]:
        """Make and open a file, or open the one that is there; with O_EXCL, `FileExistsError` instead."""
        return await self._names.create(directory, name, flags, mode, owner)

    async def mknod(self, directory: Inode, name: bytes, mode: int, *, owner: tuple[int, int] | None = None) -> Inode:
        """Make an empty regular file; EPERM for every other type."""
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise error(errno.EPERM, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        inode, file = await self._names.create(directory, name, flags, stat.S_IMODE(mode), owner)
        try:
            await file.flush()
        finally:
            with anyio.CancelScope(shield=True):
                await file.release()
        return inode

    async def mkdir(
        self, directory: Inode, name: bytes, mode: int = 0o755, *, owner: tuple[int, int] | None = None
    ) -> Inode:
        """Make a directory."""
        return await self._names.mkdir(directory, name, mode, owner)

    async def symlink(
        self, directory: Inode, name: bytes, target: bytes, *, owner: tuple[int, int] | None = None
    ) -> Inode:
        """Make a symlink; EPERM where the store has none."""
        return await self._names.symlink(directory, name, target, owner)

    async def unlink(self, directory: Inode, name: bytes) -> None:
        """Remove a file or symlink. Those who have it open keep it, with all its content."""
        await self._names.unlink(directory, name)

    async def rmdir(self, directory: Inode, name: bytes) -> None:
        """Remove an empty directory."""
        await self._names.rmdir(directory, name)

    async def rename(
        self, directory: Inode, name: bytes, new_directory: Inode, new_name: bytes, flags: int = 0
    ) -> None:
        """rename(2), with RENAME_NOREPLACE; EINVAL for other flags."""
        await self._names.rename(directory, name, new_directory, new_name, flags)

    # Life

    def forget(self, inode: Inode) -> None:
        """The kernel does not know `inode` any more."""
        if inode is not self.root:
            inode.is_known = False
            self.tree.drop_if_unused(inode)

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Upload what is dirty, for at most `timeout` seconds."""
        return await self.remote.drain(timeout)
