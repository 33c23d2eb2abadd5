"""A store, mounted: VFS, adapter and FUSE session together, and the draining at the end."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from aiovfs import fuse
from aiovfs.errors import StoreError
from aiovfs.fs.store import Store
from aiovfs.mount.adapter import Adapter
from aiovfs.mount.options import MountOptions
from aiovfs.mount.remote import DrainReport
from aiovfs.mount.vfs import VFS

__all__ = ["MountSession", "serve_store"]

logger = logging.getLogger("aiovfs.mount")

LOOK_INTERVAL = 0.25
"""Seconds between two looks whether uploads are still under way."""


class MountSession:
    """A mounted store. `terminate` may be called from anywhere."""

    def __init__(self, vfs: VFS, session: fuse.Session) -> None:
        self.vfs = vfs
        self.fuse = session
        self.report: DrainReport | None = None
        """What became of files that waited for their upload; known after the end of `serve_store`."""

    @property
    def mountpoint(self) -> str | None:
        return self.fuse.mountpoint

    @property
    def dirty(self) -> list[str]:
        """The paths of files whose content the store does not have yet."""
        return [self.vfs.tree.path(inode) for inode in self.vfs.remote.dirty]

    async def wait(self) -> None:
        """Return when the file system was unmounted.

        Uploads that are under way go on, for at most `drain_timeout`. Everything else is given up: nobody can be told
        the result any more, and a server that is silent would hold up the end for as long as its requests time out.
        """
        await self.fuse.wait_unmounted()
        with anyio.move_on_after(self.vfs.options.drain_timeout):
            while self.vfs.remote.is_uploading:  # noqa: ASYNC110 - rare, and short
                await anyio.sleep(LOOK_INTERVAL)
        self.fuse.cancel_handlers()
        await self.fuse.wait()

    def terminate(self) -> None:
        """Unmount. From any thread, task or signal handler."""
        self.fuse.terminate()


@asynccontextmanager
async def serve_store(
    store: Store, directory: str | os.PathLike[str], options: MountOptions | None = None
) -> AsyncIterator[MountSession]:
    """Mount `store` at `directory` until the block is left; then upload what is dirty, for at most `drain_timeout`.

    The store stays open: it is the caller's. Raises what `fuse.mount` raises, and at the end `StoreError` when files
    could not be uploaded: it says how many, and where their content was left.
    """
    options = options if options is not None else MountOptions()
    fuse_options = options.fuse_options()
    if not fuse_options["fsname"]:
        fuse_options["fsname"] = store.url
    fuse_options["grace"] = options.drain_timeout  # uploads are handlers, too
    fuse_options["ro"] = options.read_only or not store.capabilities.writable
    async with VFS(store, options) as vfs:
        mounted: MountSession | None = None
        try:
            async with fuse.mount(Adapter(vfs), directory, **fuse_options) as session:
                mounted = MountSession(vfs, session)
                yield mounted
        finally:
            # However the mount ended: what programs were told is written must get to the store, or be reported.
            with anyio.CancelScope(shield=True):
                report = await vfs.drain(options.drain_timeout)
            log_report(report)
            if mounted is not None:
                mounted.report = report
        if report.failed:
            raise failure_of(report, store.url)


def log_report(report: DrainReport) -> None:
    if report.uploaded:
        logger.info("uploaded %d files before the end", len(report.uploaded))


def failure_of(report: DrainReport, url: str) -> StoreError:
    path, exception = next(iter(report.failed.items()))
    count = len(report.failed)
    what = f"{path!r} was" if count == 1 else f"{path!r} and {count - 1} other files were"
    where = os.path.dirname(next(iter(report.kept.values()), "")) or "the log says where"
    return StoreError(f"{what} not uploaded: {exception}", url=url, hint=f"the content is kept in {where}")
