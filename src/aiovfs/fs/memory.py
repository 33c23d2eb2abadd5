"""Files in this process's memory: the reference file system, and a fast one.

`MemoryFileSystem` is the fsspec face, `memory_store.MemoryStore` the store; both work on a `tree.Tree`. Trees are named
and live as long as the process: `memory://` is the unnamed one. Through fsspec's methods parent directories come into
being when needed, as in fsspec's own memory file system; the store is strict.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from aiovfs import aio
from aiovfs.fs import paths
from aiovfs.fs.base import METHODS, AsyncFileSystem
from aiovfs.fs.files import AsyncFile, FileOverSync
from aiovfs.fs.memory_store import MemoryStore, read_file, write_file
from aiovfs.fs.tree import Directory, File, Node, Symlink, Tree, error
from aiovfs.types import Buffer

__all__ = ["MemoryFileSystem", "tree_named"]

_trees: dict[str, Tree] = {}


def tree_named(name: str = "") -> Tree:
    """The tree of that name in this process; made when first asked for."""
    return _trees.setdefault(name, Tree())


class MemoryFileSystem(AsyncFileSystem):
    """fsspec's interface to a tree in memory. Nothing ever waits, so synchronous calls cost about a microsecond."""

    protocol = "memory"
    root_marker = "/"
    runs_anywhere = True
    thread_safe = True
    eager = frozenset(f"_{name}" for name in METHODS)

    def __init__(self, tree: str = "", **kwargs: Any) -> None:
        """`tree`: the name of the tree; the same name is the same files."""
        super().__init__(**kwargs)
        self.tree = tree_named(tree)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = os.fspath(path)
        text = text.removeprefix("memory://").removeprefix("memory::")
        parts = [part for part in text.split("/") if part not in ("", ".")]
        return "/" + "/".join(parts)

    @property
    def fsid(self) -> str:
        """The same for every instance in this process."""
        return "memory"

    def make_store(self, root: str, *, read_only: bool = False) -> MemoryStore:
        """A store on the directory `root`."""
        return MemoryStore(self, self._strip_protocol(root), read_only=read_only)

    def _relative(self, path: Any) -> str:
        name: str = self._strip_protocol(path)[1:]
        return name

    def _facts(self, name: str, node: Node) -> dict[str, Any]:
        facts = {
            "name": "/" + name,
            "size": node.size,
            "type": "directory" if isinstance(node, Directory) else "link" if isinstance(node, Symlink) else "file",
            "created": node.birthtime_ns / 1e9,
            "mtime": node.mtime_ns / 1e9,
            "mtime_ns": node.mtime_ns,
            "mode": node.mode,
            "uid": node.uid,
            "gid": node.gid,
            "ino": node.ino,
            "nlink": node.nlink,
            "islink": isinstance(node, Symlink),
        }
        if isinstance(node, Symlink):
            facts["destination"] = node.target
        if isinstance(node, File):
            facts["fingerprint"] = f"{node.ino}-{node.version}"
        return facts

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        name = self._relative(path)
        return self._facts(name, self.tree.find(name))

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        name = self._relative(path)
        with self.tree.lock:
            node = self.tree.find(name)
            found = (
                [(paths.join(name, child), below) for child, below in node.children.items()]
                if isinstance(node, Directory)
                else [(name, node)]
            )
        if not detail:
            return sorted("/" + below for below, _ in found)
        return [self._facts(below, child) for below, child in found]

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        content = self.tree.find_file(self._relative(path))
        begin, stop, _ = slice(start, end).indices(content.size)
        return content.read(begin, max(stop - begin, 0))

    async def _pipe_file(self, path: str, value: Buffer, mode: str = "overwrite", **kwargs: Any) -> None:
        self._replace(path, value, exclusive=mode == "create")

    def _replace(self, path: str, value: Buffer, *, exclusive: bool = False) -> None:
        name = self._relative(path)
        with self.tree.lock:
            self.tree.make_directories(paths.parent_of(name))
            self.tree.open(name, create=True, exclusive=exclusive).replace(value)

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        if await self._isdir(rpath):
            await aio.run(lambda: os.makedirs(lpath, exist_ok=True))
            return
        content = await self._cat_file(rpath)
        callback.set_size(len(content))
        if hasattr(lpath, "write"):
            lpath.write(content)
        else:
            await aio.run(write_file, lpath, content)
        callback.relative_update(len(content))

    async def _put_file(
        self, lpath: Any, rpath: str, mode: str = "overwrite", callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> None:
        if await aio.run(os.path.isdir, lpath):
            await self._makedirs(rpath, exist_ok=True)
            return
        content = await aio.run(read_file, lpath)
        callback.set_size(len(content))
        self._replace(rpath, content, exclusive=mode == "create")
        callback.relative_update(len(content))

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        node = self.tree.find(self._relative(path1))
        if isinstance(node, Directory):
            await self._makedirs(path2, exist_ok=True)
        elif isinstance(node, File):
            self._replace(path2, bytes(node.content))
        else:
            raise error(errno.ELOOP, path1)

    async def _mv_file(self, path1: str, path2: str) -> None:
        new = self._relative(path2)
        with self.tree.lock:
            self.tree.make_directories(paths.parent_of(new))
            self.tree.rename(self._relative(path1), new)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        with self.tree.lock:
            self.tree.remove(self._relative(path))

    async def _mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        name = self._relative(path)
        with self.tree.lock:
            if create_parents:
                self.tree.make_directories(paths.parent_of(name))
            self.tree.create(name, Directory())

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        name = self._relative(path)
        with self.tree.lock:
            if not exist_ok and await self._exists(path):
                raise error(errno.EEXIST, path)
            self.tree.make_directories(name)

    async def _rmdir(self, path: str) -> None:
        name = self._relative(path)
        if name:
            with self.tree.lock:
                self.tree.remove_directory(name)

    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        if truncate:
            self._replace(path, b"")
            return
        name = self._relative(path)
        with self.tree.lock:
            self.tree.make_directories(paths.parent_of(name))
            self.tree.open(name, create=True).touch()

    async def _created(self, path: str) -> datetime:
        return datetime.fromtimestamp(self.tree.find(self._relative(path)).birthtime_ns / 1e9, tz=UTC)

    async def _modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(self.tree.find(self._relative(path)).mtime_ns / 1e9, tz=UTC)

    async def _open_bytes(self, path: str, mode: str, **kwargs: Any) -> AsyncFile:
        if self._intrans and mode in ("wb", "xb", "ab"):
            return await super()._open_bytes(path, mode, **kwargs)

        async def call(func: Any, *args: Any) -> Any:
            return func(*args)

        return FileOverSync(self._open(path, mode), call, name=path, mode=mode)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        if mode == "rb" and kwargs.get("cache_type") == "none":
            return super()._open(path, mode, block_size=block_size, **kwargs)  # for fsspec's block cache
        name = self._relative(path)
        with self.tree.lock:
            if mode == "rb":
                return MemoryReader(self, "/" + name, self.tree.find_file(name).snapshot())
            if mode == "r+b":
                return io.BufferedRandom(MemoryRaw(self.tree.find_file(name)))
            if mode not in ("wb", "xb", "ab", "w+b"):
                raise ValueError(f"mode {mode!r} is none of rb, r+b, wb, w+b, xb, ab")
            if mode == "w+b":
                self.tree.make_directories(paths.parent_of(name))
                return io.BufferedRandom(MemoryRaw(self.tree.open(name, create=True, truncate=True)))
            return MemoryWriter(self.tree, name, mode, autocommit=autocommit)


class MemoryRaw(io.RawIOBase):
    """A position in a file's content."""

    def __init__(self, file: File, *, append: bool = False) -> None:
        self._file = file
        self._append = append
        self._position = file.size if append else 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    @property
    def size(self) -> int:
        """Bytes of content."""
        return self._file.size

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def write(self, data: Any) -> int:
        if self._append:
            self._position = self._file.size
        count = self._file.write(data, self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._position, self._file.size)[whence]
        if start + offset < 0:
            raise ValueError(f"cannot seek to {start + offset}")
        self._position = start + offset
        return self._position

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        self._file.truncate(size)
        return size


class MemoryReader(io.BufferedReader):
    """A file being read. Unpickled, it is open where it was."""

    def __init__(self, fs: MemoryFileSystem, path: str, file: File) -> None:
        super().__init__(MemoryRaw(file))
        self.fs = fs
        self.path = path

    @property
    def size(self) -> int:
        """Bytes of content."""
        size: int = self.raw.size  # type: ignore[attr-defined]
        return size

    def __reduce__(self) -> Any:
        return _reopen, (self.fs, self.path, self.tell())

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()  # io's own class refuses by this name since Python 3.12


def _reopen(fs: MemoryFileSystem, path: str, position: int) -> MemoryReader:
    file: MemoryReader = fs._open(path)
    file.seek(position)
    return file


class MemoryWriter(io.BufferedWriter):
    """A file being written. It has its name and content when it is closed; in a transaction, at `commit`."""

    def __init__(self, tree: Tree, name: str, mode: str, *, autocommit: bool) -> None:
        """`mode`: "wb", "xb" or "ab". Call with the tree's lock held."""
        try:
            known: Node | None = tree.find(name)
        except FileNotFoundError:
            known = None
        if isinstance(known, Directory):
            raise error(errno.EISDIR, name)
        if known is not None and mode == "xb":
            raise error(errno.EEXIST, name)
        self._tree = tree
        self._name = name
        self._kind = mode
        self._content = File()
        self._before = 0
        self._autocommit = autocommit
        self._is_wanted = True
        if mode == "ab" and isinstance(known, File):
            self._content.replace(known.content)
            self._before = known.size
        super().__init__(MemoryRaw(self._content, append=mode == "ab"))

    def commit(self) -> None:
        """Give the file its name and content. Once is enough."""
        if not self._is_wanted:
            return
        if not self.closed:
            self.flush()
        self._is_wanted = False
        with self._tree.lock:
            content = bytes(self._content.content)
            self._tree.make_directories(paths.parent_of(self._name))
            target = self._tree.open(self._name, create=True, exclusive=self._kind == "xb")
            if self._kind == "ab":
                target.write(content[self._before :], target.size)
            else:
                target.replace(content)

    def discard(self) -> None:
        """Forget what was written; the file stays as it was."""
        self._is_wanted = False
        super().close()

    def close(self) -> None:
        super().close()
        if self._autocommit:
            self.commit()

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        if kind is not None:
            self.discard()
        else:
            self.close()


async def connect(url: str, *, options: Mapping[str, Any], client: str | None, read_only: bool) -> MemoryStore:
    """See `registry`."""
    fs = MemoryFileSystem(**{"asynchronous": True, "skip_instance_cache": True, **options})
    return fs.make_store(url, read_only=read_only)
