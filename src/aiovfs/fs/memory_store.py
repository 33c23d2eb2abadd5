"""A tree in memory, or a directory of it, as a store."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiovfs import aio
from aiovfs.errors import StaleError
from aiovfs.fs import paths
from aiovfs.fs.info import Capabilities, Info
from aiovfs.fs.store import Progress, Reader, Store, StoreFile
from aiovfs.fs.tree import Directory, File, Symlink, error
from aiovfs.types import Buffer, Usage

if TYPE_CHECKING:
    from aiovfs.fs.memory import MemoryFileSystem

__all__ = ["MemoryStore", "read_file", "write_file"]

CAPABILITIES = Capabilities(
    positioned_writes=True, atomic_rename=True, symlinks=True, attributes=True, cheap_metadata=True
)


class MemoryStore(Store):
    """See the head of this file. Calls that touch no local file never wait, and are no checkpoints."""

    def __init__(self, fs: MemoryFileSystem, root: str, *, read_only: bool = False) -> None:
        capabilities = replace(CAPABILITIES, writable=not read_only)
        super().__init__(fs, root, url="memory://" + root.strip("/"), protocol="memory", capabilities=capabilities)
        self._tree = fs.tree
        self._top = root.strip("/")

    def _full(self, path: str) -> str:
        return paths.join(self._top, paths.check(path))

    async def verify(self) -> None:
        with self._tree.lock:
            self._tree.make_directories(self._top)

    async def info(self, path: str) -> Info:
        return self._tree.find(self._full(path)).info(paths.name_of(path))

    async def list(self, path: str) -> list[Info]:
        with self._tree.lock:
            return [node.info(name) for name, node in self._tree.find_directory(self._full(path)).children.items()]

    async def usage(self) -> Usage | None:
        page = os.sysconf("SC_PAGE_SIZE")
        size, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
        return Usage(size=size, free=free, available=free)

    async def open_reader(self, path: str, info: Info) -> Reader:
        return MemoryReader(self._tree.find_file(self._full(path)), path, info)

    async def open_file(
        self,
        path: str,
        *,
        writable: bool,
        create: bool = False,
        exclusive: bool = False,
        truncate: bool = False,
        mode: int = 0o644,
    ) -> StoreFile:
        if writable or create or truncate:
            self._check_writable(path)
        full = self._full(path)
        with self._tree.lock:
            file = self._tree.open(full, create=create, exclusive=exclusive, truncate=truncate, mode=mode)
        return MemoryStoreFile(file, path, writable=writable)

    async def upload(
        self, source: str, path: str, *, exclusive: bool = False, progress: Progress | None = None
    ) -> Info:
        self._check_writable(path)
        full = self._full(path)
        content = await aio.run(read_file, source)
        with self._tree.lock:
            file = self._tree.put(full, content, exclusive=exclusive)
        if progress is not None:
            progress(len(content))
        return file.info(paths.name_of(path))

    async def download(self, path: str, target: str, *, progress: Progress | None = None) -> None:
        file = self._tree.find_file(self._full(path))
        content = file.read(0, file.size)
        await aio.run(write_file, target, content)
        if progress is not None:
            progress(len(content))

    async def remove(self, path: str) -> None:
        self._check_writable(path)
        with self._tree.lock:
            self._tree.remove(self._full(path))

    async def mkdir(self, path: str, mode: int = 0o755) -> None:
        self._check_writable(path)
        with self._tree.lock:
            self._tree.create(self._full(path), Directory(mode))

    async def rmdir(self, path: str) -> None:
        self._check_writable(path)
        with self._tree.lock:
            self._tree.remove_directory(self._full(path))

    async def copy(self, old: str, new: str) -> None:
        self._check_writable(new)
        with self._tree.lock:
            source = self._tree.find_file(self._full(old))
            if old != new:
                self._tree.put(self._full(new), source.content, mode=stat.S_IMODE(source.mode))

    async def rename(self, old: str, new: str) -> None:
        self._check_writable(old)
        paths.check_rename(old, new)
        with self._tree.lock:
            self._tree.rename(self._full(old), self._full(new))

    async def symlink(self, target: str, path: str) -> None:
        self._check_writable(path)
        with self._tree.lock:
            self._tree.create(self._full(path), Symlink(target))

    async def set_attributes(
        self,
        path: str,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        size: int | None = None,
    ) -> None:
        self._check_writable(path)
        with self._tree.lock:
            node = self._tree.find(self._full(path))
            if size is not None:
                self._tree.find_file(self._full(path)).truncate(size)
            node.set_attributes(mode=mode, uid=uid, gid=gid, atime_ns=atime_ns, mtime_ns=mtime_ns)


class MemoryReader(Reader):
    """Reads the file that was opened, also when its name is gone, as long as its content is that version."""

    def __init__(self, file: File, path: str, info: Info) -> None:
        self._file = file
        self._path = path
        self._fingerprint = info.fingerprint

    async def read(self, offset: int, size: int) -> bytes:
        data = self._file.read(offset, size)
        now = f"{self._file.ino}-{self._file.version}"
        if self._fingerprint is not None and now != self._fingerprint:
            raise StaleError(f"{self._path!r} changed while it was being read: {self._fingerprint} became {now}")
        return data


class MemoryStoreFile(StoreFile):
    """An open file of a `MemoryStore`."""

    def __init__(self, file: File, path: str, *, writable: bool) -> None:
        self._file = file
        self._path = path
        self._writable = writable

    async def pread(self, size: int, offset: int) -> bytes:
        return self._file.read(offset, size)

    async def pwrite(self, data: Buffer, offset: int) -> int:
        self._check()
        return self._file.write(data, offset)

    async def truncate(self, size: int) -> None:
        self._check()
        self._file.truncate(size)

    async def fsync(self, *, data_only: bool = False) -> None:
        return None

    async def info(self) -> Info:
        return self._file.info(paths.name_of(self._path))

    async def set_attributes(
        self,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        size: int | None = None,
    ) -> None:
        if size is not None:
            await self.truncate(size)
        self._file.set_attributes(mode=mode, uid=uid, gid=gid, atime_ns=atime_ns, mtime_ns=mtime_ns)

    async def aclose(self) -> None:
        return None

    def _check(self) -> None:
        if not self._writable:
            raise error(errno.EBADF, self._path)


def read_file(path: Any) -> bytes:
    """The whole content of a local file."""
    with open(path, "rb") as file:
        return file.read()


def write_file(path: Any, content: bytes) -> None:
    """Make `content` a local file's."""
    with open(path, "wb") as file:
        file.write(content)
