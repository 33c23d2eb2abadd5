"""Many at once: on one loop, on one file, and in bulk operations within their bounds."""

from __future__ import annotations

from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from aiovfs._loop.caller import leave_caller
from aiovfs.testing.conformance.backend import BINARY, TREE, Backend

__all__ = ["ConcurrencyTests"]


class ConcurrencyTests(Backend):
    """Order, bounds and wholeness when many tasks use one instance."""

    async def test_many_files_are_written_and_read_at_once(self, fs: Any, root: str) -> None:
        self.need("write")
        await self.fill(fs, root, {"other": b""})
        contents = {f"{root}/file-{n}": bytes([n]) * (n * 97) for n in range(48)}
        async with anyio.create_task_group() as group:
            for name, content in contents.items():
                group.start_soon(fs._pipe_file, name, content)
        found: dict[str, bytes] = {}

        async def read(name: str) -> None:
            found[name] = await fs._cat_file(name)

        async with anyio.create_task_group() as group:
            for name in contents:
                group.start_soon(read, name)
        assert found == contents

    async def test_one_file_is_read_at_many_places_at_once(self, fs: Any, tree: str) -> None:
        wrong = []

        async def read(turn: int) -> None:
            start = turn * 7919 % (len(BINARY) - 100)
            if await fs._cat_file(f"{tree}/b.bin", start=start, end=start + 100) != BINARY[start : start + 100]:
                wrong.append(start)

        async with anyio.create_task_group() as group:
            for turn in range(64):
                group.start_soon(read, turn)
        assert wrong == []

    async def test_of_many_writers_to_one_name_one_wins_whole(self, fs: Any, root: str) -> None:
        self.need("write", "atomic_writes")
        await self.fill(fs, root, {"file": b""})
        contents = [bytes([65 + n]) * (50_000 + n * 1000) for n in range(8)]
        async with anyio.create_task_group() as group:
            for content in contents:
                group.start_soon(fs._pipe_file, f"{root}/file", content)
        assert await fs._cat_file(f"{root}/file") in contents

    async def test_a_reader_never_sees_a_file_that_is_half_written(self, fs: Any, root: str) -> None:
        self.need("write", "atomic_writes")
        versions = [b"a" * 300_000, b"b" * 200_000]
        await self.fill(fs, root, {"file": versions[0]})
        seen: set[bytes] = set()
        is_over = False

        async def read() -> None:
            while not is_over:
                seen.add(await fs._cat_file(f"{root}/file"))
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(read)
            for turn in range(12):
                await fs._pipe_file(f"{root}/file", versions[(turn + 1) % 2])
            is_over = True
        assert seen <= set(versions)

    async def test_of_many_that_create_one_name_one_succeeds(self, fs: Any, root: str) -> None:
        self.need("write", "exclusive_create", "atomic_writes")
        await self.fill(fs, root, {"other": b""})
        won: list[bytes] = []
        refused = 0

        async def create(content: bytes) -> None:
            nonlocal refused
            try:
                await fs._pipe_file(f"{root}/file", content, mode="create")
            except FileExistsError:
                refused += 1
            else:
                won.append(content)

        async with anyio.create_task_group() as group:
            for n in range(8):
                group.start_soon(create, bytes([65 + n]))
        assert (len(won), refused) == (1, 7)
        assert await fs._cat_file(f"{root}/file") == won[0]

    async def test_a_directory_is_made_by_many_at_once(self, fs: Any, root: str) -> None:
        self.need("write", "empty_directories")
        async with anyio.create_task_group() as group:
            for n in range(16):
                group.start_soon(lambda n=n: fs._makedirs(f"{root}/a/b/{n % 3}/c", exist_ok=True))  # type: ignore[misc]
        assert await fs._isdir(f"{root}/a/b/2/c")

    async def test_listing_goes_on_while_files_come_and_go(self, fs: Any, tree: str) -> None:
        self.need("write", "listing")

        async def change(n: int) -> None:
            for _ in range(4):
                await fs._pipe_file(f"{tree}/dir/sub/new-{n}", b"n")
                await fs._rm_file(f"{tree}/dir/sub/new-{n}")

        async with anyio.create_task_group() as group:
            for n in range(4):
                group.start_soon(change, n)
            for _ in range(6):
                found = self.names(fs, tree, await fs._find(tree))
                assert set(TREE) <= set(found)
                # A store that writes beside and renames may show the names of that, which are hidden ones.
                new = {name for name in set(found) - set(TREE) if not name.rpartition("/")[2].startswith(".")}
                assert new <= {f"dir/sub/new-{n}" for n in range(4)}

    async def test_no_more_than_batch_size_are_in_flight(self, fs: Any, tree: str) -> None:
        self.need("bounded_bulk")
        watch = InFlight(fs, "_cat_file")
        fs.batch_size = 5
        paths = [f"{tree}/{name}" for name in TREE if TREE[name]] * 3
        with watch:
            await fs._cat_ranges(paths, 0, 1)
            of_the_instance = watch.most
            await fs._cat_ranges(paths, 0, 1, batch_size=2)
            of_the_argument = watch.most
        assert (of_the_instance, of_the_argument) == (5, 2)

    async def test_results_keep_the_order_of_what_was_asked(self, fs: Any, tree: str) -> None:
        self.need("bounded_bulk")
        paths = [f"{tree}/{name}" for name in TREE]
        with InFlight(fs, "_cat_file", last_first=True):
            found = await fs._cat(paths)
            ranges = await fs._cat_ranges(paths[:2], 0, 4)
        assert {self.names(fs, tree, [name])[0]: content for name, content in found.items()} == TREE
        assert [bytes(each) for each in ranges] == [content[:4] for content in list(TREE.values())[:2]]

    async def test_the_first_failure_stops_the_rest(self, fs: Any, tree: str) -> None:
        self.need("bounded_bulk")
        watch = InFlight(fs, "_cat_file")
        paths = [f"{tree}/absent"] + [f"{tree}/a.txt"] * 60
        with watch, pytest.raises(FileNotFoundError):
            await fs._cat_ranges(paths, 0, 1, batch_size=2, on_error="raise")
        assert watch.now == 0
        assert watch.begun < len(paths)


class InFlight:
    """Counts the calls of one coroutine method of one instance that are under way."""

    def __init__(self, fs: Any, method: str, *, last_first: bool = False) -> None:
        self._fs = fs
        self._method = method
        self._last_first = last_first
        self.now = self.most = self.begun = 0

    def __enter__(self) -> Self:
        real = getattr(self._fs, self._method)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            await leave_caller()
            if self.now == 0:
                self.most = 0
            self.begun += 1
            self.now += 1
            self.most = max(self.most, self.now)
            turns = max(20 - self.begun, 3) if self._last_first else 3
            try:
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                return await real(*args, **kwargs)
            finally:
                self.now -= 1

        setattr(self._fs, self._method, counted)
        return self

    def __exit__(self, *exc: object) -> None:
        delattr(self._fs, self._method)
