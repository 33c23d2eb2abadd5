"""`open`, `wrap` and the classes of files, under aiofiles' names.

A file that `open` opens is one of `aiovfs.aio`. Tests that replace `sync_open`, as aiofiles' documentation shows, get
what that returns instead, wrapped as its type says and run in threads.
"""

from __future__ import annotations

import builtins
import sys
from functools import singledispatch
from io import BufferedIOBase, BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOBase
from typing import Any

from aiovfs import aio
from aiovfs.compat.aiofiles.base import AiofilesContextManager, call
from aiovfs.compat.aiofiles.threadpool.binary import (
    AsyncBufferedIOBase,
    AsyncBufferedReader,
    AsyncFileIO,
    AsyncIndirectBufferedIOBase,
)
from aiovfs.compat.aiofiles.threadpool.text import AsyncTextIndirectIOWrapper, AsyncTextIOWrapper

__all__ = ("open", "stderr", "stderr_bytes", "stdin", "stdin_bytes", "stdout", "stdout_bytes")

sync_open: Any = builtins.open
"""Replace it to mock files."""


def open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
    *,
    loop: Any = None,
    executor: Any = None,
) -> AiofilesContextManager:
    """Open a file: await it, or use it with `async with`. The arguments are the builtin's."""
    arguments = (file, mode, buffering, encoding, errors, newline, closefd, opener)
    return AiofilesContextManager(_open(arguments, loop, executor))


async def _open(arguments: tuple[Any, ...], loop: Any, executor: Any) -> Any:
    if sync_open is builtins.open and executor is None:
        return wrap(await aio.open(*arguments), loop=loop)
    names = ("file", "mode", "buffering", "encoding", "errors", "newline", "closefd", "opener")
    given = dict(zip(names, arguments, strict=True))
    return wrap(await call(executor, sync_open, given.pop("file"), **given), loop=loop, executor=executor)


@singledispatch
def wrap(file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    """An awaitable front of a file, by its type."""
    raise TypeError(f"Unsupported io type: {file}.")


@wrap.register(TextIOBase)
@wrap.register(aio.TextFile)
def _(file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    return AsyncTextIOWrapper(file, loop=loop, executor=executor)


@wrap.register(BufferedWriter)
@wrap.register(BufferedIOBase)
def _(file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    return AsyncBufferedIOBase(file, loop=loop, executor=executor)


@wrap.register(BufferedReader)
@wrap.register(BufferedRandom)
def _(file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    return AsyncBufferedReader(file, loop=loop, executor=executor)


@wrap.register(aio.File)
def _(file: aio.File, *, loop: Any = None, executor: Any = None) -> Any:
    kind = AsyncBufferedReader if file.is_buffered else AsyncFileIO
    return kind(file, loop=loop, executor=executor)


@wrap.register(FileIO)
def _(file: Any, *, loop: Any = None, executor: Any = None) -> Any:
    return AsyncFileIO(file, loop=loop, executor=executor)


stdin = AsyncTextIndirectIOWrapper("sys.stdin", None, None, indirect=lambda: sys.stdin)
stdout = AsyncTextIndirectIOWrapper("sys.stdout", None, None, indirect=lambda: sys.stdout)
stderr = AsyncTextIndirectIOWrapper("sys.stderr", None, None, indirect=lambda: sys.stderr)
stdin_bytes = AsyncIndirectBufferedIOBase("sys.stdin.buffer", None, None, indirect=lambda: sys.stdin.buffer)
stdout_bytes = AsyncIndirectBufferedIOBase("sys.stdout.buffer", None, None, indirect=lambda: sys.stdout.buffer)
stderr_bytes = AsyncIndirectBufferedIOBase("sys.stderr.buffer", None, None, indirect=lambda: sys.stderr.buffer)
