"""Changes of names: create, mkdir, symlink, unlink, rmdir, rename. Part of `VFS`.

Everything here holds the namespace lock, shared; a rename holds it exclusive, so no path changes under a request, and
no upload puts a file back under a name that it just lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import anyio

from aiovfs.fs.info import Info, Kind
from aiovfs.mount.errors import error
from aiovfs.mount.files import OpenFile, RemoteFile
from aiovfs.mount.inode import NEVER, Inode
from aiovfs.mount.listing import Listing
from aiovfs.mount.names import check_name, decode_name
from aiovfs.mount.readahead import Readahead

if TYPE_CHECKING:
    from aiovfs.mount.vfs import VFS

__all__ = ["RENAME_NOREPLACE", "Namespace"]

RENAME_NOREPLACE = 1
"""linux/fs.h"""


class Namespace:
    """The names of a `VFS`, and how they change."""

    def __init__(self, vfs: VFS) -> None:
        self._vfs = vfs

    # Making

    async def create(
        self, directory: Inode, name: bytes, flags: int, mode: int, owner: tuple[int, int] | None
    ) -> tuple[Inode, OpenFile]:
        vfs = self._vfs
        check_name(name)
        vfs.check_writable(name)
        async with vfs.namespace.shared():
            vfs.check_directory(directory)
            if vfs.is_direct:
                return await self._create_direct(directory, name, flags, mode, owner)
            made = await self._create_staged(directory, name, flags)
            if made is not None:
                return made
        # It exists, and that is fine. Opened without the lock: that may take a truncation or a whole download.
        existing = await vfs.lookup(directory, name)
        return existing, await vfs.open(existing, flags & ~(os.O_CREAT | os.O_EXCL))

    async def _create_direct(
        self, directory: Inode, name: bytes, flags: int, mode: int, owner: tuple[int, int] | None
    ) -> tuple[Inode, OpenFile]:
        vfs = self._vfs
        path = vfs.tree.child_path(directory, name)
        exclusive = bool(flags & os.O_EXCL)
        opened = await vfs.store.open_file(
            path, writable=True, create=True, exclusive=exclusive, truncate=bool(flags & os.O_TRUNC), mode=mode
        )
        try:
            checked_at = vfs.now()
            info = await opened.info()
            if exclusive or info.size == 0:
                await self._give_to(directory, owner, path, info)
                info = await opened.info()
            inode = vfs.note(directory, name, info, checked_at)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await opened.aclose()
            raise
        vfs.note_change(directory, name, info)
        return inode, vfs.add_direct(inode, flags, opened)

    async def _create_staged(self, directory: Inode, name: bytes, flags: int) -> tuple[Inode, OpenFile] | None:
        vfs = self._vfs
        vfs.store.check_name(decode_name(name))  # now, not when close(2) uploads it
        staged = await vfs.staging.create(decode_name(name), is_stored=False)
        staged.is_exclusive = bool(flags & os.O_EXCL)
        staged.changes = 1  # an empty file is something to upload, too
        try:
            try:
                existing: Inode | None = await vfs.lookup(directory, name)
            except FileNotFoundError:
                existing = directory.children.get(name)  # made by somebody else while we asked
            if existing is not None:
                if flags & os.O_EXCL:
                    raise error(errno.EEXIST, name)
                await staged.aclose()
                return None
            now = time.time_ns()
            info = Info(decode_name(name), Kind.FILE, size=0, mtime_ns=now, atime_ns=now, ctime_ns=now)
            inode = vfs.tree.add(directory, name, info, vfs.now())
            inode.has_local_times = True
            vfs.remote.adopt(inode, staged)
            inode.open_count += 1
            try:
                if vfs.options.exclusive_create and staged.is_exclusive:
                    await vfs.remote.upload_now(inode, staged)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    inode.open_count -= 1
                    vfs.tree.detach(inode)
                    await vfs.remote.settle(inode)
                raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await staged.aclose()
            raise
        vfs.note_change(directory, name, inode.info())
        return inode, RemoteFile(vfs, inode, flags, Readahead(max_window=vfs.options.readahead))

    async def mkdir(self, directory: Inode, name: bytes, mode: int, owner: tuple[int, int] | None) -> Inode:
        vfs = self._vfs
        check_name(name)
        vfs.check_writable(name)
        async with vfs.namespace.shared():
            vfs.check_directory(directory)
            vfs.store.check_name(decode_name(name))
            await self._check_absent(directory, name)
            path = vfs.tree.child_path(directory, name)
            await vfs.store.mkdir(path, mode)
            inode = await self._made(directory, name, path, owner, Kind.DIRECTORY)
            if not vfs.is_cheap:
                inode.listing = Listing({}, vfs.now())
            return inode

    async def symlink(self, directory: Inode, name: bytes, target: bytes, owner: tuple[int, int] | None) -> Inode:
        vfs = self._vfs
        check_name(name)
        vfs.check_writable(name)
        if not vfs.store.capabilities.symlinks:
            raise error(errno.EPERM, name)
        async with vfs.namespace.shared():
            vfs.check_directory(directory)
            vfs.store.check_name(decode_name(name))
            await self._check_absent(directory, name)
            path = vfs.tree.child_path(directory, name)
            await vfs.store.symlink(decode_name(target), path)
            inode = await self._made(directory, name, path, owner, Kind.SYMLINK)
            inode.target = decode_name(target)
            inode.size = len(target)
            return inode

    async def _check_absent(self, directory: Inode, name: bytes) -> None:
        """EEXIST for what only we know of; the store answers for the rest."""
        child = directory.children.get(name)
        if child is not None and (not child.is_stored or child.is_dirty):
            raise error(errno.EEXIST, name)

    async def _made(self, directory: Inode, name: bytes, path: str, owner: tuple[int, int] | None, kind: Kind) -> Inode:
        vfs = self._vfs
        checked_at, now = vfs.now(), time.time_ns()
        if vfs.is_cheap or vfs.store.capabilities.attributes:
            info = await vfs.store.info(path)
            if await self._give_to(directory, owner, path, info):
                info = await vfs.store.info(path)
        else:
            info = Info(decode_name(name), kind, mtime_ns=now, atime_ns=now, ctime_ns=now)
        inode = vfs.note(directory, name, info, checked_at)
        vfs.note_change(directory, name, info)
        return inode

    async def _give_to(self, directory: Inode, owner: tuple[int, int] | None, path: str, info: Info) -> bool:
        """What a process makes belongs to it, where the store keeps owners and lets us give files away."""
        if owner is None or not self._vfs.store.capabilities.attributes or info.uid is None:
            return False
        uid, gid = owner
        if info.mode is not None and directory.mode is not None and directory.mode & stat.S_ISGID:
            gid = info.gid if info.gid is not None else gid  # the directory's group, already given by the store
        if (uid, gid) == (info.uid, info.gid):
            return False
        with contextlib.suppress(PermissionError):  # only root gives files away; then they are the mount's user's
            await self._vfs.store.set_attributes(path, uid=uid, gid=gid)
            return True
        return False

    # Removing

    async def unlink(self, directory: Inode, name: bytes) -> None:
        vfs = self._vfs
        check_name(name)
        vfs.check_writable(name)
        async with vfs.namespace.shared():
            child = await vfs.lookup(directory, name)
            if child.is_directory:
                raise error(errno.EISDIR, name)
            with _leaving(child):
                await self._keep_for_users(child)
                if child.staged is None:
                    await self._remove(directory, name, child)
                else:
                    # An upload that is under way would put the file back.
                    async with child.staged.upload_lock:
                        await self._remove(directory, name, child)
        await vfs.remote.settle(child)

    async def _keep_for_users(self, inode: Inode) -> None:
        """Those who have a file open keep its content: fetch it before it is deleted."""
        if inode.open_count and not self._vfs.is_direct and inode.staged is None:
            await self._vfs.remote.stage(inode)

    async def _remove(self, directory: Inode, name: bytes, child: Inode) -> None:
        vfs = self._vfs
        if child.is_stored:
            try:
                await vfs.store.remove(vfs.tree.path(child))
            except FileNotFoundError:
                if child.staged is None:
                    self._removed(directory, name, child)
                    raise
        self._removed(directory, name, child)

    def _removed(self, directory: Inode, name: bytes, child: Inode) -> None:
        if child.staged is not None:
            child.staged.is_stored = False
        child.nlink = 0 if child.nlink in (None, 0, 1) else child.nlink - 1
        self._vfs.tree.detach(child)
        self._vfs.note_change(directory, name, None)

    async def rmdir(self, directory: Inode, name: bytes) -> None:
        vfs = self._vfs
        check_name(name)
        vfs.check_writable(name)
        async with vfs.namespace.shared():
            child = await vfs.lookup(directory, name)
            if not child.is_directory:
                raise error(errno.ENOTDIR, name)
            if any(inode.staged is not None for inode in child.children.values()):
                raise error(errno.ENOTEMPTY, name)
            await vfs.store.rmdir(vfs.tree.path(child))
            child.nlink = 0
            vfs.tree.detach(child)
            vfs.note_change(directory, name, None)

    # Moving

    async def rename(self, directory: Inode, name: bytes, new_directory: Inode, new_name: bytes, flags: int) -> None:
        vfs = self._vfs
        check_name(name)
        check_name(new_name)
        vfs.check_writable(name)
        if flags & ~RENAME_NOREPLACE:
            raise error(errno.EINVAL, new_name)
        async with vfs.namespace.exclusive():
            vfs.check_directory(new_directory)
            vfs.store.check_name(decode_name(new_name))
            source = await vfs.lookup(directory, name)
            if source.is_directory and vfs.tree.is_inside(new_directory, source):
                raise error(errno.EINVAL, new_name)
            try:
                target: Inode | None = await vfs.lookup(new_directory, new_name)
            except FileNotFoundError:
                target = None
            if target is not None and flags & RENAME_NOREPLACE:
                raise error(errno.EEXIST, new_name)
            if target is source:
                return
            if target is None:
                await self._move(source, target, directory, new_directory, new_name)
            else:
                await self._check_replaceable(source, target)
                with _leaving(target):
                    await self._keep_for_users(target)
                    await self._move(source, target, directory, new_directory, new_name)
        if target is not None:
            await vfs.remote.settle(target)

    async def _check_replaceable(self, source: Inode, target: Inode) -> None:
        vfs = self._vfs
        if source.is_directory:
            if not target.is_directory:
                raise error(errno.ENOTDIR, target.name)
            # Asked of the store, not of what is remembered: a file that we do not know of must not be lost.
            if any(child.staged is not None for child in target.children.values()):
                raise error(errno.ENOTEMPTY, target.name)
            if await vfs.store.list(vfs.tree.path(target)):
                raise error(errno.ENOTEMPTY, target.name)
        elif target.is_directory:
            raise error(errno.EISDIR, target.name)

    async def _move(
        self, source: Inode, target: Inode | None, directory: Inode, new_directory: Inode, new_name: bytes
    ) -> None:
        vfs = self._vfs
        name = source.name
        old, new = vfs.tree.path(source), vfs.tree.child_path(new_directory, new_name)
        replaces_stored = target is not None and target.is_stored
        if source.is_stored:
            await vfs.store.rename(old, new)
            if not vfs.store.capabilities.atomic_rename:
                self._outdate(source)
        if target is not None:
            self._removed(new_directory, new_name, target)
        vfs.tree.move(source, new_directory, new_name)
        if source.staged is not None:
            source.staged.is_exclusive = False  # a rename replaces
            # What was replaced is still in the store until the upload; who removes the file before must remove that.
            source.staged.is_stored = source.staged.is_stored or replaces_stored
        vfs.note_change(directory, name, None)
        info = source.info()
        if source.is_moved:
            # The copy's version is not known. Without a size, a listing answers no look-up of it.
            info = dataclasses.replace(info, size=None, fingerprint=None)
        vfs.note_change(new_directory, new_name, info)

    def _outdate(self, source: Inode) -> None:
        """Copies may have other fingerprints than what they were made of."""
        for inode in [source, *self._vfs.tree.below(source)]:
            inode.listing = None
            inode.checked_at = NEVER
            inode.is_moved = inode.kind is Kind.FILE
            if inode.staged is not None:
                inode.staged.base = None
            if inode.content is not None:
                inode.content.moved()


@contextlib.contextmanager
def _leaving(inode: Inode) -> Iterator[None]:
    """While the name of `inode` is taken away, who opens it waits: its content is kept for those who came before."""
    inode.leaving = event = anyio.Event()
    try:
        yield
    finally:
        if inode.leaving is event:
            inode.leaving = None
        event.set()
