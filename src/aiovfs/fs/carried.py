"""Any fsspec file system, awaited from whichever loop one is on: `portable(fs)`.

An async backend of somebody else's belongs to one asyncio loop: its session, its locks and its tasks are there. Awaited
from Trio it dies; awaited from a second asyncio loop it hangs or mixes up connections. `CarriedFileSystem` carries each
call to the loop that the backend belongs to (its own, the one it was made on, else the companion's) and back, with
cancellation. Whole operations are carried, not their parts: `_cat` of a thousand files is one crossing.

`portable` gives ours back as they are, wraps synchronous ones (`wrapper`), and carries the rest.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Self

import fsspec
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem as FsspecAsyncFileSystem

from aiovfs._loop.companion import companion, current_asyncio_loop, is_on_loop, run_on
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.bulk import is_default
from aiovfs.fs.wrapper import AsyncFileSystemWrapper

__all__ = ["CarriedFile", "CarriedFileSystem", "portable"]


def portable(fs: AbstractFileSystem) -> AsyncFileSystem:
    """The same files through coroutines that may be awaited on any loop, of asyncio or Trio."""
    if isinstance(fs, AsyncFileSystem) and fs.runs_anywhere:
        return fs
    # Caching file systems report the `async_impl` of what is below them, without having the coroutines.
    if isinstance(fs, FsspecAsyncFileSystem) and fs.async_impl:
        return CarriedFileSystem(fs)
    return AsyncFileSystemWrapper(fs)


def carried(name: str) -> Callable[..., Any]:
    """The coroutine method that awaits the backend's on its loop."""

    async def method(self: CarriedFileSystem, *args: Any, **kwargs: Any) -> Any:
        return await self._carry(getattr(self.fs, name), *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name}` of the file system, on its loop."
    return method


class CarriedFileSystem(AsyncFileSystem):
    """See the head of this file."""

    protocol = "carried"
    cachable = False
    runs_anywhere = True

    def __init__(
        self,
        fs: Any = None,
        asynchronous: bool | None = None,
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Carry calls to `fs`, or to the file system of `target_protocol`, which lives on the companion's loop."""
        super().__init__(asynchronous=is_on_loop() if asynchronous is None else asynchronous, **kwargs)
        self.fs = fs if fs is not None else fsspec.filesystem(target_protocol, **(target_options or {}))
        if not isinstance(self.fs, FsspecAsyncFileSystem) or not self.fs.async_impl:
            raise TypeError(f"{type(self.fs).__name__} is not async; AsyncFileSystemWrapper is for those")
        self.protocol = self.fs.protocol
        self.root_marker = self.fs.root_marker
        self.sep = self.fs.sep
        self.dircache = self.fs.dircache
        self._strip_protocol = self.fs._strip_protocol
        self._parent = self.fs._parent
        self._made_on = current_asyncio_loop() if self.fs.asynchronous else None

    @property
    def fsid(self) -> str:
        """The backend's."""
        return str(self.fs.fsid)

    def _loop_for_calls(self) -> Any:
        find = getattr(self.fs, "_loop_for_calls", None)
        if find is not None:
            return find()
        own = self.fs.loop
        if own is None and self._made_on is not None and not self._made_on.is_closed():
            own = self._made_on
        return own if own is not None else companion().loop

    async def _carry(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        loop = self._loop_for_calls()
        if loop is current_asyncio_loop():
            return await func(*args, **kwargs)
        return await run_on(loop, func, *args, **kwargs)

    async def _carry_each(self, items: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        try:
            while True:
                try:
                    yield await self._carry(_next, items)
                except StopAsyncIteration:
                    return
        finally:
            await self._carry(_close, items)

    _info = carried("_info")
    _ls = carried("_ls")
    _exists = carried("_exists")
    _isfile = carried("_isfile")
    _isdir = carried("_isdir")
    _size = carried("_size")
    _sizes = carried("_sizes")
    _find = carried("_find")
    _glob = carried("_glob")
    _du = carried("_du")
    _expand_path = carried("_expand_path")
    _cat = carried("_cat")
    _cat_file = carried("_cat_file")
    _cat_ranges = carried("_cat_ranges")
    _pipe = carried("_pipe")
    _pipe_file = carried("_pipe_file")
    _get = carried("_get")
    _get_file = carried("_get_file")
    _put = carried("_put")
    _put_file = carried("_put_file")
    _copy = carried("_copy")
    _cp_file = carried("_cp_file")
    _mv_file = carried("_mv_file")
    _rm = carried("_rm")
    _rm_file = carried("_rm_file")
    _mkdir = carried("_mkdir")
    _makedirs = carried("_makedirs")

    async def _walk(self, path: str, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(self._carry_each(self.fs._walk(path, *args, **kwargs))) as items:
            async for item in items:
                yield item

    async def open_async(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:  # type: ignore[override]
        """The backend's async file, whose calls are carried too; ours, where it has none."""
        if is_default(self.fs, "open_async"):
            return await super().open_async(path, mode, **kwargs)
        return CarriedFile(self, await self._carry(self.fs.open_async, path, mode, **kwargs))

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:  # type: ignore[override]
        """The backend's file, for blocking code."""
        return self.fs.open(path, mode, **kwargs)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:  # type: ignore[override]
        return self.fs._open(path, mode, **kwargs)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget what was listed, in the backend."""
        self.fs.invalidate_cache(path)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the backend has; its coroutines are carried."""
        if name.startswith("__") or "fs" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = getattr(self.fs, name)
        return functools.partial(self._carry, found) if _is_coroutine_function(found) else found


class CarriedFile:
    """An async file whose coroutines are awaited on the loop of its file system."""

    def __init__(self, fs: CarriedFileSystem, file: Any) -> None:
        self._fs = fs
        self._file = file

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        return functools.partial(self._fs._carry, found) if _is_coroutine_function(found) else found

    async def __aenter__(self) -> Self:
        await self._fs._carry(self._file.__aenter__)
        return self

    async def __aexit__(self, *exc_info: object) -> Any:
        return await self._fs._carry(self._file.__aexit__, *exc_info)

    async def __aiter__(self) -> AsyncIterator[Any]:
        async with aclosing(self._fs._carry_each(aiter(self._file))) as items:
            async for item in items:
                yield item


def _is_coroutine_function(value: Any) -> bool:
    return inspect.iscoroutinefunction(value)


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items)


async def _close(items: Any) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
