"""Reading remote files: versions, renames under readers, files of unknown size."""

from __future__ import annotations

import dataclasses
import os
import random
from typing import Any

import anyio
import pytest

from aiovfs.errors import StaleError
from aiovfs.fs.store import Store
from aiovfs.testing.fake_store import OBJECT_STORE, FakeStore

DATA = random.Random(3).randbytes(3_000_000)
STALE = {"attr_timeout": 0, "listing_timeout": 0, "negative_timeout": 0, "revalidate_after": 0}


async def test_what_is_stored_is_read(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", DATA)
        file = await vfs.open_path("f")
        assert await file.read(1_000_000, 10) == DATA[1_000_000:1_000_010]
        assert await file.read(len(DATA) - 5, 100) == DATA[-5:]
        assert await file.read(len(DATA) + 5, 100) == b""
        await file.release()


async def test_a_hundred_tasks_at_random_offsets_read_right_and_fetch_nothing_twice(make_vfs: Any) -> None:
    """States R2."""
    store, numbers = FakeStore({"f": DATA}), random.Random(5)
    async with make_vfs(store, readahead=0) as vfs:
        file = await vfs.open_path("f")

        async def reader(offset: int, size: int) -> None:
            assert await file.read(offset, size) == DATA[offset : offset + size]

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(reader, numbers.randrange(len(DATA)), numbers.randrange(1, 100_000))
        await file.release()
    assert store.faults.count("read") <= len(DATA) // 65536 + 1
    assert store.faults.count("open_reader") == 1


async def test_a_second_open_reads_from_memory(make_vfs: Any) -> None:
    """States R1."""
    store = FakeStore({"f": DATA})
    async with make_vfs(store) as vfs:
        await vfs.read_path("f")
        store.faults.clear()
        assert await vfs.read_path("f") == DATA
    assert store.faults.count("read", "open_reader") == 0


async def test_a_sequential_reader_gets_its_data_ahead(make_vfs: Any) -> None:
    store = FakeStore({"f": DATA})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f")
        data = b""
        while piece := await file.read(len(data), 128 * 1024):
            data += piece
        assert data == DATA
        assert store.faults.count("read") < 23  # one for each read, without readahead
        await file.release()


async def test_an_open_file_keeps_its_version_or_is_stale_but_never_mixes(make_vfs: Any) -> None:
    """States R4."""
    old, new = b"a" * 200_000, b"b" * 200_000
    store = FakeStore({"f": old})
    async with make_vfs(store, readahead=0, **STALE) as vfs:
        file = await vfs.open_path("f")
        assert await file.read(0, 10) == b"a" * 10
        store.put("f", new)
        assert await file.read(0, 1000) == b"a" * 1000  # already in memory
        with pytest.raises(StaleError):
            await file.read(150_000, 10)
        assert await vfs.read_path("f") == new
        with pytest.raises(StaleError):
            await file.read(150_000, 10)
        await file.release()


async def test_opening_an_inode_whose_file_was_replaced_while_open_says_stale_and_a_new_look_up_helps(
    make_vfs: Any,
) -> None:
    """States R4."""
    store = FakeStore({"f": b"old"})
    async with make_vfs(store, **STALE) as vfs:
        file = await vfs.open_path("f")
        store.put("f", b"new!")
        with pytest.raises(StaleError):
            await vfs.open(file.inode, os.O_RDONLY)
        assert await vfs.read_path("f") == b"new!"
        await file.release()


async def test_open_sees_what_was_stored_before_it(make_vfs: Any) -> None:
    """States R5."""
    store = FakeStore({"f": b"old"})
    async with make_vfs(store, attr_timeout="forever", revalidate_after=0) as vfs:
        inode = await vfs.find("f")
        store.put("f", b"newer")
        file = await vfs.open(inode, os.O_RDONLY)
        assert file.is_new_version
        assert (inode.size, await file.read(0, 100)) == (5, b"newer")
        await file.release()


async def test_open_of_a_file_that_is_gone_is_enoent(make_vfs: Any) -> None:
    store = FakeStore({"f": b"old"})
    async with make_vfs(store, attr_timeout="forever", revalidate_after=0) as vfs:
        inode = await vfs.find("f")
        store.delete("f")
        with pytest.raises(FileNotFoundError):
            await vfs.open(inode, os.O_RDONLY)


async def test_frozen_stores_are_not_asked_at_open(make_vfs: Any) -> None:
    store = FakeStore({"f": b"x"})
    async with make_vfs(store, preset="frozen") as vfs:
        await vfs.read_path("f")
        store.faults.clear()
        await vfs.read_path("f")
    assert store.faults.count() == 0


async def test_a_reader_goes_on_after_its_file_was_renamed_by_copying(make_vfs: Any) -> None:
    """States M4."""
    store = FakeStore({"d/f": DATA})
    async with make_vfs(store, readahead=0) as vfs:
        file = await vfs.open_path("d/f")
        assert await file.read(0, 10) == DATA[:10]
        await vfs.rename_path("d", "e")
        assert await file.read(2_000_000, 10) == DATA[2_000_000:2_000_010]
        await file.release()


async def test_a_rename_in_the_middle_of_a_fetch_is_not_noticed_by_the_reader(make_vfs: Any) -> None:
    """States M4."""
    store = FakeStore({"f": DATA})
    async with make_vfs(store, readahead=0) as vfs:
        file = await vfs.open_path("f")
        gate, results = store.faults.hold("read"), []

        async def reader() -> None:
            results.append(await file.read(0, 100))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
            await gate.wait_for_arrival()
            await vfs.rename_path("f", "g")
            gate.open()
        assert results == [DATA[:100]]
        await file.release()


async def test_a_cancelled_reader_in_the_middle_of_a_fetch_leaves_the_others_their_data(make_vfs: Any) -> None:
    """States R3."""
    store = FakeStore({"f": DATA})
    async with make_vfs(store, readahead=0) as vfs:
        file = await vfs.open_path("f")
        gate, results = store.faults.hold("read"), []

        async def reader() -> None:
            results.append(await file.read(0, 100))

        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(0.01):
                await reader()
            tasks.start_soon(reader)
            gate.open()
        assert results == [DATA[:100]]
        assert store.faults.count("read") == 1
        await file.release()


async def test_a_failed_fetch_is_an_error_of_that_read_only(make_vfs: Any) -> None:
    store = FakeStore({"f": DATA})
    async with make_vfs(store, readahead=0) as vfs:
        file = await vfs.open_path("f")
        store.faults.fail("read", ConnectionResetError("cut"))
        with pytest.raises(ConnectionResetError):
            await file.read(0, 10)
        assert await file.read(0, 10) == DATA[:10]
        await file.release()


async def test_a_file_of_unknown_size_is_read_to_its_end(make_vfs: Any) -> None:
    """States R6."""
    store = FakeStore({"f": DATA})
    store.hides_sizes = True
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f")
        assert file.has_unknown_size
        await file.release()
        assert await vfs.read_path("f") == DATA


async def test_a_store_without_ranges_is_fetched_once_and_whole(make_vfs: Any) -> None:
    store = FakeStore({"f": DATA}, capabilities=dataclasses.replace(OBJECT_STORE, ranged_reads=False))
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f")
        for offset in (2_000_000, 5, 1_000_000):
            assert await file.read(offset, 10) == DATA[offset : offset + 10]
        await file.release()
    assert store.faults.count("download") == 1
    assert store.faults.count("read") == 0


async def test_closing_closes_the_reader(make_vfs: Any) -> None:
    store = FakeStore({"f": DATA})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f")
        await file.read(0, 1)
        reader = file.inode.content._reader
        await file.release()
        assert reader.is_closed


async def test_a_directory_cannot_be_opened_as_a_file(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        await vfs.mkdir_path("d")
        with pytest.raises(IsADirectoryError):
            await vfs.open_path("d")
