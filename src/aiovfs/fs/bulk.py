"""The operations on many files: `_cat`, `_cat_ranges`, `_pipe`, `_get`, `_put`, `_copy`, `_rm`.

All of them expand what they were given to a list of files and run one coroutine per file through `window`, which bounds
how many are in flight, makes them as their turn comes, and keeps order. On a synchronous caller's thread (see
`_loop.caller`) the files are done one after the other, in place. The rules by which names are expanded and targets are
built are fsspec's ("copying files and directories" in its documentation), with its own helpers where they are public.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio
import fsspec.asyn
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.utils import other_paths

from aiovfs._loop.caller import in_caller
from aiovfs.aio import disk

__all__ = ["Bulk", "batch_size_of", "window"]

T = TypeVar("T")


async def window(
    calls: Sequence[Callable[[], Awaitable[Any]]],
    *,
    size: int,
    return_exceptions: bool = False,
    on_done: Callable[[], Any] | None = None,
) -> list[Any]:
    """Await `calls`, at most `size` at a time (-1: all), and return their results in order.

    The first failure stops the rest and is raised, or, with `return_exceptions`, stands in its result's place.
    `on_done` is called after each.
    """
    results: list[Any] = [None] * len(calls)
    pending = iter(enumerate(calls))
    failure: list[Exception] = []

    async def work(stop: Callable[[], None]) -> None:
        for index, call in pending:
            try:
                results[index] = await call()
            except Exception as exc:
                if not return_exceptions:
                    failure.append(exc)
                    stop()
                    return
                results[index] = exc
            if on_done is not None:
                on_done()

    if in_caller() or len(calls) == 1:
        await work(lambda: None)
    else:
        async with anyio.create_task_group() as group:
            for _ in range(len(calls) if size < 0 else min(size, len(calls))):
                group.start_soon(work, group.cancel_scope.cancel)
    if failure:
        raise failure[0]
    return results


def batch_size_of(fs: Any, given: int | None, *, nofiles: bool) -> int:
    """How many at a time: the argument, else the instance's, else what fsspec is configured to."""
    size = given or fs.batch_size
    if size:
        return int(size)
    default = getattr(fsspec.asyn, "_get_batch_size", None)
    return int(default(nofiles=nofiles)) if default is not None else 128


class Bulk:
    """Mixin before `fsspec.asyn.AsyncFileSystem`."""

    batch_size: int | None
    _strip_protocol: Any
    _expand_path: Any
    _isdir: Any
    _cat_file: Any
    _pipe_file: Any
    _get_file: Any
    _put_file: Any
    _cp_file: Any
    _rm_file: Any
    _rmdir: Any
    _makedirs: Any

    async def _cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Contents by path; the bytes alone when `path` is one literal name."""
        names = await self._expand_path(path, recursive=recursive)
        results = await window(
            [partial(self._cat_file, name, **kwargs) for name in names],
            size=batch_size_of(self, batch_size, nofiles=True),
            return_exceptions=on_error != "raise",
        )
        if len(names) == 1 and isinstance(path, str) and names[0] == self._strip_protocol(path):
            return results[0]
        return {
            name: result
            for name, result in zip(names, results, strict=True)
            if on_error != "omit" or not isinstance(result, Exception)
        }

    async def _cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """One result per (path, start, end), in order. `max_gap` is accepted; ranges are not merged."""
        if not isinstance(paths, list):
            raise TypeError(f"paths is a list of names, not {type(paths).__name__}")
        starts = list(starts) if isinstance(starts, Iterable) else [starts] * len(paths)
        ends = list(ends) if isinstance(ends, Iterable) else [ends] * len(paths)
        if not len(starts) == len(ends) == len(paths):
            raise ValueError(f"{len(paths)} paths, {len(starts)} starts and {len(ends)} ends do not match")
        return await window(
            [
                partial(self._cat_file, path, start=start, end=end, **kwargs)
                for path, start, end in zip(paths, starts, ends, strict=True)
            ],
            size=batch_size_of(self, batch_size, nofiles=True),
            return_exceptions=on_error == "return",
        )

    async def _pipe(self, path: Any, value: Any = None, batch_size: int | None = None, **kwargs: Any) -> None:
        """Write one file, or each of a mapping."""
        contents: Mapping[str, Any] = {path: value} if isinstance(path, str) else path
        await window(
            [partial(self._pipe_file, name, content, **kwargs) for name, content in contents.items()],
            size=batch_size_of(self, batch_size, nofiles=True),
        )

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Remove files, then, with `recursive`, the directories, deepest first."""
        names = await self._expand_path(path, recursive=recursive, maxdepth=maxdepth)
        directories = [name for name in names if await self._isdir(name)] if recursive else []
        gone = set(directories)
        await window(
            [partial(self._rm_file, name, **kwargs) for name in names if name not in gone],
            size=batch_size_of(self, batch_size, nofiles=True),
        )
        for name in sorted(directories, key=lambda name: name.count("/"), reverse=True):
            await self._rmdir(name)

    async def _copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        on_error: str | None = None,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy inside the file system. With `recursive`, what vanishes meanwhile is passed over, unless "raise"."""
        on_error = on_error or ("ignore" if recursive else "raise")
        if isinstance(path1, list) and isinstance(path2, list):
            sources, targets = path1, path2
        else:
            sources = await self._sources(path1, recursive, maxdepth)
            if not sources:
                return
            is_directory = isinstance(path2, str) and (path2.endswith("/") or await self._isdir(path2))
            targets = targets_of(sources, path1, path2, is_directory=is_directory)
        results = await window(
            [partial(self._cp_file, old, new, **kwargs) for old, new in zip(sources, targets, strict=True)],
            size=batch_size_of(self, batch_size, nofiles=True),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, Exception) and not (on_error == "ignore" and isinstance(result, FileNotFoundError)):
                raise result

    async def _get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Copy to local files. No name in a listing can lead outside `lpath`."""
        if isinstance(rpath, list) and isinstance(lpath, list):
            sources, targets = rpath, lpath
        else:
            sources = await self._sources(rpath, recursive, maxdepth)
            if not sources:
                return []
            lpath = make_path_posix(lpath)
            is_directory = isinstance(lpath, str) and (lpath.endswith("/") or await disk.run(os.path.isdir, lpath))
            given = self._strip_protocol(rpath) + "/" * rpath.endswith("/") if isinstance(rpath, str) else rpath
            targets = targets_of(sources, given, lpath, is_directory=is_directory)
            if isinstance(lpath, str):
                check_below(lpath, targets)
        await disk.run(make_parents, targets)
        callback.set_size(len(targets))
        get_file = callback.branch_coro(self._get_file)
        return await window(
            [partial(get_file, remote, local, **kwargs) for remote, local in zip(sources, targets, strict=True)],
            size=batch_size_of(self, batch_size, nofiles=False),
            on_done=partial(callback.relative_update, 1),
        )

    async def _put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Copy local files here."""
        if isinstance(lpath, list) and isinstance(rpath, list):
            sources, targets = lpath, rpath
        else:
            lpath = make_path_posix(lpath)
            sources = await disk.run(local_sources, lpath, recursive, maxdepth)
            if not sources:
                return []
            is_directory = isinstance(rpath, str) and (rpath.endswith("/") or await self._isdir(rpath))
            targets = targets_of(sources, lpath, self._strip_protocol(rpath), is_directory=is_directory)
        directories = await disk.run(lambda: {local for local in sources if os.path.isdir(local)})
        pairs = list(zip(sources, targets, strict=True))
        for local, remote in pairs:
            if local in directories:
                await self._makedirs(remote, exist_ok=True)
        files = [pair for pair in pairs if pair[0] not in directories]
        callback.set_size(len(files))
        put_file = callback.branch_coro(self._put_file)
        return await window(
            [partial(put_file, local, remote, **kwargs) for local, remote in files],
            size=batch_size_of(self, batch_size, nofiles=False),
            on_done=partial(callback.relative_update, 1),
        )

    async def _sources(self, given: Any, recursive: bool, maxdepth: int | None) -> list[str]:
        names: list[str] = await self._expand_path(given, recursive=recursive, maxdepth=maxdepth)
        if isinstance(given, str) and (not recursive or maxdepth is not None):
            # A pattern does not copy the directories that it matches.
            names = [name for name in names if not (name.endswith("/") or await self._isdir(name))]
        return names


def targets_of(sources: list[str], given: Any, target: Any, *, is_directory: bool) -> list[str]:
    """Where each of `sources` goes, which `given` expanded to; `is_directory`: `target` is one or ends with a slash."""
    is_name = isinstance(given, str)
    is_pattern = is_name and has_magic(given)
    into = len(sources) == 1 if is_pattern else is_name and is_directory and not given.endswith("/")
    targets: list[str] = other_paths(sources, target, exists=into, flatten=not is_name)
    return targets


def local_sources(given: Any, recursive: bool, maxdepth: int | None) -> list[str]:
    """The local files that a name, pattern or list of names stands for."""
    local = LocalFileSystem()
    names: list[str] = local.expand_path(given, recursive=recursive, maxdepth=maxdepth)
    if isinstance(given, str) and (not recursive or maxdepth is not None):
        names = [name for name in names if not (name.endswith("/") or os.path.isdir(name))]
    return names


def check_below(root: str, names: Iterable[str]) -> None:
    """`ValueError` when one of the local `names` lies outside `root`."""
    top = os.path.abspath(root)
    for name in names:
        full = os.path.abspath(name)
        if full != top and os.path.commonpath((top, full)) != top:
            raise ValueError(f"{name!r} would be written outside of {root!r}; the listing has a name with '..'")


def make_parents(names: Iterable[str]) -> None:
    """Make the local directories that `names` are in."""
    for parent in {os.path.dirname(name) for name in names}:
        os.makedirs(parent or ".", exist_ok=True)
