"""The local disk as an fsspec file system. Its store is `local_store.LocalStore`.

All blocking calls go through `aio`: to threads on a loop, in place for a synchronous caller. Names are `str` with
undecodable bytes as surrogate escapes, which Python's own `os` functions take and give.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.implementations.local import LocalFileSystem as FsspecLocalFileSystem

from aiovfs import aio
from aiovfs.fs.base import METHODS, AsyncFileSystem
from aiovfs.fs.facade import blocking
from aiovfs.fs.files import AsyncFile
from aiovfs.fs.local_files import (
    FLAGS,
    LocalReader,
    LocalWriter,
    PendingFile,
    Replacement,
    has_to_be_written_in_place,
    open_in_place,
    replace_content,
    replacement,
)
from aiovfs.fs.local_store import LocalStore
from aiovfs.fs.sources import Writer
from aiovfs.types import Buffer

__all__ = ["LocalFileSystem"]

_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


class LocalFileSystem(AsyncFileSystem):
    """fsspec's interface to the local disk."""

    protocol = ("file", "local")
    root_marker = "/"
    local_file = True
    runs_anywhere = True
    thread_safe = True
    eager = frozenset(f"_{name}" for name in (*METHODS, "chmod", "link", "symlink"))

    def __init__(self, auto_mkdir: bool = False, **kwargs: Any) -> None:
        """`auto_mkdir`: make the directories above a file that is written."""
        super().__init__(**kwargs)
        self.auto_mkdir = auto_mkdir

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return FsspecLocalFileSystem._strip_protocol(path)

    @classmethod
    def _parent(cls, path: str) -> str:
        return os.path.dirname(cls._strip_protocol(path)) or "/"

    @property
    def fsid(self) -> str:
        """The same on every instance of this machine."""
        return "local"

    def make_store(self, root: str, *, read_only: bool = False) -> LocalStore:
        """A store on the directory `root`."""
        return LocalStore(self, self._strip_protocol(root or "/"), read_only=read_only)

    async def _info(self, path: Any, **kwargs: Any) -> dict[str, Any]:
        return await aio.run(facts, self._strip_protocol(path))

    async def _ls(self, path: Any, detail: bool = False, **kwargs: Any) -> list[Any]:
        found = await aio.run(listing, self._strip_protocol(path))
        return found if detail else [each["name"] for each in found]

    async def _exists(self, path: Any, **kwargs: Any) -> bool:
        return await aio.run(_is_there, os.stat, self._strip_protocol(path))

    async def _lexists(self, path: Any, **kwargs: Any) -> bool:
        return await aio.run(_is_there, os.lstat, self._strip_protocol(path))

    async def _cat_file(self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        return await aio.run(read_range, self._strip_protocol(path), start, end)

    async def _pipe_file(self, path: Any, value: Buffer, mode: str = "overwrite", **kwargs: Any) -> None:
        name = self._strip_protocol(path)
        await self._make_parent(name)
        await aio.run(partial(replace_content, name, value, exclusive=mode == "create"))

    async def _cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        old, new = self._strip_protocol(path1), self._strip_protocol(path2)
        await self._make_parent(new)
        if await aio.run(os.path.isdir, old):
            await self._makedirs(new, exist_ok=True)
        else:
            await aio.run(copy_whole, old, new)

    async def _get_file(self, rpath: Any, lpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        if hasattr(lpath, "write"):
            content = await self._cat_file(rpath)
            lpath.write(content)
            return
        await self._cp_file(rpath, lpath)
        await self._tell(lpath, callback)

    async def _put_file(
        self, lpath: Any, rpath: Any, mode: str = "overwrite", callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> None:
        target = self._strip_protocol(rpath)
        if mode == "create":
            await self._make_parent(target)
            await aio.run(copy_new, os.fspath(lpath), target)
        else:
            await self._cp_file(lpath, target)
        await self._tell(target, callback)

    async def _tell(self, path: Any, callback: Any) -> None:
        """Progress of a file that was copied by the kernel, in one step."""
        if callback is not DEFAULT_CALLBACK and not await aio.run(os.path.isdir, path):
            size = await aio.run(os.path.getsize, path)
            callback.set_size(size)
            callback.relative_update(size)

    async def _mv_file(self, path1: Any, path2: Any) -> None:
        new = self._strip_protocol(path2)
        await self._make_parent(new)
        await aio.run(shutil.move, self._strip_protocol(path1), new)

    async def _mv(
        self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any
    ) -> None:
        if isinstance(path1, str) and isinstance(path2, str) and maxdepth is None:
            await self._mv_file(path1, path2)
        else:
            await super()._mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)

    async def _rm_file(self, path: Any, **kwargs: Any) -> None:
        await aio.run(os.remove, self._strip_protocol(path))

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        for name in [path] if isinstance(path, str | os.PathLike) else path:
            name = self._strip_protocol(name)
            if recursive and maxdepth is None and await aio.run(is_tree, name):
                await aio.run(shutil.rmtree, name)
                continue
            await super()._rm(name, recursive=recursive, batch_size=batch_size, maxdepth=maxdepth, **kwargs)

    async def _mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:
        name = self._strip_protocol(path)
        await aio.run(os.makedirs if create_parents else os.mkdir, name)

    async def _makedirs(self, path: Any, exist_ok: bool = False) -> None:
        await aio.run(partial(os.makedirs, self._strip_protocol(path), exist_ok=exist_ok))

    async def _rmdir(self, path: Any) -> None:
        await aio.run(os.rmdir, self._strip_protocol(path))

    async def _touch(self, path: Any, truncate: bool = True, **kwargs: Any) -> None:
        name = self._strip_protocol(path)
        await self._make_parent(name)
        await aio.run(touch, name, truncate)

    async def _created(self, path: Any) -> datetime:
        return datetime.fromtimestamp((await self._info(path))["created"], tz=UTC)

    async def _modified(self, path: Any) -> datetime:
        return datetime.fromtimestamp((await self._info(path))["mtime"], tz=UTC)

    async def _chmod(self, path: Any, mode: int) -> None:
        await aio.run(os.chmod, self._strip_protocol(path), mode)

    async def _link(self, src: Any, dst: Any) -> None:
        await aio.run(os.link, self._strip_protocol(src), self._strip_protocol(dst))

    async def _symlink(self, src: Any, dst: Any) -> None:
        await aio.run(os.symlink, self._strip_protocol(src), self._strip_protocol(dst))

    async def _open_bytes(self, path: Any, mode: str, **kwargs: Any) -> AsyncFile:
        name = self._strip_protocol(path)
        mode = mode.replace("b", "") + "b"
        if mode not in FLAGS:
            raise ValueError(f"mode {mode!r} is none of {', '.join(FLAGS)}")
        if "r" not in mode:
            await self._make_parent(name)
        if kwargs.pop("atomic", False) or (self._intrans and mode in ("wb", "xb", "ab")):
            return await super()._open_bytes(name, mode, **kwargs)
        return await aio.run(open_in_place, name, mode)

    async def _open_writer(self, path: str, mode: str, **kwargs: Any) -> Writer:
        return LocalWriter(await replacement(path, mode, make_parents=self.auto_mkdir))

    def _open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """A file of Python's, written in place; with `atomic=True` it is put in place as a whole when it is closed."""
        name = self._strip_protocol(path)
        if self.auto_mkdir and "r" not in mode:
            os.makedirs(os.path.dirname(name), exist_ok=True)
        if mode == "rb" and kwargs.get("cache_type") == "none":
            return super()._open(name, mode, block_size=block_size, **kwargs)  # for fsspec's block cache
        if mode == "rb":
            return LocalReader(self, name)
        if (autocommit and not kwargs.get("atomic")) or "+" in mode:
            return open(name, mode)
        return PendingFile(name, mode, autocommit=autocommit)

    async def _make_parent(self, name: str) -> None:
        if self.auto_mkdir:
            await aio.run(partial(os.makedirs, os.path.dirname(name), exist_ok=True))

    chmod = blocking("_chmod")
    link = blocking("_link")
    symlink = blocking("_symlink")

    def isabs(self, path: Any) -> bool:
        """True for an absolute name."""
        return os.path.isabs(path)


def _is_there(look: Callable[[str], object], path: str) -> bool:
    """Whether a name leads somewhere. What cannot be looked at (EACCES, EIO) is an error, not an absence."""
    try:
        look(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError:  # no name at all: it holds a NUL
        return False
    except OSError as exc:
        if exc.errno == errno.ELOOP:  # a symlink that leads nowhere
            return False
        raise
    return True


def is_tree(path: str) -> bool:
    """True for a directory, not for a symlink to one; refuses the directory that the process is in."""
    if os.path.islink(path) or not os.path.isdir(path):
        return False
    if os.path.samefile(path, "."):
        raise ValueError(f"refusing to remove the current working directory, {path!r}")
    return True


def facts(path: str) -> dict[str, Any]:
    """fsspec's info dictionary of one file. `type` and `size` are of what a symlink leads to, if to anything."""
    status = os.lstat(path)
    return _facts(path, status)


def _facts(path: str, status: os.stat_result) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": path,
        "created": status.st_ctime,
        "islink": stat.S_ISLNK(status.st_mode),
        "mode": status.st_mode,
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime": status.st_mtime,
        "mtime_ns": status.st_mtime_ns,
        "ino": status.st_ino,
        "nlink": status.st_nlink,
    }
    if found["islink"]:
        found["destination"] = os.readlink(path)
        try:
            status = os.stat(path)
        except OSError:
            pass  # it leads nowhere: described as the link it is
    found["type"] = _TYPES.get(stat.S_IFMT(status.st_mode), "other")
    found["size"] = status.st_size
    return found


def listing(path: str) -> list[dict[str, Any]]:
    """The info of everything in a directory, or of a file alone."""
    try:
        with os.scandir(path) as entries:
            found = []
            for entry in entries:
                try:
                    found.append(_facts(os.path.join(path, entry.name), entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue  # removed since its name was read
            return found
    except NotADirectoryError:
        return [facts(path)]


def read_range(path: str, start: int | None, end: int | None) -> bytes:
    """A slice of a file's content, negative bounds from its end."""
    with open(path, "rb", buffering=0) as file:
        if start is None and end is None:
            return file.readall()
        begin, stop, _ = slice(start, end).indices(os.fstat(file.fileno()).st_size)
        return aio.blocking.read(file.fileno(), max(stop - begin, 0), begin)


def copy_whole(source: str, target: str) -> None:
    """Make `target` a copy of `source`, in one step where that is possible."""
    if has_to_be_written_in_place(target) or os.path.realpath(source) == os.path.realpath(target):
        shutil.copyfile(source, target)
        return
    replacement = Replacement(target, "wb")
    try:
        with open(source, "rb") as reading:
            shutil.copyfileobj(reading, replacement.file, 1024 * 1024)
        replacement.commit()
    except BaseException:
        replacement.discard()
        raise


def copy_new(source: str, target: str) -> None:
    """Copy to a file that must not be there yet."""
    with open(source, "rb") as reading, open(target, "xb") as writing:
        shutil.copyfileobj(reading, writing)


def touch(path: str, truncate: bool) -> None:
    """Make the file, or empty it, or set its times to now."""
    with open(path, "wb" if truncate else "ab"):
        pass
    os.utime(path)


async def connect(url: str, *, options: Mapping[str, Any], client: str | None, read_only: bool) -> LocalStore:
    """See `registry`."""
    fs = LocalFileSystem(**{"asynchronous": True, "skip_instance_cache": True, **options})
    return fs.make_store(url, read_only=read_only)
