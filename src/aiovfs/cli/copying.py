"""Copying between stores and local directories: plan, then transfer several files at a time.

The way depends on the two ends. To a local directory: download beside the final name, then rename. From a local
directory: upload. Inside of one store: let the store copy. Between two stores: through a temporary local file, since
uploads must be repeatable when the network fails in the middle.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.to_thread import run_sync

from aiovfs.cli import ui
from aiovfs.cli.locations import Location, join, opened
from aiovfs.errors import AiovfsError, OptionError, UnsupportedError

if TYPE_CHECKING:
    from aiovfs.fs import Info, Store

__all__ = ["Copying"]


@dataclass(frozen=True, slots=True)
class End:
    """One end of a copy: a store and a path in it."""

    store: Store
    path: str
    location: Location

    def below(self, name: str) -> End:
        return End(self.store, join(self.path, name), self.location)

    @property
    def local_path(self) -> str:
        return os.path.join(self.location.parent, *self.path.split("/"))

    def __str__(self) -> str:
        return self.local_path if self.location.is_local else f"{self.store.url.rstrip('/')}/{self.path}"


@dataclass(frozen=True, slots=True)
class Job:
    source: End
    target: End
    info: Info


class Copying:
    """One `cp`: `run` does all of it; failures of single files go to `transfers`."""

    def __init__(
        self,
        options: Mapping[Location, Mapping[str, Any]],
        client: str | None,
        transfers: ui.Transfers,
        *,
        recursive: bool,
        jobs: int,
    ) -> None:
        self._options = options
        self._client = client
        self._transfers = transfers
        self._recursive = recursive
        self._limiter_size = jobs

    async def run(self, sources: Sequence[Location], destination: Location) -> None:
        """Copy all sources. Raises for what concerns everything: the destination, or an unusable URL."""
        limiter = anyio.CapacityLimiter(self._limiter_size)
        async with AsyncExitStack() as stack:
            target, exists = await self._open_destination(stack, destination, len(sources))
            async with anyio.create_task_group() as tasks:
                for location in sources:
                    try:
                        source, info = await self._open_source(stack, location, target)
                        into = target
                        if exists:
                            if not location.name:
                                raise OptionError(
                                    f"{location.text} has no name to copy it under",
                                    hint="name the new directory in DST",
                                )
                            into = target.below(location.name)
                        await self._plan(Job(source, into, info), tasks, limiter)
                    except (OSError, AiovfsError) as error:
                        self._transfers.failed(location.text, message_of(error))

    async def _open_destination(self, stack: AsyncExitStack, location: Location, sources: int) -> tuple[End, bool]:
        """The target, and whether things are copied *into* it."""
        target = await self._open(stack, location, read_only=False)
        try:
            is_directory = (await target.store.info(target.path)).is_directory
        except FileNotFoundError:
            is_directory = False
            if location.says_directory:
                await self._make_directory(target)
                is_directory = True
        except NotADirectoryError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target)) from error
        else:
            if not is_directory and location.says_directory:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
        if sources > 1 and not is_directory:
            raise NotADirectoryError(
                errno.ENOTDIR, "several sources need a directory (write it with a final / to make it)", str(target)
            )
        return target, is_directory

    async def _open_source(self, stack: AsyncExitStack, location: Location, target: End) -> tuple[End, Info]:
        if not location.is_local and not target.location.is_local and location.origin == target.location.origin:
            # One store for both ends, so that it can copy inside.
            source = End(target.store, location.path_in_origin, location)
        else:
            source = await self._open(stack, location, read_only=True)
        info = await source.store.info(source.path)
        if info.is_directory and not self._recursive:
            raise IsADirectoryError(errno.EISDIR, "is a directory (use -r)")
        return source, info

    async def _open(self, stack: AsyncExitStack, location: Location, *, read_only: bool) -> End:
        from_origin = not location.is_local and not read_only
        store, path = await stack.enter_async_context(
            opened(
                location,
                self._options.get(location, {}),
                self._client,
                read_only=read_only,
                from_origin=from_origin,
            )
        )
        return End(store, path, location)

    async def _plan(self, job: Job, tasks: anyio.abc.TaskGroup, limiter: anyio.CapacityLimiter) -> None:
        """Start the transfer of a file, or of everything in a directory."""
        if not job.info.is_directory:
            self._transfers.expect(job.info.size)
            tasks.start_soon(self._transfer, job, limiter)
            return
        if job.source.store is job.target.store and (job.target.path + "/").startswith(job.source.path + "/"):
            raise OSError(errno.EINVAL, "cannot copy a directory into itself")
        found = await job.source.store.list(job.source.path)
        if job.target.store.capabilities.empty_directories or not found:
            await self._make_directory(job.target)
        for info in sorted(found, key=lambda info: info.name):
            below = Job(job.source.below(info.name), job.target.below(info.name), info)
            try:
                await self._plan(below, tasks, limiter)
            except (OSError, AiovfsError) as error:
                self._transfers.failed(str(below.source), message_of(error))

    async def _make_directory(self, target: End) -> None:
        try:
            await target.store.mkdir(target.path)
        except FileExistsError:
            if not (await target.store.info(target.path)).is_directory:
                raise

    async def _transfer(self, job: Job, limiter: anyio.CapacityLimiter) -> None:
        name = str(job.source)
        async with limiter:
            try:
                await self._copy(job, partial(self._transfers.moved, name))
            except (OSError, AiovfsError) as error:
                self._transfers.failed(name, message_of(error))
            else:
                self._transfers.done(name, job.info.size)

    async def _copy(self, job: Job, progress: Any) -> None:
        from aiovfs.fs import Kind

        source, target = job.source, job.target
        if job.info.kind is Kind.OTHER:
            raise OSError(errno.EINVAL, "neither a file, nor a directory, nor a symbolic link")
        if job.info.kind is Kind.SYMLINK and target.store.capabilities.symlinks:
            await target.store.symlink(await source.store.readlink(source.path), target.path)
        elif source.store is target.store and await self._copied_inside(source, target):
            pass
        elif target.location.is_local:
            await download(source, target.local_path, progress)
        elif source.location.is_local:
            await target.store.upload(source.local_path, target.path, progress=progress)
        else:
            with tempfile.TemporaryDirectory(prefix="aiovfs-cp-") as folder:
                spool = os.path.join(folder, "content")
                await source.store.download(source.path, spool)
                await target.store.upload(spool, target.path, progress=progress)

    async def _copied_inside(self, source: End, target: End) -> bool:
        if source.path == target.path:
            raise OSError(errno.EINVAL, "source and destination are the same file")
        try:
            await source.store.copy(source.path, target.path)
        except UnsupportedError:
            return False
        return True


async def download(source: End, path: str, progress: Any) -> None:
    """To a local file that others see complete, or not at all."""
    if source.location.is_local and await run_sync(is_same_file, source.local_path, path):
        raise OSError(errno.EINVAL, "source and destination are the same file")
    folder, name = os.path.split(path)
    if not await run_sync(os.path.isdir, folder):
        raise FileNotFoundError(errno.ENOENT, f"the directory {folder} does not exist", folder)
    part = os.path.join(folder, f".{name[:200]}.{os.getpid()}.part")
    try:
        await source.store.download(source.path, part, progress=progress)
        await run_sync(os.replace, part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise


def is_same_file(one: str, other: str) -> bool:
    return os.path.exists(other) and os.path.samefile(one, other)


def message_of(error: OSError | AiovfsError) -> str:
    if isinstance(error, AiovfsError):
        return str(error)
    return error.strerror or str(error) or type(error).__name__
