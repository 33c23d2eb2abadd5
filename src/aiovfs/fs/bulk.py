"""The operations on many files: `_cat`, `_cat_ranges`, `_pipe`, `_get`, `_put`, `_copy`, `_rm`.

All of them expand what they were given to a list of files and run one coroutine per file through
`concurrency.window`, which bounds how many are in flight, makes them as their turn comes, keeps order, and slows down
while a server pushes back. On a synchronous caller's thread (see `_loop.caller`) the files are done one after the
other, in place. The rules by which names are expanded and targets are built are fsspec's ("copying files and
directories" in its documentation), with its own helpers where they are public.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import fsspec.asyn
from fsspec import AbstractFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.utils import other_paths

from aiovfs import aio
from aiovfs.fs.concurrency import batch_size_of, pace_of, window
from aiovfs.fs.ranges import ByteRange, merge

__all__ = ["Bulk"]

MAX_MERGED = 64 << 20
"""Bytes of the largest request that `cat_ranges` makes out of several ranges."""


class Bulk:
    """Mixin before `fsspec.asyn.AsyncFileSystem`."""

    is_contract = True  # what is written here is a default, not something that a class can do
    batch_size: int | None
    _strip_protocol: Any
    _expand_path: Any
    _isdir: Any
    _size: Any
    _cat_file: Any
    _pipe_file: Any
    _get_file: Any
    _put_file: Any
    _cp_file: Any
    _mv_file: Any
    _rm_file: Any
    _rmdir: Any
    _makedirs: Any
    _exists: Any
    _find: Any

    async def _in_window(
        self,
        calls: Iterable[Callable[[], Any]],
        batch_size: int | None,
        *,
        nofiles: bool = True,
        return_exceptions: bool = False,
        on_done: Callable[[], Any] | None = None,
    ) -> list[Any]:
        return await window(
            calls,
            size=batch_size_of(self, batch_size, nofiles=nofiles),
            return_exceptions=return_exceptions,
            on_done=on_done,
            pace=pace_of(self),
        )

    async def _cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Contents by path; the bytes alone when `path` is one literal name.

        `on_error`: "raise" the first failure and stop the rest, "return" each in the place of its content, or "omit".
        """
        names = await self._expand_path(path, recursive=recursive)
        results = await self._in_window(
            (partial(self._cat_file, name, **kwargs) for name in names),
            batch_size,
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
        """One result per (path, start, end), in order; failures stand among them, unless `on_error="raise"`.

        With `max_gap`, ranges of one file that are at most so many bytes apart (0: that touch or overlap) are fetched
        as one, up to `MAX_MERGED` bytes, and each gets its part; a failure is then one of all that were joined. Bounds
        that count from the end of a file, or are not given, cannot be compared and are fetched alone.
        """
        if not isinstance(paths, list):
            raise TypeError(f"paths is a list of names, not {type(paths).__name__}")
        starts = list(starts) if isinstance(starts, Iterable) else [starts] * len(paths)
        ends = list(ends) if isinstance(ends, Iterable) else [ends] * len(paths)
        if not len(starts) == len(ends) == len(paths):
            raise ValueError(f"{len(paths)} paths, {len(starts)} starts and {len(ends)} ends do not match")
        wanted = list(zip(paths, starts, ends, strict=True))
        fetches = [Fetch(path, start, end, [index]) for index, (path, start, end) in enumerate(wanted)]
        if max_gap is not None:
            fetches = joined(fetches, max_gap)
        fetched = await self._in_window(
            (partial(self._cat_file, each.path, start=each.start, end=each.end, **kwargs) for each in fetches),
            batch_size,
            return_exceptions=on_error == "return",
        )
        results: list[Any] = [b""] * len(paths)
        for fetch, content in zip(fetches, fetched, strict=True):
            for index in fetch.for_whom:
                if len(fetch.for_whom) == 1 or isinstance(content, Exception):
                    results[index] = content
                else:
                    start = wanted[index][1] or 0
                    results[index] = bytes(
                        memoryview(content)[start - fetch.start : max(start, wanted[index][2]) - fetch.start]
                    )
        return results

    async def _sizes(self, paths: list[str], batch_size: int | None = None) -> list[Any]:
        """The size of each path, in order."""
        return await window(
            [partial(self._size, path) for path in paths], size=batch_size_of(self, batch_size, nofiles=True)
        )

    async def _pipe(self, path: Any, value: Any = None, batch_size: int | None = None, **kwargs: Any) -> None:
        """Write one file, or each of a mapping."""
        contents: Mapping[str, Any] = {path: value} if isinstance(path, str) else path
        await self._in_window(
            (partial(self._pipe_file, name, content, **kwargs) for name, content in contents.items()), batch_size
        )

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Remove files, then, with `recursive`, the directories, deepest first.

        A class without `_rmdir` gets its directories through `_rm_file`, as from fsspec; where directories are only
        prefixes, and went with their last file, that they are not there is no error.
        """
        kinds = await self._expand_kinds(path, recursive=recursive, maxdepth=maxdepth)
        directories = await self._directories_among(kinds, batch_size) if recursive else set()
        await self._in_window(
            (partial(self._rm_file, name, **kwargs) for name in kinds if name not in directories), batch_size
        )
        await self._remove_directories(directories, batch_size, **kwargs)

    async def _remove_directories(self, directories: Iterable[str], batch_size: int | None, **kwargs: Any) -> None:
        has_rmdir = not is_default(self, "_rmdir")

        async def remove_directory(name: str) -> None:
            if has_rmdir:
                await self._rmdir(name)
                return
            try:
                await self._rm_file(name, **kwargs)
            except FileNotFoundError:
                pass

        by_depth: dict[int, list[str]] = {}
        for name in directories:
            by_depth.setdefault(name.rstrip("/").count("/"), []).append(name)
        for depth in sorted(by_depth, reverse=True):
            await self._in_window((partial(remove_directory, name) for name in sorted(by_depth[depth])), batch_size)

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
            sources = list(await self._sources(path1, recursive, maxdepth))
            if not sources:
                return
            is_directory = isinstance(path2, str) and (path2.endswith("/") or await self._isdir(path2))
            targets = targets_of(sources, path1, path2, is_directory=is_directory)
        results = await self._in_window(
            (partial(self._cp_file, old, new, **kwargs) for old, new in zip(sources, targets, strict=True)),
            batch_size,
            return_exceptions=on_error != "raise",
        )
        for result in results:
            if isinstance(result, Exception) and not (on_error == "ignore" and isinstance(result, FileNotFoundError)):
                raise result

    async def _mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Move inside the file system, file by file, by `_mv_file`.

        A directory needs `recursive`. What is removed is what was moved: a file that comes into the source meanwhile
        stays, and its directory with it. Raises `ValueError` for a target inside the source.
        """
        batch_size = kwargs.pop("batch_size", None)
        if isinstance(path1, list) and isinstance(path2, list):
            kinds, sources, targets = dict.fromkeys(path1), path1, path2
        else:
            kinds = await self._sources(path1, recursive, maxdepth)
            if not kinds and isinstance(path1, str) and not has_magic(path1):
                raise IsADirectoryError(errno.EISDIR, "it is a directory; recursive=True moves it", path1)
            sources = list(kinds)
            if isinstance(path1, str) and isinstance(path2, str):
                source, target = self._strip_protocol(path1), self._strip_protocol(path2)
                if recursive and f"{target}/".startswith(f"{source}/") and target != source:
                    raise ValueError(f"{path1!r} cannot be moved into itself, to {path2!r}")
            is_directory = isinstance(path2, str) and (path2.endswith("/") or await self._isdir(path2))
            targets = targets_of(sources, path1, path2, is_directory=is_directory)
        stripped = [self._strip_protocol(each) for each in targets]
        pairs = [(old, new) for old, new in zip(sources, stripped, strict=True) if old != new]
        directories = await self._directories_among(kinds, batch_size) if recursive else set()
        await self._in_window(
            (partial(self._makedirs, new, exist_ok=True) for old, new in pairs if old in directories), batch_size
        )
        await self._in_window(
            (partial(self._mv_file, old, new, **kwargs) for old, new in pairs if old not in directories), batch_size
        )
        await self._remove_directories([old for old, _ in pairs if old in directories], batch_size)

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
        """Copy to local files. No name in a listing can lead outside `lpath`.

        `callback` is told the number of files and of each that is done, and branched for each file's own bytes.
        """
        directories: set[str] = set()
        if isinstance(rpath, list) and isinstance(lpath, list):
            sources, targets = rpath, lpath
        else:
            kinds = await self._sources(rpath, recursive, maxdepth)
            if not kinds:
                return []
            sources = list(kinds)
            directories = {name for name, kind in kinds.items() if kind == "directory"}
            lpath = make_path_posix(lpath)
            is_directory = isinstance(lpath, str) and (lpath.endswith("/") or await aio.run(os.path.isdir, lpath))
            given = self._strip_protocol(rpath) + "/" * rpath.endswith("/") if isinstance(rpath, str) else rpath
            targets = targets_of(sources, given, lpath, is_directory=is_directory)
            if isinstance(lpath, str):
                check_below(lpath, targets)
        pairs = list(zip(sources, targets, strict=True))
        await aio.run(make_directories, [local for remote, local in pairs if remote in directories])
        pairs = [pair for pair in pairs if pair[0] not in directories]
        await aio.run(make_parents, [local for _, local in pairs])
        callback.set_size(len(pairs))
        get_file = callback.branch_coro(self._get_file)
        return await self._in_window(
            (partial(get_file, remote, local, **kwargs) for remote, local in pairs),
            batch_size,
            nofiles=False,
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
            sources = await aio.run(local_sources, lpath, recursive, maxdepth)
            if not sources:
                return []
            is_directory = isinstance(rpath, str) and (rpath.endswith("/") or await self._isdir(rpath))
            targets = targets_of(sources, lpath, self._strip_protocol(rpath), is_directory=is_directory)
        directories = await aio.run(lambda: {local for local in sources if os.path.isdir(local)})
        pairs = list(zip(sources, targets, strict=True))
        await self._in_window(
            (partial(self._makedirs, remote, exist_ok=True) for local, remote in pairs if local in directories),
            batch_size,
        )
        files = [pair for pair in pairs if pair[0] not in directories]
        callback.set_size(len(files))
        put_file = callback.branch_coro(self._put_file)
        return await self._in_window(
            (partial(put_file, local, remote, **kwargs) for local, remote in files),
            batch_size,
            nofiles=False,
            on_done=partial(callback.relative_update, 1),
        )

    async def _sources(self, given: Any, recursive: bool, maxdepth: int | None) -> dict[str, str | None]:
        """The names to copy, with the type of each where the listing told it."""
        kinds = await self._expand_kinds(given, recursive=recursive, maxdepth=maxdepth)
        if isinstance(given, str) and (not recursive or maxdepth is not None):
            # A pattern does not copy the directories that it matches.
            directories = await self._directories_among(kinds, None)
            return {name: kind for name, kind in kinds.items() if not name.endswith("/") and name not in directories}
        return kinds

    async def _expand_kinds(self, given: Any, *, recursive: bool, maxdepth: int | None) -> dict[str, str | None]:
        """As `_expand_path`, with the type of each where the listing told it; None where it did not."""
        patterns = [given] if isinstance(given, str) else given
        if not recursive or not is_default(self, "_expand_path") or any(has_magic(each) for each in patterns):
            return dict.fromkeys(await self._expand_path(given, recursive=recursive, maxdepth=maxdepth))
        kinds: dict[str, str | None] = {}
        for each in patterns:
            name = self._strip_protocol(each)
            found = await self._find(name, maxdepth=maxdepth, withdirs=True, detail=True)
            kinds.update({below: info.get("type") for below, info in found.items()})
            if name not in kinds and await self._exists(name):
                kinds[name] = "directory" if await self._isdir(name) else "file"
        if not kinds:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(given))
        return dict(sorted(kinds.items()))

    async def _directories_among(self, kinds: dict[str, str | None], batch_size: int | None) -> set[str]:
        unknown = [name for name, kind in kinds.items() if kind is None]
        answers = await self._in_window((partial(self._isdir, name) for name in unknown), batch_size)
        known = {name for name, kind in kinds.items() if kind == "directory"}
        return known | {name for name, is_directory in zip(unknown, answers, strict=True) if is_directory}


class Fetch(NamedTuple):
    """One request of `cat_ranges`, and the indices of the ranges that it answers."""

    path: str
    start: Any
    end: Any
    for_whom: list[int]


def joined(fetches: list[Fetch], max_gap: int) -> list[Fetch]:
    """The same ranges in fewer requests: those of one file that are at most `max_gap` bytes apart are one."""
    if max_gap < 0:
        raise ValueError(f"max_gap={max_gap}: ranges cannot be less than 0 bytes apart")
    by_path: dict[str, list[Fetch]] = {}
    alone: list[Fetch] = []
    for fetch in fetches:
        if fetch.end is None or fetch.end < 0 or (fetch.start or 0) < 0:
            alone.append(fetch)
        elif fetch.end > (fetch.start or 0):
            by_path.setdefault(fetch.path, []).append(fetch)
    for path, wanted in by_path.items():
        spans = merge((ByteRange(each.start or 0, each.end) for each in wanted), max_gap=max_gap, max_size=MAX_MERGED)
        starts = [span.start for span in spans]
        answered: list[list[int]] = [[] for _ in spans]
        for each in wanted:
            answered[bisect_right(starts, each.start or 0) - 1] += each.for_whom
        alone += [Fetch(path, span.start, span.end, whom) for span, whom in zip(spans, answered, strict=True)]
    return alone


def is_default(fs: Any, name: str) -> bool:
    """True when the method is the one of the contract: no class below it has its own."""
    owner = next(cls for cls in type(fs).__mro__ if name in vars(cls))
    return owner in (AbstractFileSystem, fsspec.asyn.AsyncFileSystem) or bool(vars(owner).get("is_contract", False))


def targets_of(sources: list[str], given: Any, target: Any, *, is_directory: bool) -> list[str]:
    """Where each of `sources` goes, which `given` expanded to; `is_directory`: `target` is one or ends with a slash."""
    is_name = isinstance(given, str)
    is_pattern = is_name and has_magic(given)
    into = len(sources) == 1 if is_pattern else is_name and is_directory and not given.endswith("/")
    if into and isinstance(target, str) and "/" not in sources[0]:
        # A name at the very top, which fsspec's helper takes for its own directory.
        return [f"{target.rstrip('/')}/{source}" for source in sources]
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


def make_directories(names: Iterable[str]) -> None:
    """Make local directories, and those above them."""
    for name in names:
        os.makedirs(name, exist_ok=True)


def make_parents(names: Iterable[str]) -> None:
    """Make the local directories that `names` are in."""
    for parent in {os.path.dirname(name) for name in names}:
        os.makedirs(parent or ".", exist_ok=True)
