"""An async file system out of a synchronous one, losing nothing.

Every method of the wrapped file system is there twice: under its name, called in place, and as a coroutine with an
underscore before it, run in a worker thread. That includes `open`, `touch`, `rmdir`, `created`, `modified`, `chmod` and
whatever else the class has. Bulk operations go file by file through `bulk`; `max_concurrent_tasks` bounds the calls in
flight; a class that is not known to be thread-safe gets one call at a time (see `drivers.THREAD_SAFE`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK

from aiovfs._loop.caller import leave_caller
from aiovfs._loop.companion import is_on_loop
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.drivers import SyncRunner, overrides
from aiovfs.fs.files import AsyncFile, FileOverSync

__all__ = ["AsyncFileSystemWrapper"]


def coroutine(name: str) -> Callable[..., Any]:
    """The coroutine method that calls `name` of the wrapped file system in a thread."""

    async def method(self: AsyncFileSystemWrapper, *args: Any, **kwargs: Any) -> Any:
        return await self._call(name, *args, **kwargs)

    method.__name__ = method.__qualname__ = f"_{name}"
    method.__doc__ = f"`{name}` of the wrapped file system, in a thread."
    return method


def own_or_derived(name: str) -> Callable[..., Any]:
    """The coroutine method that calls `name` of a wrapped class that has its own, and else works by the others.

    fsspec's defaults answer "no" to failures, and leave out what could not be listed.
    """
    derived = getattr(AsyncFileSystem, f"_{name}")

    async def method(self: AsyncFileSystemWrapper, *args: Any, **kwargs: Any) -> Any:
        if overrides(self.sync_fs, name):
            kwargs.pop("prefix", None)  # a hint that our `_glob` gives, and synchronous classes need not know
            return await self._call(name, *args, **kwargs)
        return await derived(self, *args, **kwargs)

    method.__name__ = method.__qualname__ = f"_{name}"
    method.__doc__ = derived.__doc__
    return method


def in_place(name: str) -> Callable[..., Any]:
    """The method that calls `name` of the wrapped file system on the caller's thread."""

    def method(self: AsyncFileSystemWrapper, *args: Any, **kwargs: Any) -> Any:
        return self._runner.call_here(functools.partial(getattr(self.sync_fs, name), *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name}` of the wrapped file system."
    return method


class _Everything(frozenset[str]):
    """Contains every name."""

    def __contains__(self, name: object) -> bool:
        return True


EVERYTHING = _Everything()


class AsyncFileSystemWrapper(AsyncFileSystem):
    """See the head of this file. Runs on asyncio and on Trio."""

    protocol = ("asyncwrapper", "async_wrapper")
    cachable = False
    runs_anywhere = True
    eager = EVERYTHING
    """Everything: for a synchronous caller, the wrapped file system is called in place."""

    def __init__(
        self,
        fs: AbstractFileSystem | None = None,
        asynchronous: bool | None = None,
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        semaphore: Any = None,
        max_concurrent_tasks: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Wrap `fs`, or the file system of `target_protocol`.

        `asynchronous` defaults to whether a loop is running. Each call holds `semaphore` (any async context manager).
        """
        super().__init__(asynchronous=is_on_loop() if asynchronous is None else asynchronous, **kwargs)
        self.sync_fs = fs if fs is not None else fsspec.filesystem(target_protocol, **(target_options or {}))
        if self.sync_fs.async_impl:
            raise TypeError(f"{type(self.sync_fs).__name__} is async already; make it with asynchronous=True instead")
        self.protocol = self.sync_fs.protocol
        self.root_marker = self.sync_fs.root_marker
        self.sep = self.sync_fs.sep
        self.dircache = self.sync_fs.dircache
        self._strip_protocol = self.sync_fs._strip_protocol
        self._parent = self.sync_fs._parent
        self._semaphore = semaphore
        self._runner = SyncRunner(self.sync_fs, max_concurrent_tasks)
        self.thread_safe = self._runner.is_thread_safe

    @property
    def fsid(self) -> str:
        """The wrapped file system's, with a prefix."""
        return f"async_{self.sync_fs.fsid}"

    @classmethod
    def wrap_class(cls, sync_fs_class: type[AbstractFileSystem]) -> type[AsyncFileSystemWrapper]:
        """A class whose instances wrap one of `sync_fs_class`, made with the same arguments."""

        class Wrapped(cls):  # type: ignore[misc,valid-type]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(sync_fs_class(*args, **kwargs))

        Wrapped.__name__ = Wrapped.__qualname__ = f"Async{sync_fs_class.__name__}Wrapper"
        return Wrapped

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return await self._run(getattr(self.sync_fs, name), *args, **kwargs)

    async def _run(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = functools.partial(func, *args, **kwargs)
        if self._semaphore is None:
            return await self._runner.run(call)
        await leave_caller()  # a semaphore is a loop's
        async with self._semaphore:
            return await self._runner.run(call)

    _info = coroutine("info")
    _exists = own_or_derived("exists")
    _isfile = own_or_derived("isfile")
    _isdir = own_or_derived("isdir")
    _size = own_or_derived("size")
    _find = own_or_derived("find")
    _glob = own_or_derived("glob")
    _du = own_or_derived("du")
    _cat_ranges = own_or_derived("cat_ranges")
    _cat_file = coroutine("cat_file")
    _pipe_file = coroutine("pipe_file")
    _cp_file = coroutine("cp_file")
    _mkdir = coroutine("mkdir")
    _makedirs = coroutine("makedirs")
    _rmdir = coroutine("rmdir")
    _touch = coroutine("touch")
    _created = coroutine("created")
    _modified = coroutine("modified")
    _mv = coroutine("mv")
    _lexists = coroutine("lexists")
    _checksum = coroutine("checksum")
    _ukey = coroutine("ukey")
    _sign = coroutine("sign")
    _head = coroutine("head")
    _tail = coroutine("tail")
    _read_block = coroutine("read_block")
    _read_text = coroutine("read_text")
    _write_text = coroutine("write_text")

    async def _ls(self, path: str, detail: bool | None = None, **kwargs: Any) -> list[Any]:
        # The bulk operations pass fsspec's `prefix=` and the like down to here; synchronous classes need not know them.
        chosen = {} if detail is None else {"detail": detail}  # else the class's own default
        entries: list[Any] = list(await self._call("ls", path, **chosen))
        return entries

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        await self._call("get_file", rpath, lpath, callback=callback, **kwargs)

    async def _put_file(
        self, lpath: Any, rpath: str, mode: str = "overwrite", callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> None:
        if mode != "overwrite":
            kwargs["mode"] = mode  # not every synchronous class knows modes
        await self._call("put_file", lpath, rpath, callback=callback, **kwargs)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        try:
            await self._call("rm_file", path)
        except NotImplementedError:
            await self._call("rm", path)

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not overrides(self.sync_fs, "rm"):
            await super()._rm(path, recursive=recursive, batch_size=batch_size, maxdepth=maxdepth, **kwargs)
            return
        # The class knows a better way to remove a tree than file by file.
        for each in [path] if isinstance(path, str) else path:
            await self._call("rm", each, recursive=recursive, maxdepth=maxdepth, **kwargs)

    async def _mv_file(self, path1: str, path2: str) -> None:
        await self._call("mv", path1, path2)

    async def _open_bytes(self, path: str, mode: str, **kwargs: Any) -> AsyncFile:
        """A file of the wrapped file system; its calls are made in threads, under the same rules as the others."""
        options = {name: value for name, value in kwargs.items() if value is not None}
        return FileOverSync(await self._call("open", path, mode, **options), self._run, name=path, mode=mode)

    open = in_place("open")
    _open = in_place("_open")
    checksum = in_place("checksum")
    ukey = in_place("ukey")
    sign = in_place("sign")
    head = in_place("head")
    tail = in_place("tail")
    read_block = in_place("read_block")
    read_text = in_place("read_text")
    write_text = in_place("write_text")
    invalidate_cache = in_place("invalidate_cache")
    unstrip_protocol = in_place("unstrip_protocol")
    start_transaction = in_place("start_transaction")
    end_transaction = in_place("end_transaction")

    @property
    def transaction(self) -> Any:  # type: ignore[override]
        """The wrapped file system's."""
        return self.sync_fs.transaction

    def __getattr__(self, name: str) -> Any:
        """Whatever else the wrapped class has: `x` in place, `_x` in a thread."""
        if name.startswith("__") or "sync_fs" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name.startswith("_") and callable(getattr(self.sync_fs, name[1:], None)):
            return functools.partial(self._call, name[1:])
        return getattr(self.sync_fs, name)
