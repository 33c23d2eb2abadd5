"""`AsyncFileSystem`: fsspec's contract, with its faults mended.

It is an instance of fsspec's class, as pandas, pyarrow, Dask, Ray and zarr ask for, and keeps its coroutines under
their names. What differs:

- the synchronous methods are those of `facade`, written out below; a class that brings more coroutines gets theirs when
  it is defined (`mirror`), not with every instance;
- an instance made with `asynchronous=True` is cached per running loop, not per thread: two runs of `asyncio.run` never
  share a session. An instance without is safe to use in a forked child, also one with a loop of the parent's;
- synchronous calls of a class may be spread over several loops by calling thread (`loop_per_thread`);
- bulk operations run on Trio too, and file by file; see `bulk`;
- `exists`, `isdir` and `isfile` answer False only when the file is not there; any other failure is raised.
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from fsspec.asyn import AsyncFileSystem as FsspecAsyncFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import tokenize

from aiovfs import aio
from aiovfs._loop.companion import (
    companion,
    companion_of_thread,
    current_asyncio_loop,
    current_loop,
    has_ended,
    is_usable,
)
from aiovfs.fs.bulk import Bulk, is_default
from aiovfs.fs.facade import blocking, blocking_iterator
from aiovfs.fs.local_files import replacing
from aiovfs.fs.mirror import mirror
from aiovfs.fs.opening import Opening
from aiovfs.fs.walking import NOT_THERE, Walking

__all__ = ["METHODS", "AsyncFileSystem"]

_Cached: type = type(FsspecAsyncFileSystem)

METHODS = (
    "info",
    "ls",
    "exists",
    "lexists",
    "isfile",
    "isdir",
    "size",
    "sizes",
    "created",
    "modified",
    "find",
    "glob",
    "du",
    "walk",
    "iter_ls",
    "iter_find",
    "iter_glob",
    "expand_path",
    "cat",
    "cat_file",
    "cat_ranges",
    "pipe",
    "pipe_file",
    "get",
    "get_file",
    "put",
    "put_file",
    "copy",
    "cp_file",
    "mv",
    "mv_file",
    "rm",
    "rm_file",
    "mkdir",
    "makedirs",
    "rmdir",
    "touch",
)
"""The methods of the synchronous face. What `eager` may hold, with an underscore in front."""

PIECE = 8 << 20
"""Bytes that `_get_file` reads at a time, where a class does not have its own."""


class _CachedPerLoop(_Cached):  # type: ignore[misc]
    """fsspec's instance cache, with the running loop in the place of the thread."""

    _by_loop: ClassVar[weakref.WeakKeyDictionary[object, dict[Any, Any]]] = weakref.WeakKeyDictionary()

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        loop = current_loop() if kwargs.get("asynchronous") else None
        if not kwargs.get("asynchronous") or kwargs.get("skip_instance_cache") or not cls.cachable:
            return super().__call__(*args, **kwargs)
        if loop is None:
            # No loop yet: it will be used on one that is not known, so it cannot be shared.
            return super().__call__(*args, **{**kwargs, "skip_instance_cache": True})
        if loop not in cls._by_loop:
            # What an instance has open knows its loop, so neither would ever go by itself.
            for ended in [each for each in cls._by_loop if has_ended(each)]:
                del cls._by_loop[ended]
        instances = cls._by_loop.setdefault(loop, {})
        made = super().__call__(*args, **{**kwargs, "skip_instance_cache": True})
        return instances.setdefault((cls, made._fs_token_), made)


class AsyncFileSystem(Bulk, Walking, Opening, FsspecAsyncFileSystem, metaclass=_CachedPerLoop):  # type: ignore[misc]
    """Base of our file systems, and of yours. Implement the coroutines that fsspec's documentation names.

    On Trio these may use AnyIO only; say so by `runs_anywhere = True`.
    """

    is_contract = True  # what is written here is a default, not something that a class can do
    mirror_sync_methods = False
    runs_anywhere: ClassVar[bool] = False
    """The coroutines use no asyncio and keep nothing that belongs to one loop: they run on Trio, on any loop."""
    loop_per_thread: ClassVar[bool] = False
    """Calling threads use different loops, of a few. For classes that keep nothing that belongs to one loop, and whose
    work on the loop lets go of the interpreter's lock; others only get in their own way."""
    eager: ClassVar[frozenset[str]] = frozenset()
    """Coroutine methods that keep the rule of `_loop.caller`, so that synchronous callers run them in place. A class
    derived from one with `eager` methods, which replaces some, says anew which are."""

    def __init__(
        self, *args: Any, asynchronous: bool = False, loop: Any = None, batch_size: int | None = None, **kwargs: Any
    ) -> None:
        # fsspec would start its I/O thread for a synchronous instance; ours starts when something waits.
        super().__init__(*args, asynchronous=True, batch_size=batch_size, **kwargs)
        self.asynchronous = asynchronous
        self._loop = loop
        home = current_asyncio_loop() if asynchronous and loop is None else None
        self._home = None if home is None else weakref.ref(home)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        mirror(cls, AsyncFileSystem)

    @property
    def loop(self) -> Any:
        """The asyncio loop that synchronous calls use; None for an asynchronous instance.

        In a forked child it is one of the child's, also for an instance that was given a loop of the parent's.
        """
        if self.asynchronous:
            return None
        own = self._loop
        return own if own is not None and self._pid == os.getpid() else companion().loop

    def _loop_for_calls(self) -> Any:
        """Where a call of the synchronous face runs.

        What an asynchronous instance has open belongs to the loop that it was made on. While that runs, in another
        thread than the caller's, the call goes there; afterwards the class must be one that runs anywhere.
        """
        own = self._loop
        if own is not None and self._pid == os.getpid():
            return own
        if self.loop_per_thread:
            return companion_of_thread().loop
        if self.runs_anywhere:
            return companion().loop
        if self._home is not None and self._pid == os.getpid():
            home = self._home()
            if home is None or not is_usable(home):
                raise RuntimeError(
                    f"{type(self).__name__} was made with asynchronous=True on a loop that has ended; "
                    "make another one, or leave out asynchronous=True for use from blocking code"
                )
            return home
        return companion().loop

    @classmethod
    def clear_instance_cache(cls) -> None:
        """Forget the instances of this class: those without a loop, and those of every loop."""
        super().clear_instance_cache()
        for instances in list(cls._by_loop.values()):
            for key in [key for key in instances if key[0] is cls]:
                del instances[key]

    def __dask_tokenize__(self) -> str:
        """The same in every process, unlike `_fs_token`, which has the process's number in it."""
        cls = type(self)
        return str(tokenize(f"{cls.__module__}.{cls.__qualname__}", *self.storage_args, **self.storage_options))

    def __dir__(self) -> list[str]:
        return sorted(set(super().__dir__()))

    # The derived coroutines

    async def _exists(self, path: str, **kwargs: Any) -> bool:
        try:
            await self._info(path, **kwargs)
        except NOT_THERE:
            return False
        return True

    async def _isfile(self, path: str) -> bool:
        try:
            return bool((await self._info(path))["type"] == "file")
        except NOT_THERE:
            return False

    async def _isdir(self, path: str) -> bool:
        try:
            return bool((await self._info(path))["type"] == "directory")
        except NOT_THERE:
            return False

    async def _lexists(self, path: str, **kwargs: Any) -> bool:
        return await self._exists(path, **kwargs)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        if is_default(self, "_rm"):
            raise NotImplementedError(f"{type(self).__name__} implements neither _rm_file nor _rm")
        await self._rm(path, recursive=False, batch_size=1, **kwargs)

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Read and write; for stores that can copy by themselves, override it."""
        if await self._isdir(path1):
            await self._makedirs(path2, exist_ok=True)
            return
        await self._pipe_file(path2, await self._cat_file(path1), **kwargs)

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        """Read by ranges into a local file, or something with `write`; what fails leaves the local file as it was."""
        if hasattr(lpath, "write"):
            async with contextlib.aclosing(self._pieces(rpath, callback)) as pieces:
                async for piece in pieces:
                    lpath.write(piece)
            return
        if await self._isdir(rpath):
            await aio.run(partial(os.makedirs, lpath, exist_ok=True))
            return
        async with replacing(os.fspath(lpath)) as target, contextlib.aclosing(self._pieces(rpath, callback)) as pieces:
            async for piece in pieces:
                await aio.run(target.file.write, piece)

    async def _pieces(self, path: str, callback: Any) -> AsyncGenerator[bytes, None]:
        size = (await self._info(path))["size"]
        if size is None:
            yield await self._cat_file(path)
            return
        callback.set_size(size)
        position = 0
        while position < size:
            piece = await self._cat_file(path, start=position, end=min(position + PIECE, size))
            if not piece:
                raise OSError(errno.EIO, f"the file ended after {position} of {size} bytes", path)
            position += len(piece)
            callback.relative_update(len(piece))
            yield piece

    async def _put_file(
        self, lpath: Any, rpath: str, mode: str = "overwrite", callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> None:
        """Read the local file and write it in one piece; where there are uploads by parts, override it."""
        if await aio.run(os.path.isdir, lpath):
            await self._makedirs(rpath, exist_ok=True)
            return
        content = await aio.run(Path(lpath).read_bytes)
        callback.set_size(len(content))
        if mode != "overwrite":
            kwargs["mode"] = mode  # the plainest `_pipe_file` knows no modes
        await self._pipe_file(rpath, content, **kwargs)
        callback.relative_update(len(content))

    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        if not truncate and await self._exists(path):
            raise NotImplementedError("this file system cannot change times alone")
        await self._pipe_file(path, b"")

    async def _rmdir(self, path: str) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not implement _rmdir")

    async def _created(self, path: str) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not implement _created")

    async def _modified(self, path: str) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not implement _modified")

    async def _mv_file(self, path1: str, path2: str) -> None:
        """A copy, then a removal. A file that is moved to itself stays; fsspec's would remove it."""
        if self._strip_protocol(path1) == self._strip_protocol(path2):
            await self._info(path1)
            return
        await self._cp_file(path1, path2)
        await self._rm_file(path1)

    # The synchronous face

    info = blocking("_info")
    ls = blocking("_ls")
    exists = blocking("_exists")
    lexists = blocking("_lexists")
    isfile = blocking("_isfile")
    isdir = blocking("_isdir")
    size = blocking("_size")
    sizes = blocking("_sizes")
    created = blocking("_created")
    modified = blocking("_modified")
    find = blocking("_find")
    glob = blocking("_glob")
    du = blocking("_du")
    walk = blocking_iterator("_walk")
    iter_ls = blocking_iterator("_iter_ls")
    iter_find = blocking_iterator("_iter_find")
    iter_glob = blocking_iterator("_iter_glob")
    expand_path = blocking("_expand_path")
    cat = blocking("_cat")
    cat_file = blocking("_cat_file")
    cat_ranges = blocking("_cat_ranges")
    pipe = blocking("_pipe")
    pipe_file = blocking("_pipe_file")
    get = blocking("_get")
    get_file = blocking("_get_file")
    put = blocking("_put")
    put_file = blocking("_put_file")
    copy = blocking("_copy")
    cp_file = blocking("_cp_file")
    mv = blocking("_mv")
    mv_file = blocking("_mv_file")
    rm = blocking("_rm")
    rm_file = blocking("_rm_file")
    mkdir = blocking("_mkdir")
    makedirs = blocking("_makedirs")
    rmdir = blocking("_rmdir")
    touch = blocking("_touch")
