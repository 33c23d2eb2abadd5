"""Files that are being changed: their content in a file on this machine's disk until it has been uploaded.

The directory is private (0700), one per mount. A staged file is deleted when its content is in the store and nobody
has it open. What could not be uploaded when the mount ends is left there, and its path is logged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile

import anyio

from aiovfs import aio
from aiovfs.types import Buffer

__all__ = ["StagedFile", "StagingDirectory", "blocks_directory", "default_cache_directory", "staging_directory"]

logger = logging.getLogger("aiovfs.mount")

_UNPRINTABLE = re.compile(r"[^A-Za-z0-9._-]+")


def default_cache_directory() -> str:
    """`$XDG_CACHE_HOME/aiovfs`, by default `~/.cache/aiovfs`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "aiovfs")


def staging_directory(cache_directory: str | None) -> str:
    """Where the mounts that use this cache directory (None: the default one) have their own, named `PID-…`."""
    return os.path.abspath(os.path.join(cache_directory or default_cache_directory(), "staging"))


def blocks_directory(cache_directory: str | None) -> str:
    """Where the mounts that use this cache directory (None: the default one) keep blocks of remote files."""
    return os.path.abspath(os.path.join(cache_directory or default_cache_directory(), "blocks"))


class StagingDirectory:
    """Where one mount keeps its staged files. Made at the first file; removed at the end if nothing was left in it."""

    def __init__(self, cache_directory: str | None = None) -> None:
        self._parent = staging_directory(cache_directory)
        self._path: str | None = None

    @property
    def path(self) -> str | None:
        """The directory, once there is one."""
        return self._path

    async def create(self, name: str, *, is_stored: bool, base: str | None = None) -> StagedFile:
        """An empty staged file. `name` is for people who look into the directory after a crash."""
        fd, path = await aio.run(self._create, name)
        return StagedFile(fd, path, is_stored=is_stored, base=base)

    async def aclose(self) -> None:
        """Remove the directory, unless something had to stay."""
        if self._path is not None:
            await aio.run(self._remove)

    def _create(self, name: str) -> tuple[int, str]:
        if self._path is None:
            os.makedirs(self._parent, mode=0o700, exist_ok=True)
            self._path = tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._parent)
        readable = _UNPRINTABLE.sub("_", name)[:80] or "file"
        return tempfile.mkstemp(prefix=f"{readable}.", dir=self._path)

    def _remove(self) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):  # not empty: what could not be uploaded stays
                os.rmdir(self._path)


class StagedFile:
    """The local content of one inode, shared by all its handles.

    `changes` counts what happened to the content, `uploaded` is the count that the store has. An upload notes the count
    at its start; a write meanwhile counts on, and so is uploaded again.
    """

    def __init__(self, fd: int, path: str, *, is_stored: bool, base: str | None) -> None:
        self.path = path
        self.size = 0
        self.is_stored = is_stored
        """The store has something under the inode's path: an older version, or (after a rename) what is replaced."""
        self.base = base
        """Fingerprint of the stored version that this was made from; None when it replaces whatever is there."""
        self.is_exclusive = False
        """The first upload must not replace anything (O_EXCL)."""
        self.changes = 0
        self.uploaded = 0
        self.failure: Exception | None = None
        """Why the last upload failed, until one succeeds."""
        self.pending_attributes: dict[str, int] = {}
        """What the store is to be told of the file once it has it (`Store.set_attributes`)."""
        self.upload_lock = anyio.Lock()
        self._fd = fd

    @property
    def is_dirty(self) -> bool:
        """There is content that the store does not have."""
        return self.changes != self.uploaded

    async def read(self, offset: int, size: int) -> bytes:
        return await aio.pread(self._fd, size, offset)

    async def write(self, data: Buffer, offset: int) -> int:
        """Write all of `data`; a gap before it reads as zeros. ENOSPC when the disk of the cache directory is full."""
        try:
            written = await aio.pwrite(self._fd, data, offset)
        except OSError:
            await self.measure()  # some of it may have been written
            raise
        finally:
            # Counted afterwards: an upload that begins while the write is under way must not think that it has it.
            self.changes += 1
        self.size = max(self.size, offset + written)
        return written

    async def fill(self, data: Buffer, offset: int) -> None:
        """Put stored content in place; not a change."""
        await aio.pwrite(self._fd, data, offset)
        self.size = max(self.size, offset + len(data))

    async def truncate(self, size: int) -> None:
        await aio.ftruncate(self._fd, size)
        self.size = size
        self.changes += 1

    async def reopen(self) -> None:
        """The file at `path` was written, perhaps replaced, by somebody else."""
        before, self._fd = self._fd, await aio.run(os.open, self.path, os.O_RDWR | os.O_CLOEXEC)
        await aio.run(os.close, before)
        await self.measure()

    async def measure(self) -> int:
        """Take the size from the file itself, after somebody else wrote it."""
        self.size = (await aio.run(os.fstat, self._fd)).st_size
        return self.size

    async def sync(self) -> None:
        """Return when the content is safe on the local disk."""
        await aio.fsync(self._fd)

    async def aclose(self, *, keep: bool = False) -> None:
        """Close, and delete the file unless it is to be kept."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            await aio.run(_close, fd, None if keep else self.path)


def _close(fd: int, path: str | None) -> None:
    os.close(fd)
    if path is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
