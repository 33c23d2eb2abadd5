"""The forms of `tempfile`, awaited: files without a name, with one, in memory until they grow, and directories.

Each is used with `async with`; the first two may be awaited instead and closed
by hand. What is temporary is gone when it was closed, also if that happens because the object was dropped; a crash
leaves only what has a name.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile as blocking
import warnings
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Self

import anyio

from aiovfs.aio.batches import claim
from aiovfs.aio.engine import call
from aiovfs.aio.file import File, Source
from aiovfs.aio.opening import Opening, open
from aiovfs.aio.text import TextFile

__all__ = ["NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory", "TemporaryFile"]


def TemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: str | None = None,
    prefix: str | None = None,
    dir: Any = None,
    *,
    errors: str | None = None,
) -> Opening[Any]:
    """A file that has no name: it is gone when it is closed, however that comes."""

    def opener(directory: str, flags: int) -> int:
        return _unnamed(suffix, prefix, directory)

    return open(_directory(dir), mode, buffering, encoding, errors, newline, opener=opener)


def NamedTemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: str | None = None,
    prefix: str | None = None,
    dir: Any = None,
    delete: bool = True,
    *,
    errors: str | None = None,
    delete_on_close: bool = True,
) -> Opening[Any]:
    """A file with a name (`file.name`), deleted when it is closed.

    With `delete_on_close=False` it is deleted at the end of the `async with` instead, so that it can be closed and
    opened again by its name; with `delete=False`, never.
    """
    opening = open(_directory(dir), mode, buffering, encoding, errors, newline)
    return _NamedOpening(opening, suffix, prefix, delete=delete, delete_on_close=delete_on_close)


class _NamedOpening(Opening[Any]):
    """Opens a file that has just been made, and knows when to delete it."""

    __slots__ = ("_delete", "_delete_on_close", "_path", "_prefix", "_suffix")

    def __init__(
        self, opening: Opening[Any], suffix: str | None, prefix: str | None, *, delete: bool, delete_on_close: bool
    ) -> None:
        super().__init__(opening._arguments)
        self._suffix = suffix
        self._prefix = prefix
        self._delete = delete
        self._delete_on_close = delete_on_close
        self._path: Any = None

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._make().__await__())

    async def _make(self) -> File | TextFile:
        made = await claim(_Named.give_up, _Named, self._suffix, self._prefix, self._arguments["file"], self._delete)
        # Opened by its number: nobody can have put another file under the name.
        opening: Opening[File | TextFile] = Opening({**self._arguments, "file": made.take()})
        try:
            file = await opening
        except BaseException:
            with anyio.CancelScope(shield=True):
                await call(made.give_up)
            raise
        binary = file.buffer if isinstance(file, TextFile) else file
        binary._name = binary._descriptor.name = self._path = made.path
        if self._delete and self._delete_on_close:
            binary._descriptor.after_close = made.delete
        else:
            made.is_kept = True
        return file

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, value, tb)
        finally:
            if self._delete and not self._delete_on_close and self._path is not None:
                await call(_unlink_if_there, self._path)


class _Named:
    """A named temporary file that was just made; deletes it if nobody comes for it."""

    def __init__(self, suffix: str | None, prefix: str | None, directory: Any, delete: bool) -> None:
        self.is_kept = True
        self._fd = -1
        self._fd, self.path = blocking.mkstemp(suffix, prefix, directory)
        self.is_kept = not delete

    def take(self) -> int:
        fd, self._fd = self._fd, -1
        return fd

    def delete(self) -> None:
        self.is_kept = True
        _unlink_if_there(self.path)

    def give_up(self) -> None:
        """Nobody came for it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        if not self.is_kept:
            self.delete()

    def __del__(self) -> None:
        self.give_up()


class TemporaryDirectory:
    """A directory that is removed, with all that is in it, at the end: `async with TemporaryDirectory() as name:`."""

    def __init__(
        self,
        suffix: str | None = None,
        prefix: str | None = None,
        dir: Any = None,
        ignore_cleanup_errors: bool = False,
    ) -> None:
        self._arguments = (suffix, prefix, dir)
        self._ignores = ignore_cleanup_errors
        self._made: _Directory | None = None

    @property
    def name(self) -> str:
        """The directory's path, once there is one."""
        if self._made is None:
            raise ValueError("the directory is made by `async with`")
        return self._made.path

    async def __aenter__(self) -> str:
        self._made = await claim(_Directory.remove, _Directory, *self._arguments)
        return self._made.path

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.cleanup()

    async def cleanup(self) -> None:
        """Remove it now."""
        if self._made is not None:
            await call(self._made.remove, self._ignores)


class _Directory:
    def __init__(self, suffix: str | None, prefix: str | None, directory: Any) -> None:
        self.is_there = False
        self.path = blocking.mkdtemp(suffix, prefix, directory)
        self.is_there = True

    def remove(self, ignore_errors: bool = True) -> None:
        if self.is_there:
            self.is_there = False
            shutil.rmtree(self.path, ignore_errors=ignore_errors)

    def __del__(self) -> None:
        if self.is_there:
            warnings.warn(f"the temporary directory {self.path!r} was not cleaned up", ResourceWarning, stacklevel=1)
            self.remove(True)


class SpooledTemporaryFile:
    """A temporary file that stays in memory until it has more than `max_size` bytes, or `rollover` or `fileno` is
    called; 0 never moves it because of its size. Has the calls of a `File`, or of a `TextFile` in text modes."""

    def __init__(
        self,
        max_size: int = 0,
        mode: str = "w+b",
        buffering: int = -1,
        encoding: str | None = None,
        newline: str | None = None,
        suffix: str | None = None,
        prefix: str | None = None,
        dir: Any = None,
        *,
        errors: str | None = None,
    ) -> None:
        self._max_size = max_size
        self._open: Callable[[], Opening[Any]] = lambda: TemporaryFile(
            mode, buffering, encoding, newline, suffix, prefix, dir, errors=errors
        )
        self._open()  # says what is wrong with the arguments
        self._mode = mode
        self._memory = io.BytesIO()
        self._buffered: Any = self._memory
        if "b" not in mode:
            self._buffered = io.TextIOWrapper(
                self._memory, io.text_encoding(encoding), errors, newline, write_through=True
            )
        self._file: File | TextFile | None = None
        self._is_closed = False

    @property
    def is_rolled(self) -> bool:
        """Is it on the disk by now?"""
        return self._file is not None

    @property
    def closed(self) -> bool:
        return self._is_closed

    @property
    def mode(self) -> str:
        return self._mode

    @property
    def name(self) -> Any:
        """None while in memory."""
        return None if self._file is None else self._file.name

    @property
    def newlines(self) -> Any:
        return getattr(self._buffered if self._file is None else self._file, "newlines", None)

    @property
    def encoding(self) -> str:
        encoding: str = getattr(self._buffered if self._file is None else self._file, "encoding")  # noqa: B009
        return encoding

    @property
    def errors(self) -> str | None:
        errors: str | None = getattr(self._buffered if self._file is None else self._file, "errors")  # noqa: B009
        return errors

    async def rollover(self) -> None:
        """Move it to the disk now."""
        if self._file is not None:
            return
        self._check()
        place = self._buffered.tell()
        file = await self._open()
        try:
            binary = file.buffer if isinstance(file, TextFile) else file
            await binary.write(self._memory.getvalue())
            await file.seek(place)
        except BaseException:
            await file.aclose()
            raise
        self._file = file
        self._memory = io.BytesIO()
        self._buffered = None

    async def fileno(self) -> int:
        """The descriptor's number; moves the file to the disk."""
        await self.rollover()
        assert self._file is not None
        return self._file.fileno()

    async def write(self, data: Any, /) -> int:
        count: int = await self._call("write", data)
        await self._grown()
        return count

    async def writelines(self, lines: Iterable[Source | str], /) -> None:
        for line in lines:
            await self.write(line)

    async def truncate(self, size: int | None = None, /) -> int:
        if size is not None and size > self._max_size > 0:
            await self.rollover()
        result: int = await self._call("truncate", size)
        return result

    async def read(self, size: int | None = -1, /) -> Any:
        return await self._call("read", size)

    async def readinto(self, buffer: Any, /) -> int:
        count: int = await self._call("readinto", buffer)
        return count

    async def readline(self, size: int | None = -1, /) -> Any:
        return await self._call("readline", -1 if size is None else size)

    async def readlines(self, hint: int | None = -1, /) -> list[Any]:
        lines: list[Any] = await self._call("readlines", -1 if hint is None else hint)
        return lines

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        position: int = await self._call("seek", offset, whence)
        return position

    async def tell(self) -> int:
        position: int = await self._call("tell")
        return position

    async def flush(self) -> None:
        await self._call("flush")

    async def aclose(self) -> None:
        self._is_closed = True
        if self._file is not None:
            await self._file.aclose()

    close = aclose

    def __aiter__(self) -> SpooledTemporaryFile:
        return self

    async def __anext__(self) -> Any:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def __aenter__(self) -> Self:
        self._check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def _check(self) -> None:
        if self._is_closed:
            raise ValueError("I/O operation on closed file")

    async def _call(self, name: str, *args: Any) -> Any:
        self._check()
        if self._file is not None:
            return await getattr(self._file, name)(*args)
        return getattr(self._buffered, name)(*args)

    async def _grown(self) -> None:
        if self._file is None and 0 < self._max_size < self._memory.tell():
            await self.rollover()


def _directory(directory: Any) -> Any:
    return blocking.gettempdir() if directory is None else directory


def _unnamed(suffix: str | None, prefix: str | None, directory: str) -> int:
    """A descriptor of a file without a name, open for reading and writing."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        pass  # not every file system has them
    fd, path = blocking.mkstemp(suffix, prefix, directory)
    os.unlink(path)
    return fd


def _unlink_if_there(path: Any) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
