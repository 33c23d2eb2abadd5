"""Content of files in stores that take only whole files: fetching for writing, staging, uploading, draining.

Who may wait for whom, from the outside in: the namespace lock, an upload's lock, an inode's lock. A task that holds one
of them asks only for those further in.

An upload reads the staged file while it may be written to. That is no harm: the write counts on, the file stays dirty,
and the writer's own close uploads it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from aiovfs.errors import StaleError
from aiovfs.fs.store import Reader
from aiovfs.mount.cache.disk import version_key
from aiovfs.mount.cache.version import DiskVersion
from aiovfs.mount.content import Content
from aiovfs.mount.files import RemoteFile
from aiovfs.mount.inode import Inode
from aiovfs.mount.names import decode_name
from aiovfs.mount.staging import StagedFile
from aiovfs.types import Buffer

if TYPE_CHECKING:
    from aiovfs.mount.vfs import VFS

__all__ = ["DrainReport", "RemoteContent"]

logger = logging.getLogger("aiovfs.mount")

FILL_SIZE = 4 * 1024 * 1024
"""Bytes of one request when a whole file is fetched."""
FILL_REQUESTS = 4
UPLOAD_ATTEMPTS = 3
"""How often an upload is tried when the file was changed under it; failures for other reasons are not repeated."""
DRAIN_UPLOADS = 4


@dataclass(slots=True)
class DrainReport:
    """What became of the files that waited for their upload."""

    uploaded: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)
    """Path → why."""
    kept: dict[str, str] = field(default_factory=dict)
    """Path → the local file that has its content."""


class RemoteContent:
    """The part of a `VFS` that turns reads and writes at any offset into whole files for the store."""

    def __init__(self, vfs: VFS) -> None:
        self._vfs = vfs
        self._staged: set[Inode] = set()

    @property
    def dirty(self) -> list[Inode]:
        """The files whose content the store does not have."""
        return [inode for inode in self._staged if inode.is_dirty]

    @property
    def is_uploading(self) -> bool:
        """Whether an upload is under way."""
        return any(inode.staged is not None and inode.staged.upload_lock.locked() for inode in self._staged)

    # Reading

    def content_of(self, inode: Inode) -> Content:
        """The version that `inode` stands for."""
        content = inode.content
        if content is None:
            content = inode.content = Content(
                self._vfs.blocks,
                self._reader_opener(inode),
                fingerprint=inode.fingerprint,
                size=inode.size,
                disk=self._disk_version(inode),
            )
        return content

    def _disk_version(self, inode: Inode) -> DiskVersion | None:
        """The version's place in the cache on disk, if there is one and the store names the version."""
        disk, identity = self._vfs.disk, self._vfs.store.identity
        if disk is None or identity is None or inode.fingerprint is None or not inode.size:
            return None
        key = version_key(identity, self._vfs.tree.path(inode), inode.fingerprint, inode.size)
        return disk.version(key, inode.size)

    def _reader_opener(self, inode: Inode) -> Callable[[], Awaitable[Reader]]:
        info = inode.info()
        moved = False

        async def open_reader() -> Reader:
            nonlocal info, moved
            if moved:
                # We renamed the file, and the copy may have another fingerprint.
                current = await self._vfs.at(inode, self._vfs.store.info)
                if current.size != info.size:
                    raise StaleError("the stored file was replaced after it was renamed here")
                info = current
            moved = True
            return await self._vfs.at(inode, lambda path: self._vfs.store.open_reader(path, info))

        return open_reader

    # Writing

    async def stage(self, inode: Inode, keep: int | None = None) -> StagedFile:
        """The staged file of `inode`; a new one gets the first `keep` bytes of its content (None: all)."""
        async with inode.lock:
            return await self._stage(inode, keep)

    async def _stage(self, inode: Inode, keep: int | None) -> StagedFile:
        if inode.staged is not None:
            return inode.staged
        if inode.is_replaced:
            raise StaleError("the file was replaced in the store while it was open; open it again to change it")
        staged = await self._vfs.staging.create(
            decode_name(inode.name), is_stored=True, base=None if keep == 0 else inode.fingerprint
        )
        try:
            if keep != 0:
                await self._fill(inode, staged, keep)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await staged.aclose()
            raise
        self.adopt(inode, staged)
        return staged

    def adopt(self, inode: Inode, staged: StagedFile) -> None:
        """From now on the content of `inode` is `staged`."""
        inode.staged = staged
        inode.size = staged.size
        self._staged.add(inode)

    async def _fill(self, inode: Inode, staged: StagedFile, keep: int | None) -> None:
        if not self._vfs.store.capabilities.ranged_reads:
            await self._download(inode, staged)
            return
        content = self.content_of(inode)
        if content.size is None:
            offset = 0
            while data := await content.read_uncached(offset, FILL_SIZE):
                await staged.fill(data, offset)
                offset += len(data)
            return
        size = content.size if keep is None else min(keep, content.size)
        offsets = iter(range(0, size, FILL_SIZE))

        async def fetch_in_turn() -> None:
            for offset in offsets:
                wanted = min(FILL_SIZE, size - offset)
                data = await content.read_uncached(offset, wanted)
                if len(data) < wanted:
                    raise StaleError(f"the stored file ends at {offset + len(data)}, but it had {size} bytes")
                await staged.fill(data, offset)

        await _gather(fetch_in_turn, min(FILL_REQUESTS, -(-size // FILL_SIZE)))

    async def _download(self, inode: Inode, staged: StagedFile) -> None:
        """Fetch a whole file from a store that cannot do ranges, and make sure that it is one version."""
        store = self._vfs.store
        before = await self._vfs.at(inode, store.info)
        await self._vfs.at(inode, lambda path: store.download(path, staged.path))
        await staged.reopen()
        after = await self._vfs.at(inode, store.info)
        if before.fingerprint != after.fingerprint:
            raise StaleError("the stored file changed while it was fetched; try again")
        staged.base = after.fingerprint
        inode.fingerprint = after.fingerprint

    async def write(self, inode: Inode, offset: int, data: Buffer, *, append: bool) -> int:
        """Write all of `data`; the content is fetched first if there is some and it was not yet."""
        staged = inode.staged or await self.stage(inode)
        if inode.is_replaced:
            raise StaleError("the file was replaced in the store while it was open; open it again to change it")
        try:
            if append:
                async with inode.lock:
                    return await staged.write(data, staged.size)
            return await staged.write(data, offset)
        finally:
            self._changed(inode, staged)

    async def truncate(self, inode: Inode, size: int) -> None:
        """Cut or lengthen to `size` bytes; nothing beyond is fetched."""
        async with inode.lock:
            staged = inode.staged
            if staged is None:
                staged = await self._stage(inode, size)
            await staged.truncate(size)
            self._changed(inode, staged)

    def overwrite(self, inode: Inode) -> None:
        """The whole file is going to be written anew.

        When close(2) has already told of somebody else's version, that is meant to be replaced: otherwise the file
        could never be written again.
        """
        staged = inode.staged
        if staged is not None and isinstance(staged.failure, StaleError | FileExistsError):
            staged.base = None
            staged.is_exclusive = False

    async def abandon(self, inode: Inode) -> None:
        """Give up what was changed here."""
        staged, inode.staged = inode.staged, None
        self._staged.discard(inode)
        if staged is not None:
            with anyio.CancelScope(shield=True):
                await staged.aclose()

    def _changed(self, inode: Inode, staged: StagedFile) -> None:
        inode.size = staged.size
        inode.mtime_ns = inode.ctime_ns = time.time_ns()
        inode.has_local_times = True

    # Uploading

    async def upload(self, inode: Inode) -> None:
        """Return when everything written before this call is in the store; raise why it could not be brought there."""
        staged = inode.staged
        if staged is None:
            return
        goal = staged.changes
        attempt = 0
        while staged.uploaded < goal and not inode.is_unlinked:
            async with self._vfs.namespace.shared(), staged.upload_lock:
                if staged.uploaded >= goal or inode.is_unlinked:
                    return
                attempt += 1
                before = staged.changes
                try:
                    await self.upload_now(inode, staged)
                except OSError:
                    if staged.changes == before or attempt >= UPLOAD_ATTEMPTS:
                        raise

    async def upload_now(self, inode: Inode, staged: StagedFile) -> None:
        """One upload. The caller holds the namespace lock, and the upload lock unless the file is not known yet."""
        store = self._vfs.store
        changes = staged.changes
        path = self._vfs.tree.path(inode)
        try:
            await self._check_base(staged, path)
            exclusive = staged.is_exclusive and not staged.is_stored
            info = await store.upload(staged.path, path, exclusive=exclusive)
            if staged.pending_attributes:
                await store.set_attributes(path, **staged.pending_attributes)
                staged.pending_attributes.clear()
        except Exception as exception:
            staged.failure = exception
            logger.warning("upload of %r failed, its content is kept in %s: %s", path, staged.path, exception)
            raise
        staged.failure = None
        staged.uploaded = changes
        staged.is_stored = True
        staged.base = info.fingerprint
        inode.fingerprint = inode.paged_fingerprint = info.fingerprint
        if inode.mtime_ns is None:
            inode.mtime_ns = info.mtime_ns
        inode.has_local_times = True
        inode.checked_at = self._vfs.now()
        if inode.parent is not None and not inode.is_unlinked:
            self._vfs.note_change(inode.parent, inode.name, inode.info())

    async def _check_base(self, staged: StagedFile, path: str) -> None:
        """Refuse to overwrite what somebody else stored since the content was fetched."""
        if staged.base is None or not staged.is_stored:
            return
        try:
            info = await self._vfs.store.info(path)
        except FileNotFoundError:
            return  # removed meanwhile: what was changed here is newer
        if info.fingerprint is not None and info.fingerprint != staged.base:
            raise StaleError(f"{path!r} was changed in the store while it was being changed here")

    # Closing

    async def release(self, file: RemoteFile) -> None:
        """The last descriptor of `file` is gone; what an mmap wrote after the close is uploaded now."""
        inode = file.inode
        try:
            if inode.open_count == 1 and inode.is_dirty:
                try:
                    await self.upload(inode)
                except Exception as exception:
                    # Nobody is left to be told. It was logged, stays dirty, and is tried again.
                    logger.debug("%r stays dirty: %r", inode, exception)
        finally:
            inode.open_count -= 1
            with anyio.CancelScope(shield=True):
                await self.settle(inode)

    async def settle(self, inode: Inode) -> None:
        """Give back what a file that is not open any more does not need."""
        if inode.open_count:
            return
        staged, content = inode.staged, inode.content
        if staged is not None and (inode.is_unlinked or not staged.is_dirty):
            inode.staged = None
            self._staged.discard(inode)
        else:
            staged = None
        if content is not None:
            content.cancel_fetches()
            if inode.is_unlinked or content.fingerprint is None or content.fingerprint != inode.fingerprint:
                inode.content = None
                content.drop()
        self._vfs.tree.drop_if_unused(inode)
        if content is not None:
            await content.close_reader()
        if staged is not None:
            await staged.aclose()

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Upload everything that is dirty, for at most `timeout` seconds, and say what became of it."""
        report = DrainReport()
        waiting = self.dirty
        pending = iter(waiting)

        async def upload_in_turn() -> None:
            for inode in pending:
                path = self._vfs.tree.path(inode)
                try:
                    await self.upload(inode)
                    report.uploaded.append(path)
                except Exception as exception:
                    report.failed[path] = exception

        with anyio.move_on_after(timeout):
            await _gather(upload_in_turn, min(DRAIN_UPLOADS, len(waiting)))
        for inode in self.dirty:
            path = self._vfs.tree.path(inode)
            report.failed.setdefault(path, TimeoutError("not uploaded in time"))
            if inode.staged is not None:
                report.kept[path] = inode.staged.path
        return report

    async def aclose(self) -> None:
        """Close everything. Content that the store does not have stays on the disk."""
        for inode in list(self._staged):
            staged = inode.staged
            if staged is not None:
                if inode.is_dirty:
                    path = self._vfs.tree.path(inode)
                    logger.error("%r was not uploaded; its content is in %s", path, staged.path)
                await staged.aclose(keep=inode.is_dirty)
        self._staged.clear()


async def _gather(worker: Callable[[], Awaitable[None]], count: int) -> None:
    """Run `count` copies of a worker and raise the first failure itself, not a group of them."""
    if count <= 1:
        if count:
            await worker()
        return
    failures: list[Exception] = []

    async def guarded(scope: anyio.CancelScope) -> None:
        try:
            await worker()
        except Exception as exception:
            failures.append(exception)
            scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(guarded, tasks.cancel_scope)
    if failures:
        raise failures[0]
