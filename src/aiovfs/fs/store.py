"""A store: one file system with a root, driven on the loop it belongs to, its answers normalised, its errors honest.

`Store` is what the layers above program against; nothing above it knows fsspec. Its implementations:

- `local.LocalStore` and `memory.MemoryStore` work in place (`open_file`), rename atomically and keep attributes;
- `driven.DrivenStore` drives any fsspec file system. Its subclasses say what is special about one family of
  backends by overriding the hooks named there (`_read_range`, `_write_marker`, `_check_root`, …): object stores pin
  ranges with `If-Match`, archives chain over ranged reads, and so on.

How a backend plugs in: `registry.CONNECTORS` names, per protocol, a coroutine function
`connect(url, *, options, client, read_only) -> Store` that builds the store without touching the network where it can;
`registry.open_store` then calls `verify()`. A live fsspec file system is given to the `Store` class that
`registry.STORES` names for its protocol, `DrivenStore` by default.

Paths are relative to the root; see `paths`. Every failure is an `OSError` with an errno or an `AiovfsError`. A
transient failure is never `FileNotFoundError`. All methods may be called by any number of tasks at once, on one loop.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from aiovfs.errors import UnsupportedError
from aiovfs.fs.info import Capabilities, Info
from aiovfs.types import Buffer, Usage

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["Progress", "Reader", "Store", "StoreFile"]

Progress = Callable[[int], None]
"""Called with the number of bytes transferred so far; from any thread."""


class Reader(ABC):
    """Positioned reads of one version of one file, by any number of tasks at once."""

    @abstractmethod
    async def read(self, offset: int, size: int) -> bytes:
        """Read `size` bytes at `offset`; fewer only at the end of the file, `b""` at or past it.

        Raises `StaleError` when the store no longer has the version that this reader was opened for.
        """

    async def aclose(self) -> None:  # noqa: B027  # a reader may hold nothing
        """Give back what the reader holds. May be called more than once."""


class StoreFile(ABC):
    """An open file of a store with `positioned_writes`. It stays usable after its name is gone or was replaced."""

    @abstractmethod
    async def pread(self, size: int, offset: int) -> bytes:
        """Read `size` bytes at `offset`; fewer only at the end of the file."""

    @abstractmethod
    async def pwrite(self, data: Buffer, offset: int) -> int:
        """Write all of `data` at `offset`; a gap before it reads as zeros. Returns the length of `data`."""

    @abstractmethod
    async def truncate(self, size: int) -> None:
        """Cut the file, or lengthen it with zeros, to `size` bytes."""

    @abstractmethod
    async def fsync(self, *, data_only: bool = False) -> None:
        """Return when everything written is on stable storage, if the store has such a thing."""

    @abstractmethod
    async def info(self) -> Info:
        """The file's present state, also when it has no name any more (`name` is the one it was opened by)."""

    @abstractmethod
    async def set_attributes(
        self,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        size: int | None = None,
    ) -> None:
        """As `Store.set_attributes`, for the open file."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the file. May be called more than once."""


class Store(ABC):
    """One file system with a root. Open one with `aiovfs.fs.open_store`; see the head of this file."""

    protocol: str
    """The first protocol name of the file system, e.g. "s3"."""
    url: str
    """Where this is, for people: no user info, no query, no options."""
    root: str
    """The root in the file system's own form, e.g. "bucket/prefix"."""
    fs: AbstractFileSystem
    capabilities: Capabilities
    identity: str | None = None
    """Names what the store shows, for caches that outlive this process: never the same for two different places.

    None where nothing does: for file systems that were passed alive, and what lies in a process's memory.
    """

    name_length: ClassVar[int] = 255
    """Longest name, in bytes, that a component may have."""

    def __init__(
        self, fs: AbstractFileSystem, root: str, *, url: str, protocol: str, capabilities: Capabilities
    ) -> None:
        self.fs = fs
        self.root = root
        self.url = url
        self.protocol = protocol
        self.capabilities = capabilities

    def check_name(self, name: str) -> None:  # noqa: B027 (most stores take every name)
        """Raise `OSError` (EINVAL, EILSEQ) when nothing in this store can be called `name`. Asks nobody.

        For callers that store later than they promise to. `name` is one that a Unix directory could have.
        """

    # Looking

    @abstractmethod
    async def info(self, path: str) -> Info:
        """What is at `path`, a symlink itself not followed. `FileNotFoundError` only when it is definitely absent."""

    @abstractmethod
    async def list(self, path: str) -> list[Info]:
        """What is in the directory `path`, in no particular order, markers and self entries removed."""

    async def readlink(self, path: str) -> str:
        """Where the symlink at `path` points, uninterpreted. EINVAL when it is none."""
        info = await self.info(path)
        if info.target is None:
            raise OSError(errno.EINVAL, "not a symlink", path)
        return info.target

    async def usage(self) -> Usage | None:
        """How full the store is; `None` when it does not know. Never a network request."""
        return None

    # Content

    @abstractmethod
    async def open_reader(self, path: str, info: Info) -> Reader:
        """Positioned reads of the version of `path` that `info` describes. May cost no request until the first read."""

    async def open_file(
        self,
        path: str,
        *,
        writable: bool,
        create: bool = False,
        exclusive: bool = False,
        truncate: bool = False,
        mode: int = 0o644,
    ) -> StoreFile:
        """Open a file in place; only with `capabilities.positioned_writes`. Symlinks are not followed (ELOOP)."""
        raise self._unsupported("open a file for writing in place", path)

    @abstractmethod
    async def upload(
        self, source: str, path: str, *, exclusive: bool = False, progress: Progress | None = None
    ) -> Info:
        """Make the local file `source` the whole content of `path`; in one step, if the store can replace so.

        Returns the new state with its fingerprint. With `exclusive`, `FileExistsError` when `path` exists.
        """

    @abstractmethod
    async def download(self, path: str, target: str, *, progress: Progress | None = None) -> None:
        """Write the content of `path` to the local file `target`. After a failure `target` is gone."""

    # Names

    async def remove(self, path: str) -> None:
        """Remove a file or symlink; EISDIR for a directory."""
        raise self._unsupported("remove files", path)

    async def mkdir(self, path: str, mode: int = 0o755) -> None:
        """Make a directory in an existing one; EEXIST when anything is at `path`."""
        raise self._unsupported("make directories", path)

    async def rmdir(self, path: str) -> None:
        """Remove an empty directory; ENOTEMPTY when it is not, ENOTDIR when it is none."""
        raise self._unsupported("remove directories", path)

    async def copy(self, old: str, new: str) -> None:
        """Copy a file, replacing `new` when it is a file; inside the store, if it can."""
        raise self._unsupported("copy files", old)

    async def rename(self, old: str, new: str) -> None:
        """Move a file or a whole directory; replaces a file by a file, and an empty directory by a directory.

        Without `capabilities.atomic_rename` this copies everything, then deletes; when a copy fails, the copies made
        are undone and the old tree is as it was.
        """
        raise self._unsupported("rename", old)

    async def symlink(self, target: str, path: str) -> None:
        """Make a symlink at `path` that says `target`."""
        raise self._unsupported("make symlinks", path)

    async def set_attributes(
        self,
        path: str,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        size: int | None = None,
    ) -> None:
        """Change what is given and leave the rest; symlinks are not followed. `mode` is permission bits only."""
        raise self._unsupported("change attributes", path)

    # Life

    async def verify(self) -> None:
        """Check that the root is there and is a directory; raise the error that says what is wrong.

        Called once by `open_store`. A subclass for which an absent root is an empty directory says so by returning.
        """
        if not (await self.info("")).is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.url)

    async def aclose(self) -> None:  # noqa: B027  # a store may hold nothing
        """Give back sessions, threads and files. May be called more than once; nothing else may be called after."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    # For implementations

    def _check_writable(self, path: str) -> None:
        """First line of every method that changes something."""
        if not self.capabilities.writable:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    def _unsupported(self, what: str, path: str) -> UnsupportedError | OSError:
        if not self.capabilities.writable:
            return OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return UnsupportedError(f"{self.protocol} cannot {what}: {path!r}")
