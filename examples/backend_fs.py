"""A file system of one's own in 40 lines: a table of SQLite. See docs/howto/write-a-backend.md.

python examples/backend_fs.py asyncio        # or trio
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import weakref
from typing import Any

import anyio
from anyio.to_thread import run_sync

from aiovfs.fs.base import AsyncFileSystem


class TableFileSystem(AsyncFileSystem):
    """Files are rows of one table; directories are prefixes of their names."""

    protocol = "table"
    runs_anywhere = True

    def __init__(self, database: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rows = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        self._rows.execute("pragma journal_mode = wal")
        self._rows.execute("pragma synchronous = normal")
        self._rows.execute("create table if not exists files (name text primary key, data blob)")
        self._lock = threading.Lock()
        weakref.finalize(self, self._rows.close)

    async def _ask(self, query: str, *values: Any) -> list[Any]:
        def ask() -> list[Any]:
            with self._lock:
                return self._rows.execute(query, values).fetchall()

        return await run_sync(ask)

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        for (size,) in await self._ask("select length(data) from files where name = ?", name):
            return {"name": name, "size": size, "type": "file"}
        if not name or await self._ask(
            "select 1 from files where substr(name, 1, ?) = ? limit 1", len(name) + 1, name + "/"
        ):
            return {"name": name, "size": 0, "type": "directory"}
        raise FileNotFoundError(name)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        info = await self._info(path)
        found = {info["name"]: info} if info["type"] == "file" else {}
        above = info["name"] + "/" if info["name"] else ""
        query = "select name, length(data) from files where substr(name, 1, ?) = ?"
        for name, size in await self._ask(query, len(above), above) if not found else ():
            child, slash, _ = name[len(above) :].partition("/")
            kind = {"size": 0, "type": "directory"} if slash else {"size": size, "type": "file"}
            found[above + child] = {"name": above + child, **kind}
        return list(found.values()) if detail else sorted(found)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        for (data,) in await self._ask("select data from files where name = ?", self._strip_protocol(path)):
            return bytes(data[start:end])
        raise FileNotFoundError(path)

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        verb = "insert" if mode == "create" else "insert or replace"
        try:
            await self._ask(f"{verb} into files values (?, ?)", self._strip_protocol(path), bytes(value))
        except sqlite3.IntegrityError as exc:
            raise FileExistsError(path) from exc

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        if not await self._ask("delete from files where name = ? returning 1", self._strip_protocol(path)):
            raise FileNotFoundError(path)


async def main() -> None:
    """Everything else comes from the base: trees, patterns, transfers, open files, the synchronous face."""
    fs = TableFileSystem(":memory:", asynchronous=True)
    await fs._pipe({"notes/a.txt": b"first", "notes/deep/b.txt": b"second", "other": b"x"})
    print(sorted(await fs._glob("notes/**/*.txt")))
    async with await fs.open_async("notes/a.txt", "ab") as file:
        await file.write(b" and more")
    print((await fs._cat_file("notes/a.txt")).decode())
    await fs._mv("notes", "moved", recursive=True)
    print(await fs._find(""))


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
