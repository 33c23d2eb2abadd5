"""`open`: what the builtin of that name takes, and gives a file to await.

A cancelled open leaves no descriptor behind: the engine closes what comes after its caller has gone, and from the
moment that we have the number, a `Descriptor` owns it.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Generic, Literal, TypeAlias, TypeVar, overload

import anyio

from aiovfs.aio.batches import claim
from aiovfs.aio.descriptor import Descriptor
from aiovfs.aio.direct import DirectFile, alignment_of
from aiovfs.aio.engine import perform
from aiovfs.aio.file import BUFFER_SIZE, File
from aiovfs.aio.modes import Mode
from aiovfs.aio.text import TextFile

__all__ = ["BinaryMode", "Opener", "Opening", "StrPath", "TextMode", "open"]

F = TypeVar("F", bound="File | TextFile")

StrPath: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
Opener: TypeAlias = Callable[[str, int], int]
TextMode: TypeAlias = Literal[
    "r", "r+", "+r", "rt", "tr", "rt+", "r+t", "w", "w+", "wt", "wt+", "w+t", "a", "a+", "at", "at+", "a+t",
    "x", "x+", "xt", "xt+", "x+t",
]  # fmt: skip
BinaryMode: TypeAlias = Literal[
    "rb", "br", "rb+", "r+b", "+rb", "wb", "bw", "wb+", "w+b", "ab", "ba", "ab+", "a+b", "xb", "bx", "xb+", "x+b",
]  # fmt: skip


class Opening(Generic[F]):
    """A file that will be open: await it, or `async with` it. Nothing happens before that."""

    __slots__ = ("_arguments", "_file")

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments
        self._file: F | None = None

    def __await__(self) -> Generator[Any, Any, F]:
        file: Any = yield from _open(**self._arguments).__await__()
        opened: F = file
        return opened

    async def __aenter__(self) -> F:
        self._file = await self
        return self._file

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._file is not None:
            await self._file.aclose()


@overload
def open(
    file: StrPath | int,
    mode: TextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    flags: int = 0,
    permissions: int = 0o666,
    dir_fd: int | None = None,
) -> Opening[TextFile]: ...
@overload
def open(
    file: StrPath | int,
    mode: BinaryMode,
    buffering: int = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    flags: int = 0,
    permissions: int = 0o666,
    dir_fd: int | None = None,
    direct: bool = False,
) -> Opening[File]: ...
@overload
def open(
    file: StrPath | int,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    flags: int = 0,
    permissions: int = 0o666,
    dir_fd: int | None = None,
    direct: bool = False,
) -> Opening[File | TextFile]: ...
def open(
    file: StrPath | int,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    flags: int = 0,
    permissions: int = 0o666,
    dir_fd: int | None = None,
    direct: bool = False,
) -> Opening[Any]:
    """Open `file` and return a `File` (binary modes) or a `TextFile`: `f = await open(…)` or `async with open(…) as f`.

    The arguments up to `opener` mean what they mean for the builtin; only the default buffer is larger (64 KiB).

    `flags` are added to those of the mode (`os.O_NOATIME`, `os.O_DSYNC` …); `permissions` are those of a file that is
    made, less the process's umask; a relative path is looked up in `dir_fd`, if given. With `direct` the page cache is
    left out (O_DIRECT); any offset and size may be read, what is not aligned is written through the page cache.

    Raises `OSError` with the file's name as open(2) does, `ValueError` and `TypeError` for arguments that do not fit.
    """
    parsed = Mode.parse(mode)
    if not isinstance(buffering, int):
        raise TypeError(f"an integer is required for buffering, not {type(buffering).__name__}")
    line_buffering = False
    text: dict[str, Any] = {}
    if parsed.is_text:
        if buffering == 0:
            raise ValueError("can't have unbuffered text I/O")
        if direct:
            raise ValueError("direct I/O is for binary modes")
        # The standard library's own object checks the arguments and knows the default encoding.
        model = io.TextIOWrapper(io.BytesIO(), io.text_encoding(encoding), errors, newline)
        line_buffering = buffering == 1
        text = {"encoding": model.encoding, "errors": model.errors or "strict", "newline": newline}
    else:
        for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
            if value is not None:
                raise ValueError(f"binary mode doesn't take {'an' if name != 'newline' else 'a'} {name} argument")
    if not isinstance(file, int) and not closefd:
        raise ValueError("Cannot use closefd=False with file name")
    return Opening(
        {
            "file": file if isinstance(file, int) else os.fspath(file),
            "mode": parsed,
            "buffer_size": BUFFER_SIZE if buffering < 0 or buffering == 1 else buffering,
            "line_buffering": line_buffering,
            "text": text,
            "closefd": closefd,
            "opener": opener,
            "flags": flags,
            "permissions": permissions,
            "dir_fd": dir_fd,
            "direct": direct,
        }
    )


async def _open(
    file: str | bytes | int,
    mode: Mode,
    buffer_size: int,
    line_buffering: bool,
    text: dict[str, Any],
    closefd: bool,
    opener: Opener | None,
    flags: int,
    permissions: int,
    dir_fd: int | None,
    direct: bool,
) -> File | TextFile:
    all_flags = mode.flags | flags | os.O_CLOEXEC | (os.O_DIRECT if direct else 0)
    if isinstance(file, int):
        if file < 0:
            raise ValueError(f"negative file descriptor {file}")
        descriptor = Descriptor(file, file, closes=closefd)
    elif opener is not None:
        descriptor = await claim(Descriptor.abandon, _open_with, opener, file, all_flags)
    else:
        descriptor = await _open_descriptor(file, all_flags, permissions, dir_fd)
    try:
        status = await descriptor.start("fstat")
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), file)
        binary: File
        if direct:
            alignment = await descriptor.call(alignment_of, descriptor.fd)
            binary = DirectFile(descriptor, mode, status, buffer_size=buffer_size, alignment=alignment)
        else:
            binary = File(descriptor, mode, status, buffer_size=buffer_size)
    except BaseException:
        descriptor.abandon()
        raise
    if not mode.is_text:
        return binary
    return TextFile(binary, mode.text, line_buffering=line_buffering or binary.isatty(), **text)


async def _open_descriptor(path: Any, flags: int, permissions: int, dir_fd: int | None) -> Descriptor:
    operation = perform("open", path, flags, permissions, dir_fd)
    try:
        return Descriptor(await operation, path)
    except BaseException:
        if operation.done() and not operation.cancelled() and operation.exception() is None:
            # Cancelled between the end of the operation and our resumption. The operation would close what nobody
            # fetched when it is dropped, but an exception's traceback may keep it for long.
            with anyio.CancelScope(shield=True):
                await perform("close", operation.result())
        raise


def _open_with(opener: Opener, file: Any, flags: int) -> Descriptor:
    """What an opener opens belongs to somebody from the start, also when the caller has gone meanwhile."""
    fd = opener(file, flags)
    if not isinstance(fd, int):
        raise TypeError("expected integer from opener")
    if fd < 0:
        raise ValueError(f"opener returned {fd}")
    os.set_inheritable(fd, False)
    return Descriptor(fd, file)
