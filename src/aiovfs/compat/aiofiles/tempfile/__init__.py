"""The forms of `tempfile`, to await. Their files are Python's own, run in threads; `aiovfs.aio.tempfile` has others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from aiovfs.compat.aiofiles.base import AiofilesContextManager, call
from aiovfs.compat.aiofiles.tempfile.temptypes import AsyncSpooledTemporaryFile, AsyncTemporaryDirectory
from aiovfs.compat.aiofiles.threadpool import wrap

__all__ = ["NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory", "TemporaryFile"]


def TemporaryFile(*args: Any, loop: Any = None, executor: Any = None, **kwargs: Any) -> AiofilesContextManager:
    """A file without a name. The arguments are those of `tempfile.TemporaryFile`."""
    return AiofilesContextManager(_make(tempfile.TemporaryFile, _wrapped, args, kwargs, loop, executor))


def NamedTemporaryFile(*args: Any, loop: Any = None, executor: Any = None, **kwargs: Any) -> AiofilesContextManager:
    """A file with a name. The arguments are those of `tempfile.NamedTemporaryFile`."""
    return _NamedContextManager(_make(tempfile.NamedTemporaryFile, _wrapped, args, kwargs, loop, executor))


def SpooledTemporaryFile(*args: Any, loop: Any = None, executor: Any = None, **kwargs: Any) -> AiofilesContextManager:
    """A file in memory, until it grows. The arguments are those of `tempfile.SpooledTemporaryFile`."""
    make = AsyncSpooledTemporaryFile
    return AiofilesContextManager(_make(tempfile.SpooledTemporaryFile, make, args, kwargs, loop, executor))


def TemporaryDirectory(*args: Any, loop: Any = None, executor: Any = None, **kwargs: Any) -> AiofilesContextManager:
    """A directory; `async with` gives its name. The arguments are those of `tempfile.TemporaryDirectory`."""
    make = AsyncTemporaryDirectory
    return _DirectoryContextManager(_make(tempfile.TemporaryDirectory, make, args, kwargs, loop, executor))


class _DirectoryContextManager(AiofilesContextManager):
    __slots__ = ()

    async def __aenter__(self) -> Any:
        return (await self).name


class _NamedContextManager(AiofilesContextManager):
    """Ends as `with` does, which is not the same as closing: see `delete_on_close`."""

    __slots__ = ()

    async def __aexit__(self, *exc: object) -> None:
        obj, self._obj = self._obj, None
        await call(obj._executor, obj._file.__exit__, *exc)


async def _make(
    blocking: Callable[..., Any],
    make: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    loop: Any,
    executor: Any,
) -> Any:
    return make(await call(executor, blocking, *args, **kwargs), loop=loop, executor=executor)


def _wrapped(file: Any, *, loop: Any, executor: Any) -> Any:
    """A front of the class that fits the file inside, and in front of the object that knows the name."""
    front = wrap(getattr(file, "file", file), loop=loop, executor=executor)
    front._file = file
    front.delete = getattr(file, "delete", None)
    return front
