"""What a directory contains, as a store said it at one moment, kept up to date with our own changes."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from aiovfs.fs.info import Info
from aiovfs.mount.names import encode_name

__all__ = ["HiddenNames", "Listing"]

logger = logging.getLogger("aiovfs.mount")


class HiddenNames:
    """Names that no directory can show, each logged once."""

    LIMIT = 1000

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, directory: str, name: str, why: str) -> None:
        """Note one; only the first `LIMIT` are told apart and logged."""
        key = (directory, name)
        if key in self._seen or len(self._seen) >= self.LIMIT:
            return
        self._seen.add(key)
        logger.warning("hiding %r in %r: %s", name, directory, why)


class Listing:
    """The complete content of one directory: usable names and what the store said of each.

    `taken_at` is when the request for it was *sent*, on the loop's clock. Where an object store has both a file "a" and
    a directory "a", the directory wins.
    """

    __slots__ = ("_entries", "taken_at")

    def __init__(self, entries: dict[bytes, Info], taken_at: float) -> None:
        self._entries = entries
        self.taken_at = taken_at

    @classmethod
    def of(cls, directory: str, infos: list[Info], taken_at: float, hidden: HiddenNames) -> Listing:
        entries: dict[bytes, Info] = {}
        for info in infos:
            name = encode_name(info.name)
            if name is None:
                hidden.add(directory, info.name, "no Unix directory can have such a name")
                continue
            other = entries.get(name)
            if other is not None and (other.is_directory or not info.is_directory):
                if other.is_directory != info.is_directory:
                    hidden.add(directory, info.name, "a directory has the same name")
                continue
            if other is not None:
                hidden.add(directory, info.name, "a directory has the same name")
            entries[name] = info
        return cls(entries, taken_at)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: bytes) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[tuple[bytes, Info]]:
        return iter(self._entries.items())

    def get(self, name: bytes) -> Info | None:
        return self._entries.get(name)

    def put(self, name: bytes, info: Info) -> None:
        """We made or changed `name`."""
        self._entries[name] = info

    def discard(self, name: bytes) -> None:
        """We removed `name`."""
        self._entries.pop(name, None)
