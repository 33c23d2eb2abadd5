"""What a store says about one file (`Info`), and about itself (`Capabilities`)."""

from __future__ import annotations

import enum
import stat
from dataclasses import dataclass

__all__ = ["Capabilities", "Info", "Kind"]


class Kind(enum.Enum):
    """What a name stands for."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"

    @classmethod
    def of_mode(cls, mode: int) -> Kind:
        """The kind that the type bits of `st_mode` say; FILE when there are none."""
        return _KIND_OF_FORMAT.get(stat.S_IFMT(mode), Kind.OTHER)


_KIND_OF_FORMAT = {
    0: Kind.FILE,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
}


@dataclass(frozen=True, slots=True)
class Info:
    """One file, directory or symlink of a store, as it was when the store was asked.

    `None` always means that the store does not say. `name` is the last component of the path, `""` for the root, with
    undecodable bytes as surrogate escapes. Times are nanoseconds since 1970.
    """

    name: str
    kind: Kind
    size: int | None = None
    """Bytes of content; `None` when only reading it to the end would tell."""
    mtime_ns: int | None = None
    fingerprint: str | None = None
    """Names this version of the content: version id, etag, else "size-mtime_ns". Equal fingerprints, equal bytes."""
    mode: int | None = None
    """`st_mode`, type bits included, when the store keeps permissions."""
    uid: int | None = None
    gid: int | None = None
    ino: int | None = None
    nlink: int | None = None
    rdev: int = 0
    atime_ns: int | None = None
    ctime_ns: int | None = None
    birthtime_ns: int | None = None
    target: str | None = None
    """Where a symlink points, uninterpreted."""

    @property
    def is_directory(self) -> bool:
        """True for a directory, not for a symlink to one."""
        return self.kind is Kind.DIRECTORY


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What callers may count on, so that they need not try and see."""

    writable: bool = True
    positioned_writes: bool = False
    """`open_file()` works: reads and writes in place, at any offset."""
    atomic_rename: bool = False
    """`rename()` of a file or a directory is one step that others see before or after, never in between."""
    empty_directories: bool = True
    """A directory exists by itself; where False, the store object keeps one alive by a hidden marker object."""
    symlinks: bool = False
    attributes: bool = False
    """`set_attributes()` keeps mode, owner and times."""
    cheap_metadata: bool = False
    """`info()` and `list()` cost about a system call: callers need not cache what they say."""
    ranged_reads: bool = True
    """Reading a range costs about its size; False where the whole file would be transferred."""
