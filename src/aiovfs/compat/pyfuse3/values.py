"""What handlers return: `EntryAttributes`, `FileInfo`, `StatvfsData`, and the error they raise, `FUSEError`.

`_fast` has all but `StatvfsData` in C, and takes the place of the classes here where it was built; `PYTHON` keeps the
latter.
"""

from __future__ import annotations

import copyreg
import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from aiovfs.compat.pyfuse3.coercion import I32, I64, TIME, U32, U64, flag, integer, number, to_integer
from aiovfs.fuse.native import load

__all__ = ["EntryAttributes", "FUSEError", "FileInfo", "StatvfsData"]


class FUSEError(Exception):
    """Raised by a handler to answer an errno. Not an `OSError`: those are bugs of the file system, and end `main`."""

    # Checked here, not in `__init__`, which subclasses override: exactly one positional number.
    def __new__(cls, errno: int, /) -> Self:
        self = super().__new__(cls)
        self.args = (to_integer(errno, I32),)
        return self

    def __init__(self, errno: int, /) -> None:
        super().__init__(to_integer(errno, I32))

    @property
    def errno(self) -> int:
        number: int = self.args[0]
        return number

    errno_ = errno

    def __str__(self) -> str:
        return os.strerror(self.errno)

    def __repr__(self) -> str:
        return f"FUSEError({self.errno})"


class EntryAttributes:
    """The attributes of a node, and for how many seconds the kernel may trust them and the name.

    `st_ino` is the inode number that users see and the one that the kernel asks with; 0 in the answer to a lookup
    means that there is no such name, to be remembered for `entry_timeout`. Values are converted when they are assigned.
    """

    __slots__ = (
        "_atime_ns",
        "_attr_timeout",
        "_blksize",
        "_blocks",
        "_ctime_ns",
        "_entry_timeout",
        "_generation",
        "_gid",
        "_ino",
        "_mode",
        "_mtime_ns",
        "_nlink",
        "_rdev",
        "_size",
        "_uid",
    )

    st_ino = integer("_ino", U64)
    generation = integer("_generation", U64)
    entry_timeout = number("_entry_timeout")
    attr_timeout = number("_attr_timeout")
    st_mode = integer("_mode", U32)
    st_nlink = integer("_nlink", U64)
    st_uid = integer("_uid", U32)
    st_gid = integer("_gid", U32)
    st_rdev = integer("_rdev", U64)
    st_size = integer("_size", I64)
    st_blksize = integer("_blksize", I64)
    st_blocks = integer("_blocks", I64)
    st_atime_ns = integer("_atime_ns", TIME)
    st_mtime_ns = integer("_mtime_ns", TIME)
    st_ctime_ns = integer("_ctime_ns", TIME)

    # Defaults are set here and extra arguments ignored, so that a subclass need not call `__init__`.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        for name in ATTRIBUTE_NAMES:
            setattr(self, name, 0)
        self.st_mode, self.st_nlink, self.st_blksize = stat.S_IFREG, 1, 4096
        self.entry_timeout = self.attr_timeout = 300.0
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    @property
    def st_birthtime_ns(self) -> int:
        """Always 0 on Linux, where the kernel does not ask for it; assigning it has no effect."""
        return 0

    @st_birthtime_ns.setter
    def st_birthtime_ns(self, value: int) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ATTRIBUTE_NAMES}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if type(self) is PYTHON["EntryAttributes"]:
            return rebuild, ("EntryAttributes",), self.__getstate__()
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]


def rebuild(name: str) -> Any:
    """Unpickle: by the name of the class, so that it may be read with native code and without."""
    return globals()[name]()


ATTRIBUTE_NAMES = (
    "st_ino",
    "generation",
    "entry_timeout",
    "attr_timeout",
    "st_mode",
    "st_nlink",
    "st_uid",
    "st_gid",
    "st_rdev",
    "st_size",
    "st_blksize",
    "st_blocks",
    "st_atime_ns",
    "st_ctime_ns",
    "st_mtime_ns",
    "st_birthtime_ns",
)


class FileInfo:
    """An open file: its handle, and how the kernel is to treat its pages. Note that `keep_cache` defaults to True."""

    __slots__ = ("_direct_io", "_fh", "_keep_cache", "_nonseekable")
    _direct_io: bool
    _fh: int
    _keep_cache: bool
    _nonseekable: bool

    fh = integer("_fh", U64)
    direct_io = flag("_direct_io")
    keep_cache = flag("_keep_cache")
    nonseekable = flag("_nonseekable")

    def __init__(
        self, fh: int = 0, direct_io: bool = False, keep_cache: bool = True, nonseekable: bool = False
    ) -> None:
        self.fh = fh
        self.direct_io = direct_io
        self.keep_cache = keep_cache
        self.nonseekable = nonseekable


class StatvfsData:
    """What statvfs(3) reports; sizes are counted in `f_frsize` bytes."""

    __slots__ = (
        "_f_bavail",
        "_f_bfree",
        "_f_blocks",
        "_f_bsize",
        "_f_favail",
        "_f_ffree",
        "_f_files",
        "_f_frsize",
        "_f_namemax",
    )

    f_bsize = integer("_f_bsize", U64)
    f_frsize = integer("_f_frsize", U64)
    f_blocks = integer("_f_blocks", U64)
    f_bfree = integer("_f_bfree", U64)
    f_bavail = integer("_f_bavail", U64)
    f_files = integer("_f_files", U64)
    f_ffree = integer("_f_ffree", U64)
    f_favail = integer("_f_favail", U64)
    f_namemax = integer("_f_namemax", U64)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        for name in STATVFS_NAMES:
            setattr(self, name, 0)
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __getstate__(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in STATVFS_NAMES}

    def __setstate__(self, state: Mapping[str, int]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]


STATVFS_NAMES = (
    "f_bsize",
    "f_frsize",
    "f_blocks",
    "f_bfree",
    "f_bavail",
    "f_files",
    "f_ffree",
    "f_favail",
    "f_namemax",
)

PYTHON: dict[str, type] = {cls.__name__: cls for cls in (EntryAttributes, FileInfo, FUSEError)}
NATIVE, REASON = load("_fast", __package__)

if not TYPE_CHECKING and NATIVE is not None:
    EntryAttributes, FileInfo, FUSEError = NATIVE.EntryAttributes, NATIVE.FileInfo, NATIVE.FUSEError
