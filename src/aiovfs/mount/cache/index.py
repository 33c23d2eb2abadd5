"""What the disk cache holds: one SQLite database beside the files, which several processes may use at a time.

A *file* is one version of one remote file. Its blocks are noted per *extent*: 256 blocks, which are 16 MiB, with a
checksum of four bytes for each block; zero means that the block is not there. So a database row costs 1 KiB for 16 MiB
of data, and eviction can give back a part of a file that is larger than the whole cache.

A block is noted only after its bytes were written, and every reader checks the sum before it trusts a block for the
first time. So neither a killed process nor a machine that lost power makes the cache say something that is not so: at
worst, it has forgotten.

Nothing here touches a loop: the methods block for a moment, and belong into a thread.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["BLOCKS_PER_EXTENT", "Extents", "Index", "Victim"]

BLOCKS_PER_EXTENT = 256

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE file (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: a number that is gone stays gone
    key BLOB NOT NULL UNIQUE,
    used_at REAL NOT NULL
);
CREATE TABLE extent (
    file INTEGER NOT NULL REFERENCES file(id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    sums BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    used_at REAL NOT NULL,
    PRIMARY KEY (file, number)
) WITHOUT ROWID;
"""

Extents = dict[int, "array[int]"]
"""By number of the extent: the checksum of each of its blocks, 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Victim:
    """An extent that has not been used for longest."""

    file: int
    key: bytes
    number: int
    size: int
    """Bytes that it holds."""


class Index:
    """The database. Its methods may be called from any thread, one at a time."""

    def __init__(self, path: str) -> None:
        """Open or make the database. Raises `sqlite3.Error` when it cannot be used as it is."""
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("PRAGMA foreign_keys = ON")
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                version = self._database.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    for statement in _SCHEMA.split(";\n"):
                        self._database.execute(statement)
                    self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                elif version != SCHEMA_VERSION:
                    raise sqlite3.DatabaseError(f"the index has version {version}, not {SCHEMA_VERSION}")
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def find(self, key: bytes) -> tuple[int, Extents] | None:
        """The number of a file and what it has; None when it is not in the cache."""
        with self._lock:
            row = self._database.execute("SELECT id FROM file WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            rows = self._database.execute("SELECT number, sums FROM extent WHERE file = ?", (row[0],)).fetchall()
            return row[0], {number: array("I", sums) for number, sums in rows}

    def add(self, key: bytes) -> int:
        """The number of a file, which is made where there was none."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(
                "INSERT INTO file (key, used_at) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, time.time())
            )
            number: int = self._database.execute("SELECT id FROM file WHERE key = ?", (key,)).fetchone()[0]
            return number

    def note(self, file: int, sums: Mapping[int, int], used: Iterable[int], *, block_size: int, size: int) -> bool:
        """Note blocks (by index: their sums) as present and extents as used. False: the file was evicted meanwhile.

        `size` is the length of the file, which ends within its last block.
        """
        now = time.time()
        added: Extents = {}
        for index, value in sums.items():
            extent = added.setdefault(index // BLOCKS_PER_EXTENT, array("I", bytes(4 * BLOCKS_PER_EXTENT)))
            extent[index % BLOCKS_PER_EXTENT] = value
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            if not self._database.execute("UPDATE file SET used_at = ? WHERE id = ?", (now, file)).rowcount:
                return False
            self._database.executemany(
                "UPDATE extent SET used_at = ? WHERE file = ? AND number = ?",
                [(now, file, number) for number in used if number not in added],
            )
            for number, extent in added.items():
                row = self._database.execute(
                    "SELECT sums FROM extent WHERE file = ? AND number = ?", (file, number)
                ).fetchone()
                if row is not None:  # another process may have noted others
                    for position, value in enumerate(array("I", row[0])):
                        extent[position] = extent[position] or value
                held = _bytes_of(number, extent, block_size, size)
                self._database.execute(
                    "INSERT OR REPLACE INTO extent (file, number, sums, bytes, used_at) VALUES (?, ?, ?, ?, ?)",
                    (file, number, extent.tobytes(), held, now),
                )
        return True

    def total(self) -> int:
        """Bytes of all blocks."""
        with self._lock:
            total: int = self._database.execute("SELECT COALESCE(SUM(bytes), 0) FROM extent").fetchone()[0]
            return total

    def victims(self, count: int) -> list[Victim]:
        """The extents that were used longest ago: of the file that was used longest ago first, then within it."""
        with self._lock:
            rows = self._database.execute(
                "SELECT file, key, number, bytes FROM extent JOIN file ON file.id = file "
                "ORDER BY file.used_at, file.id, extent.used_at, number LIMIT ?",
                (count,),
            ).fetchall()
        return [Victim(*row) for row in rows]

    def forget_extents(self, file: int, numbers: Iterable[int]) -> None:
        """These extents are not there any more."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "DELETE FROM extent WHERE file = ? AND number = ?", [(file, number) for number in numbers]
            )

    def forget_file(self, file: int) -> int:
        """The file is not there any more; the bytes that it had."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            held: int = self._database.execute(
                "SELECT COALESCE(SUM(bytes), 0) FROM extent WHERE file = ?", (file,)
            ).fetchone()[0]
            self._database.execute("DELETE FROM file WHERE id = ?", (file,))
            return held

    def keys(self) -> set[bytes]:
        """The keys of all files."""
        with self._lock:
            return {row[0] for row in self._database.execute("SELECT key FROM file")}


def _bytes_of(number: int, sums: array[int], block_size: int, size: int) -> int:
    held = sum(1 for value in sums if value) * block_size
    last = (size - 1) // block_size
    if last // BLOCKS_PER_EXTENT == number and sums[last % BLOCKS_PER_EXTENT]:
        held -= (last + 1) * block_size - size
    return held
