"""Open files of the local disk: read through pickle, written in place, or put in place as a whole.

What Python's `open` does, `open` of the local file system does: it writes in place. Content that is stored in one call
(`pipe_file`, `put_file`, `cp_file`), and files of transactions or with `atomic=True`, are written under another name
beside their target and renamed. That keeps the target's mode and owner, and the file that a symlink leads to. In place
is written, because nothing else is possible, what is no regular file, what has several names, and what lies in a
directory that we may not write to.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import anyio

from aiovfs import aio
from aiovfs._loop.caller import in_caller
from aiovfs.fs.files import AsyncFile
from aiovfs.fs.sources import Writer
from aiovfs.types import Buffer

if TYPE_CHECKING:
    from aiovfs.fs.local import LocalFileSystem

__all__ = [
    "FLAGS",
    "LocalFile",
    "LocalReader",
    "LocalWriter",
    "PendingFile",
    "Replacement",
    "has_to_be_written_in_place",
    "local_target",
    "open_in_place",
    "replace_content",
    "replacement",
    "replacing",
]

FLAGS = {
    "rb": os.O_RDONLY,
    "r+b": os.O_RDWR,
    "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "w+b": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    "xb": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "x+b": os.O_RDWR | os.O_CREAT | os.O_EXCL,
    "ab": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "a+b": os.O_RDWR | os.O_CREAT | os.O_APPEND,
}
"""How each mode opens."""


class Replacement:
    """New content for a file, under another name until `commit`. Blocking."""

    def __init__(self, path: str, mode: str, *, make_parents: bool = False) -> None:
        """`mode`: "wb", "xb" (nothing may be at `path` at the commit) or "ab" (the old content comes first)."""
        self.path = os.path.realpath(path) if os.path.islink(path) else path
        self._exclusive = mode == "xb"
        directory = os.path.dirname(self.path) or "."
        if make_parents:
            os.makedirs(directory, exist_ok=True)
        self._name = os.path.join(directory, f".aiovfs-{os.urandom(8).hex()}")
        fd = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self.file: BinaryIO = os.fdopen(fd, "wb", buffering=1024 * 1024)
        self._is_pending = True
        try:
            self._take_over(mode)
        except BaseException:
            self.discard()
            raise

    def _take_over(self, mode: str) -> None:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        with suppress(OSError):
            os.fchown(self.file.fileno(), status.st_uid, status.st_gid)
        os.fchmod(self.file.fileno(), stat.S_IMODE(status.st_mode))
        if mode == "ab":
            with open(self.path, "rb") as old:
                shutil.copyfileobj(old, self.file, 1024 * 1024)

    def commit(self) -> None:
        """Put it in the place of its target."""
        if not self._is_pending:
            return
        self.file.close()
        if self._exclusive:
            os.link(self._name, self.path)
            os.unlink(self._name)
        else:
            os.replace(self._name, self.path)
        self._is_pending = False

    def discard(self) -> None:
        """Remove what was written."""
        if not self._is_pending:
            return
        self._is_pending = False
        # What is buffered is not wanted; closing would write it, and may fail with what is being raised already.
        with suppress(OSError):
            self.file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._name)

    def __del__(self) -> None:
        # Opened in a thread for a task that was cancelled meanwhile: nobody has it.
        if getattr(self, "_is_pending", False):
            self.discard()


class InPlace:
    """A file that a rename would break, written as it is; the shape of `Replacement`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file: BinaryIO = open(path, "wb")  # noqa: SIM115  # closed by commit and discard

    def commit(self) -> None:
        """Write what is buffered."""
        self.file.close()

    def discard(self) -> None:
        """Close. What was written stays."""
        with suppress(OSError):
            self.file.close()


def local_target(path: str) -> Replacement | InPlace:
    """New content for the local file `path`, whole when it is committed, where that is possible."""
    return InPlace(path) if has_to_be_written_in_place(path) else Replacement(path, "wb")


def _shield() -> AbstractContextManager[Any]:
    return nullcontext() if in_caller() else anyio.CancelScope(shield=True)


async def replacement(path: str, mode: str, *, make_parents: bool = False) -> Replacement:
    """A `Replacement`, made in a thread. A task that is cancelled meanwhile gets it nevertheless, to discard it."""
    with _shield():
        return await aio.run(partial(Replacement, path, mode, make_parents=make_parents))


@asynccontextmanager
async def replacing(path: str) -> AsyncIterator[Replacement | InPlace]:
    """Write new content for the local file `path`: put in its place at the end of the block, or not at all."""
    with _shield():
        target = await aio.run(local_target, path)
    try:
        yield target
        await aio.run(target.commit)
    finally:
        with _shield():
            await aio.run(target.discard)


def has_to_be_written_in_place(path: str) -> bool:
    """True for what a rename would break: devices and pipes, several hard links, directories closed to us."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(status.st_mode):
        return True  # opening it says so
    return (
        not stat.S_ISREG(status.st_mode)
        or status.st_nlink > 1
        or not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK)
    )


def replace_content(path: str, content: Buffer, *, exclusive: bool = False) -> None:
    """Make `content` the file's, in one step where that is possible."""
    if exclusive or has_to_be_written_in_place(path):
        with open(path, "xb" if exclusive else "wb") as file:
            file.write(content)
        return
    replacement = Replacement(path, "wb")
    try:
        replacement.file.write(content)
        replacement.commit()
    except BaseException:
        replacement.discard()
        raise


class LocalWriter(Writer):
    """A `Replacement` for tasks."""

    def __init__(self, replacement: Replacement) -> None:
        self._replacement = replacement

    async def write(self, data: Buffer) -> None:
        await aio.run(self._replacement.file.write, data)

    async def commit(self) -> None:
        await aio.run(self._replacement.commit)

    async def discard(self) -> None:
        await aio.run(self._replacement.discard)


class PendingFile:
    """The synchronous file over a `Replacement`: of a transaction, or atomic (`autocommit`)."""

    def __init__(self, path: str, mode: str, *, autocommit: bool = False) -> None:
        self._replacement = Replacement(path, mode)
        self._autocommit = autocommit
        self.path = path
        self.mode = mode

    def commit(self) -> None:
        """Put the file in the place of its target."""
        self._replacement.commit()

    def discard(self) -> None:
        """Remove what was written."""
        self._replacement.discard()

    def close(self) -> None:
        """Close; an atomic file is put in its place."""
        if self._replacement.file.closed:
            return
        try:
            self._replacement.file.close()
            if self._autocommit:
                self.commit()
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        if kind is not None:
            self.discard()
        else:
            self.close()

    def __iter__(self) -> Any:
        return iter(self._replacement.file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replacement.file, name)


class LocalReader(io.BufferedReader):
    """A file being read. Unpickled, also on another machine with the same disk, it is open where it was."""

    def __init__(self, fs: LocalFileSystem, path: str) -> None:
        super().__init__(io.FileIO(path, "rb"))
        self.fs = fs
        self.path = path

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self.fileno()).st_size

    def __fspath__(self) -> str:
        return self.path

    def __reduce__(self) -> Any:
        return _reopen, (self.fs, self.path, self.tell())

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()  # io's own class refuses by this name since Python 3.12


def _reopen(fs: LocalFileSystem, path: str, position: int) -> LocalReader:
    file = LocalReader(fs, path)
    file.seek(position)
    return file


class LocalFile(AsyncFile):
    """A file open in place: positioned reads from the page cache without a thread, everything else in one."""

    def __init__(self, fd: int, name: str, mode: str) -> None:
        super().__init__(name, mode)
        self._fd = fd
        self._position = os.lseek(fd, 0, os.SEEK_END) if "a" in mode and os.fstat(fd).st_size else 0

    @property
    def size(self) -> int | None:
        return None if self._is_closed else os.fstat(self._fd).st_size

    def readable(self) -> bool:
        return "r" in self.mode or "+" in self.mode

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The descriptor."""
        self._check(True, "use")
        return self._fd

    async def pread(self, size: int, *, offset: int) -> bytes:
        self._check(self.readable(), "read")
        return await aio.pread(self._fd, size, offset)

    async def pwrite(self, data: Buffer, *, offset: int) -> int:
        """Write all of `data` at `offset`, leaving the position alone."""
        self._check(self.writable(), "write")
        return await aio.pwrite(self._fd, data, offset)

    async def write(self, data: Any) -> int:
        self._check(self.writable(), "write")
        count = await aio.pwrite(self._fd, data, self._position)
        self._position = os.lseek(self._fd, 0, os.SEEK_END) if "a" in self.mode else self._position + count
        return count

    async def truncate(self, size: int | None = None) -> int:
        self._check(self.writable(), "truncate")
        size = self._position if size is None else size
        await aio.ftruncate(self._fd, size)
        return size

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            with anyio.CancelScope(shield=True):
                await aio.run(os.close, self._fd)

    def __del__(self) -> None:
        if not self._is_closed:
            os.close(self._fd)


def open_in_place(path: str, mode: str) -> LocalFile:
    """Open a file. Blocking."""
    fd = os.open(path, FLAGS[mode] | os.O_CLOEXEC, 0o666)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return LocalFile(fd, path, mode)
    except BaseException:
        os.close(fd)
        raise
