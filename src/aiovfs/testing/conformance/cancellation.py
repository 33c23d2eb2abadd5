"""Cancellation at every await: nothing half-written can be seen, nothing stays open, the instance goes on working."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from aiovfs.testing.conformance.backend import BINARY, TREE, Backend, open_files
from aiovfs.testing.conformance.stepping import at_every_await, at_every_tick

__all__ = ["CancellationTests"]

OLD, NEW = b"the old content", BINARY * 30


class Names:
    """A new name for each round."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.used = [f"{root}/0"]

    @property
    def now(self) -> str:
        """The name of this round."""
        return self.used[-1]

    def next(self) -> str:
        """The name of the next round, which is the present one from now on."""
        self.used.append(f"{self._root}/{len(self.used)}")
        return self.now


class CancellationTests(Backend):
    """Whoever is cancelled leaves things as they were, or as they were to be."""

    async def test_a_cancelled_pipe_leaves_the_old_content_or_the_new(self, fs: Any, root: str) -> None:
        self.need("write", "atomic_writes")
        names = Names(root)
        await self.fill(fs, root, {"0": OLD})
        async for _ in at_every_await(lambda: fs._pipe_file(names.now, NEW)):
            assert await fs._cat_file(names.now) in (OLD, NEW)
            await fs._pipe_file(names.next(), OLD)
            assert await fs._cat_file(names.now) == OLD

    async def test_a_cancelled_pipe_of_a_new_file_leaves_nothing_or_all(self, fs: Any, root: str) -> None:
        self.need("write", "atomic_writes")
        names = Names(root)
        await self.fill(fs, root, {"other": b""})
        async for _ in at_every_tick(lambda: fs._pipe_file(names.now, NEW)):
            if await fs._exists(names.now):
                assert await fs._cat_file(names.now) == NEW
            names.next()
        if self.capabilities.listing is True:
            assert set(await fs._find(root)) <= {fs._strip_protocol(name) for name in (f"{root}/other", *names.used)}

    async def test_a_cancelled_upload_leaves_the_old_content_or_the_new(
        self, fs: Any, root: str, tmp_path: Path
    ) -> None:
        self.need("write", "atomic_writes")
        (tmp_path / "local").write_bytes(NEW)
        names = Names(root)
        await self.fill(fs, root, {"0": OLD})
        async for _ in at_every_await(lambda: fs._put_file(str(tmp_path / "local"), names.now)):
            assert open_files(str(tmp_path / "local")) == []
            assert await fs._cat_file(names.now) in (OLD, NEW)
            await fs._pipe_file(names.next(), OLD)

    async def test_a_cancelled_download_leaves_the_old_file_or_the_new(
        self, fs: Any, root: str, tmp_path: Path
    ) -> None:
        self.need("atomic_downloads")
        target = tmp_path / "target" / "local"
        target.parent.mkdir()
        await self.fill(fs, root, {"file": NEW})
        for start in (None, OLD):
            async for _ in at_every_await(lambda: fs._get_file(f"{root}/file", str(target))):
                assert open_files(str(target.parent)) == []
                found = {path.name: path.read_bytes() for path in target.parent.iterdir()}
                assert found in ({}, {"local": OLD}, {"local": NEW})
                target.unlink(missing_ok=True)
                if start is not None:
                    target.write_bytes(start)

    async def test_a_cancelled_read_leaves_the_instance_usable(self, fs: Any, tree: str) -> None:
        async for _ in at_every_await(lambda: fs._cat_file(f"{tree}/b.bin", start=100, end=5000)):
            assert await fs._cat_file(f"{tree}/b.bin") == BINARY
        async for _ in at_every_await(lambda: fs._info(f"{tree}/a.txt")):
            assert await fs._size(f"{tree}/a.txt") == 5

    async def test_a_cancelled_copy_leaves_the_source_and_no_half_target(self, fs: Any, root: str) -> None:
        self.need("write", "atomic_writes")
        names = Names(root)
        await self.fill(fs, root, {"file": NEW})
        async for _ in at_every_await(lambda: fs._cp_file(f"{root}/file", names.now)):
            assert await fs._cat_file(f"{root}/file") == NEW
            if await fs._exists(names.now):
                assert await fs._cat_file(names.now) == NEW
            names.next()

    async def test_a_cancelled_move_loses_nothing(self, fs: Any, root: str) -> None:
        self.need("write", "atomic_writes")
        names = Names(root)
        await self.fill(fs, root, {"0": NEW, "0-moved": OLD})
        async for _ in at_every_await(lambda: fs._mv_file(names.now, f"{names.now}-moved")):
            old = await fs._cat_file(names.now) if await fs._exists(names.now) else None
            assert old in (None, NEW)
            # Looked at after the source: a server may finish the move between the two looks, never undo it.
            moved = await fs._cat_file(f"{names.now}-moved")
            assert moved in ((NEW,) if old is None else (OLD, NEW))
            await fs._pipe({names.next(): NEW, f"{names.now}-moved": OLD})

    async def test_a_cancelled_listing_leaves_the_next_one_whole(self, fs: Any, tree: str) -> None:
        self.need("listing")
        async for _ in at_every_await(lambda: fs._find(tree)):
            assert self.names(fs, tree, await fs._find(tree)) == sorted(TREE)
        async for _ in at_every_await(lambda: fs._ls(tree, detail=True)):
            fs.invalidate_cache()
            assert len(await fs._ls(tree, detail=True)) == 5

    async def test_a_cancelled_bulk_read_stops_and_the_next_is_whole(self, fs: Any, tree: str) -> None:
        paths = [f"{tree}/{name}" for name in TREE if TREE[name]] * 4
        async for _ in at_every_tick(lambda: fs._cat_ranges(paths, 0, 2)):
            found = await fs._cat_ranges(paths[:3], 0, 2)
            assert [bytes(each) for each in found] == [b"al", BINARY[:2], b"1"]

    async def test_a_cancelled_bulk_write_leaves_whole_files_only(self, fs: Any, root: str) -> None:
        self.need("write", "listing", "atomic_writes")
        names = Names(root)
        await self.fill(fs, root, {"other": b""})

        def contents() -> dict[str, bytes]:
            return {f"{names.now}-{n}": bytes([65 + n]) * 50_000 for n in range(8)}

        async for _ in at_every_tick(lambda: fs._pipe(contents())):
            for name, content in contents().items():
                if await fs._exists(name):
                    assert await fs._cat_file(name) == content
            names.next()

    async def test_a_cancelled_removal_of_a_tree_can_be_repeated(self, fs: Any, root: str) -> None:
        self.need("write", "listing")
        names = Names(root)
        files = {f"{n % 3}/{n}": b"x" for n in range(9)}
        await self.fill(fs, root, {"other": b""})
        await self.fill(fs, names.now, files)
        async for _ in at_every_tick(lambda: fs._rm(names.now, recursive=True)):
            # What was asked of a server is done in its own time, also behind the back of a second attempt.
            with contextlib.suppress(FileNotFoundError):
                await fs._rm(names.now, recursive=True)
            assert not await fs._exists(names.now)
            assert await fs._exists(f"{root}/other")
            await self.fill(fs, names.next(), files)

    async def test_a_file_cancelled_while_it_is_read_can_be_closed_and_leaves_nothing_open(
        self, fs: Any, root: str, tmp_path: Path
    ) -> None:
        self.need("open_async")
        await self.fill(fs, root, {"file": NEW})

        async def use() -> None:
            async with await fs.open_async(f"{root}/file", "rb") as file:
                assert await file.read(1000) == NEW[:1000]
                assert await file.read(200_000) == NEW[1000:201_000]

        before = open_files(str(tmp_path))
        async for _ in at_every_await(use):
            assert open_files(str(tmp_path)) == before
        await use()

    async def test_a_file_cancelled_while_it_is_written_leaves_what_was_there(
        self, fs: Any, root: str, tmp_path: Path
    ) -> None:
        self.need("write", "open_async", "open_async_write", "atomic_files")
        names = Names(root)
        await self.fill(fs, root, {"0": OLD})

        async def use() -> None:
            async with await fs.open_async(names.now, "wb") as file:
                for start in range(0, len(NEW), 60_000):
                    await file.write(NEW[start : start + 60_000])

        before = open_files(str(tmp_path))
        async for _ in at_every_await(use):
            assert open_files(str(tmp_path)) == before
            assert await fs._cat_file(names.now) in (OLD, NEW)
            await fs._pipe_file(names.next(), OLD)
