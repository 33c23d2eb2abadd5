"""Open files. Two kinds: in place in the store, or remote, with blocks for reading and a staged file for writing."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from aiovfs.errors import StaleError
from aiovfs.fs.store import StoreFile
from aiovfs.mount.errors import error
from aiovfs.mount.inode import Inode
from aiovfs.mount.readahead import Readahead
from aiovfs.types import Buffer

if TYPE_CHECKING:
    from aiovfs.mount.vfs import VFS

__all__ = ["DirectFile", "OpenFile", "RemoteFile"]


class OpenFile:
    """What open(2) makes of an inode. `flags` are open(2)'s."""

    def __init__(self, vfs: VFS, inode: Inode, flags: int) -> None:
        access = flags & os.O_ACCMODE
        self.vfs = vfs
        self.inode = inode
        self.readable = access != os.O_WRONLY
        self.writable = access != os.O_RDONLY
        self.append = bool(flags & os.O_APPEND)
        self.is_new_version = False
        """open() found that the store has other content than was known before."""
        self.is_closed = False

    @property
    def has_unknown_size(self) -> bool:
        """Only reading to the end tells how long the file is."""
        return False

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer only at the end of the file."""
        raise NotImplementedError

    async def write(self, offset: int, data: Buffer) -> int:
        """Write all of `data`: at `offset`, or at the end of the file when it was opened with O_APPEND."""
        raise NotImplementedError

    async def truncate(self, size: int) -> None:
        """Cut or lengthen to `size` bytes."""
        raise NotImplementedError

    async def flush(self) -> None:
        """A descriptor was closed: the content reaches the store, or the error is close(2)'s."""

    async def fsync(self, *, data_only: bool = False) -> None:
        """The content reaches the store."""
        await self.flush()

    async def release(self) -> None:
        """The last descriptor is gone. To be called once."""
        raise NotImplementedError

    def _check_readable(self) -> None:
        # The kernel reads through any handle of an inode when it fills pages for a partial write or an mmap, so a
        # handle that was opened for writing only has to be readable by us; the kernel does the checking.
        if self.is_closed:
            raise error(errno.EBADF)

    def _check_writable(self) -> None:
        if self.is_closed or not self.writable:
            raise error(errno.EBADF)


class DirectFile(OpenFile):
    """A file that the store itself reads and writes in place."""

    def __init__(self, vfs: VFS, inode: Inode, flags: int, file: StoreFile) -> None:
        super().__init__(vfs, inode, flags)
        self.file = file

    async def read(self, offset: int, size: int) -> bytes:
        self._check_readable()
        return await self.file.pread(size, offset)

    async def write(self, offset: int, data: Buffer) -> int:
        self._check_writable()
        if not self.append:
            return await self.file.pwrite(data, offset)
        # The kernel's idea of the end may be a second old; the store's is not.
        async with self.inode.lock:
            end = (await self.file.info()).size or 0
            return await self.file.pwrite(data, end)

    async def truncate(self, size: int) -> None:
        self._check_writable()
        await self.file.truncate(size)

    async def fsync(self, *, data_only: bool = False) -> None:
        await self.file.fsync(data_only=data_only)

    async def release(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            await self.vfs.release_direct(self)


class RemoteFile(OpenFile):
    """A file of a store that only takes whole files: read in blocks, written in a staged file, uploaded at close."""

    def __init__(self, vfs: VFS, inode: Inode, flags: int, readahead: Readahead) -> None:
        super().__init__(vfs, inode, flags)
        self._readahead = readahead

    @property
    def has_unknown_size(self) -> bool:
        return self.inode.size is None and self.inode.staged is None

    async def read(self, offset: int, size: int) -> bytes:
        self._check_readable()
        staged = self.inode.staged
        if staged is not None:
            return await staged.read(offset, size)
        content = self.inode.content
        if content is None:
            raise error(errno.EBADF, self.inode.name)
        moves = content.moves
        try:
            return await content.read(offset, size, self._readahead)
        except StaleError:
            # Our own rename or unlink may have got between. Once that has ended, the content is where it leaves it.
            async with self.vfs.namespace.shared():
                staged = self.inode.staged
            if staged is not None:
                return await staged.read(offset, size)
            if content.moves == moves:
                self.vfs.distrust(self.inode)
                raise
            return await content.read(offset, size, self._readahead)

    async def write(self, offset: int, data: Buffer) -> int:
        self._check_writable()
        return await self.vfs.remote.write(self.inode, offset, data, append=self.append)

    async def truncate(self, size: int) -> None:
        self._check_writable()
        await self.vfs.remote.truncate(self.inode, size)

    async def flush(self) -> None:
        if self.writable:
            await self.vfs.remote.upload(self.inode)

    async def fsync(self, *, data_only: bool = False) -> None:
        await self.vfs.remote.upload(self.inode)

    async def release(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            await self.vfs.remote.release(self)
