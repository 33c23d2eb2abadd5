"""fh ↔ object of one open file or directory. A pure data structure."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from aiovfs.types import FileHandle

__all__ = ["HandleTable"]

T = TypeVar("T")


class HandleTable(Generic[T]):
    """Open files by their number. Numbers count upwards and are never used again, so a late RELEASE can hurt nobody."""

    def __init__(self) -> None:
        self._objects: dict[int, T] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._objects.values()))

    def open(self, obj: T) -> FileHandle:
        """Give `obj` a number."""
        fh = FileHandle(self._next)
        self._next += 1
        self._objects[fh] = obj
        return fh

    def dump(self) -> list[tuple[int, T]]:
        """(fh, object) of every open file: what `load` takes in another process."""
        return list(self._objects.items())

    def load(self, handles: Iterable[tuple[int, T]]) -> None:
        """Have these files open, instead of those that are. New numbers are above theirs."""
        self._objects = dict(handles)
        self._next = max(self._objects, default=0) + 1

    def get(self, fh: int) -> T:
        """The object of `fh`; `OSError(EBADF)` when it is not open."""
        try:
            return self._objects[fh]
        except KeyError:
            raise OSError(errno.EBADF, f"file handle {fh} is not open") from None

    def close(self, fh: int) -> T:
        """Take the number out of use and return its object."""
        obj = self.get(fh)
        del self._objects[fh]
        return obj
