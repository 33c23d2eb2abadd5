"""Listings of trees: `_walk`, `_find`, `_glob`, `_du`; as streams `_iter_ls`, `_iter_find`, `_iter_glob`.

What is specified, beyond fsspec's own words ("find", "glob" and "walk" in its documentation):

- a failure is raised: no part of a tree is left out because a server did not answer. Only what is *not there* is left
  out: the top (nothing is found, as from `os.walk`), and a directory that was removed while the tree was read.
  `on_error="omit"`, or a function, says otherwise, for whoever wants that;
- `_find` and `_du` list several directories at once; `_walk` one after the other, since its caller may prune;
- the streaming forms yield infos as they arrive, in no particular order, and hold no more than the directories that are
  still to be read. A backend whose listings come in pages overrides `_iter_ls`, or `_iter_find` where it can list a
  whole tree at once, and all of these stream;
- `_glob` asks only below the part of the pattern without wildcards, and tells backends how the names there begin
  (`prefix=`; for that directory alone).
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

from fsspec.core import has_magic
from fsspec.utils import glob_translate

from aiovfs.fs.bulk import is_default
from aiovfs.fs.concurrency import batch_size_of, pace_of, window

__all__ = ["NOT_THERE", "GlobPlan", "Walking", "plan_glob"]

NOT_THERE = (FileNotFoundError, NotADirectoryError)

LISTED_AT_ONCE = 32
"""Directories that `_find` lists at the same time."""

OnError = str | Callable[[OSError], Any]


class GlobPlan(NamedTuple):
    """What a pattern asks for: everything below `root`, `depth` levels deep (None: all), whose name matches."""

    root: str
    prefix: str
    depth: int | None
    pattern: re.Pattern[str]
    ends_with_slash: bool

    def matches(self, info: Mapping[str, Any]) -> bool:
        """Whether the entry is one that the pattern means."""
        name = info["name"]
        if self.ends_with_slash and info["type"] == "directory":
            name += "/"
        return self.pattern.match(name) is not None


def plan_glob(path: str, *, is_directory_pattern: bool, maxdepth: int | None = None) -> GlobPlan:
    """Take a pattern apart; `path` without its protocol and closing slash, which `is_directory_pattern` stands for."""
    first = min((path.index(each) for each in "*?[" if each in path), default=len(path))
    cut = path[:first].rfind("/") + 1
    depth: int | None = path[cut:].count("/") + 1
    if "**" in path:
        assert depth is not None
        depth = None if maxdepth is None else depth - path[path.index("**") :].count("/") - 1 + maxdepth
    return GlobPlan(
        path[:cut],
        path[cut:first],
        depth,
        re.compile(glob_translate(path + "/" * is_directory_pattern)),
        is_directory_pattern or path.endswith("/**"),
    )


class Walking:
    """Mixin before `fsspec.asyn.AsyncFileSystem`."""

    is_contract = True
    _strip_protocol: Any
    _info: Any
    _isdir: Any
    _isfile: Any
    _exists: Any
    _ls: Any

    async def _iter_ls(self, path: str, **kwargs: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The infos of what is in a directory, as they arrive."""
        for info in await self._ls(path, detail=True, **kwargs):
            yield info

    async def _walk(
        self, path: str, maxdepth: int | None = None, topdown: bool = True, on_error: OnError = "raise", **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        """For each directory its path, the directories and the files in it: names, or with `detail` infos by name.

        Top down, the caller may take names out of the second to have them passed over. `on_error`: "raise", "omit"
        (as fsspec's default), or a function that is called with the error.
        """
        check_depth(maxdepth)
        detail = kwargs.pop("detail", False)
        pending: list[tuple[str, int, Any]] = [(self._strip_protocol(path), 1, None)]
        while pending:
            directory, depth, ready = pending.pop()
            if ready is not None:
                yield ready
                continue
            try:
                listing = await self._ls(directory, detail=True, **kwargs)
            except OSError as exc:
                if not passed_over(exc, on_error, is_top=depth == 1):
                    raise
                if on_error != "raise":
                    yield (directory, {}, {}) if detail else (directory, [], [])
                continue
            directories: dict[str, Any] = {}
            files: dict[str, Any] = {}
            for info in listing:
                full = info["name"].rstrip("/")
                name = full.rpartition("/")[2]
                if info["type"] == "directory" and full != directory:
                    directories[name] = info
                elif full != directory or info["type"] != "directory":
                    files[name] = info
            item = (directory, directories, files) if detail else (directory, list(directories), list(files))
            if topdown:
                yield item
            below: list[str] | Mapping[str, Any] = item[1]  # the caller may have pruned it
            if not topdown:
                pending.append((directory, depth, item))
            if maxdepth is None or depth < maxdepth:
                pending += [(directories[name]["name"].rstrip("/"), depth + 1, None) for name in reversed(list(below))]

    async def _iter_find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        on_error: OnError = "raise",
        **kwargs: Any,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The infos of all files below `path`, and with `withdirs` of it and its directories, as they arrive."""
        check_depth(maxdepth)
        top: str = self._strip_protocol(path)
        kwargs_below = {name: value for name, value in kwargs.items() if name != "prefix"}
        is_empty = True
        if withdirs and top != "" and await self._isdir(top):
            is_empty = False
            yield {**await self._info(top), "type": "directory"}  # web servers' look like files
        pending = [(top, 1)]
        while pending:
            now, pending = pending[:LISTED_AT_ONCE], pending[LISTED_AT_ONCE:]
            below: list[tuple[str, int]] = []
            # Each generator is closed by the one around it: Trio complains when that is left to the garbage collector.
            async with aclosing(self._listings(now, on_error, kwargs if now[0][1] == 1 else kwargs_below)) as entries:
                async for directory, depth, info in entries:
                    is_directory = info["type"] == "directory"
                    name = info["name"].rstrip("/")
                    if is_directory and name == directory:
                        continue  # some list the directory among its entries
                    if is_directory and (maxdepth is None or depth < maxdepth):
                        below.append((name, depth + 1))
                    if withdirs or not is_directory:
                        is_empty = False
                        yield info
            pending = below + pending
        if is_empty and await self._isfile(top):
            yield await self._info(top)

    async def _listings(
        self, directories: list[tuple[str, int]], on_error: OnError, kwargs: dict[str, Any]
    ) -> AsyncGenerator[tuple[str, int, dict[str, Any]], None]:
        """What is in each of the directories. One is streamed; several are listed at once."""
        if len(directories) == 1:
            directory, depth = directories[0]
            try:
                async with aclosing(self._iter_ls(directory, **kwargs)) as infos:
                    async for info in infos:
                        yield directory, depth, info
            except OSError as exc:
                if not passed_over(exc, on_error, is_top=depth == 1):
                    raise
            return
        listings = await window(
            (partial(self._listing, directory, depth, on_error, kwargs) for directory, depth in directories),
            size=batch_size_of(self, None, nofiles=True),
            pace=pace_of(self),
        )
        for (directory, depth), listing in zip(directories, listings, strict=True):
            for info in listing:
                yield directory, depth, info

    async def _listing(self, directory: str, depth: int, on_error: OnError, kwargs: dict[str, Any]) -> list[Any]:
        try:
            return [info async for info in self._iter_ls(directory, **kwargs)]
        except OSError as exc:
            if not passed_over(exc, on_error, is_top=depth == 1):
                raise
            return []

    async def _find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, **kwargs: Any) -> Any:
        """The names of all files below `path`, sorted; with `detail` their infos by name. A file finds itself."""
        detail = kwargs.pop("detail", False)
        if is_default(self, "_walk"):
            found = {
                info["name"]: info
                async for info in self._iter_find(path, maxdepth=maxdepth, withdirs=withdirs, **kwargs)
            }
        else:
            found = await self._find_by_walk(path, maxdepth, withdirs, kwargs)
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    async def _find_by_walk(
        self, path: str, maxdepth: int | None, withdirs: bool, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """For classes with a walk of their own."""
        top = self._strip_protocol(path)
        found: dict[str, Any] = {}
        if withdirs and top != "" and await self._isdir(top):
            found[top] = await self._info(top)
        async for _, directories, files in self._walk(path, maxdepth, detail=True, **kwargs):
            for info in (*files.values(), *(directories.values() if withdirs else ())):
                found[info["name"]] = info
        if not found and await self._isfile(top):
            found[top] = await self._info(top)
        return found

    async def _iter_glob(
        self, path: str, maxdepth: int | None = None, **kwargs: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The infos of what a pattern matches, as they arrive."""
        check_depth(maxdepth)
        withdirs = kwargs.pop("withdirs", True)
        is_directory_pattern = path.endswith("/")
        stripped: str = self._strip_protocol(path)
        if not has_magic(stripped):
            try:
                found = await self._info(stripped, **kwargs)
            except NOT_THERE:
                return
            yield found
            return
        plan = plan_glob(stripped, is_directory_pattern=is_directory_pattern, maxdepth=maxdepth)
        if plan.prefix:
            kwargs["prefix"] = plan.prefix
        if is_default(self, "_find"):
            entries = self._iter_find(plan.root, maxdepth=plan.depth, withdirs=withdirs, **kwargs)
        else:
            entries = each_of(
                await self._find(plan.root, maxdepth=plan.depth, withdirs=withdirs, detail=True, **kwargs)
            )
        async with aclosing(entries):
            async for info in entries:
                if plan.matches(info):
                    yield info

    async def _glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """The names that a pattern matches, sorted; with `detail` their infos by name. A pattern without wildcards
        matches the name itself, when it is there."""
        detail = kwargs.pop("detail", False)
        found: dict[str, Any] = {}
        if has_magic(path):
            found = {info["name"]: info async for info in self._iter_glob(path, maxdepth=maxdepth, **kwargs)}
        else:
            check_depth(maxdepth)
            name = self._strip_protocol(path)
            async for info in self._iter_glob(path, maxdepth=maxdepth, **kwargs):
                found[name] = info
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    async def _du(
        self, path: str, total: bool = True, maxdepth: int | None = None, withdirs: bool = False, **kwargs: Any
    ) -> Any:
        """The bytes of all files below `path` together, or, without `total`, of each by name."""
        found = await self._find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True, **kwargs)
        sizes = {}
        for name, info in found.items():
            size = info.get("size", 0) if info else (await self._info(name))["size"]
            sizes[name] = size or 0
        return sum(sizes.values()) if total else sizes


async def each_of(found: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """Infos by name, one after the other."""
    for name, info in found.items():
        yield info or {"name": name, "type": "file"}


def check_depth(maxdepth: int | None) -> None:
    """`ValueError` for a depth that reaches nothing."""
    if maxdepth is not None and maxdepth < 1:
        raise ValueError(f"maxdepth must be at least 1, not {maxdepth}")


def passed_over(exc: OSError, on_error: OnError, *, is_top: bool) -> bool:
    """Whether a directory that cannot be listed is left out; a function is told."""
    if callable(on_error):
        on_error(exc)
        return True
    return on_error == "omit" or (on_error == "raise" and isinstance(exc, NOT_THERE))
