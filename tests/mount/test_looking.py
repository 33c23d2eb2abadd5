"""Look-ups, attributes, listings: what is asked of the store, and what is remembered."""

from __future__ import annotations

import errno
import os
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from aiovfs.errors import StaleError
from aiovfs.fs.info import Kind
from aiovfs.fs.store import Store
from aiovfs.testing.fake_store import FakeStore

FRESH = {"attr_timeout": "forever", "listing_timeout": "forever", "negative_timeout": "forever"}
STALE = {"attr_timeout": 0, "listing_timeout": 0, "negative_timeout": 0, "revalidate_after": 0}


async def test_a_path_is_found_step_by_step(make_vfs: Any) -> None:
    async with make_vfs(FakeStore({"a/b/c": b"123"})) as vfs:
        inode = await vfs.find("a/b/c")
        assert (inode.kind, inode.size) == (Kind.FILE, 3)
        assert vfs.tree.path(inode) == "a/b/c"


async def test_a_name_that_is_not_there_is_enoent(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        with pytest.raises(FileNotFoundError):
            await vfs.lookup(vfs.root, b"absent")


async def test_a_file_is_no_directory(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"x")
        inode = await vfs.find("f")
        for call in (vfs.lookup(inode, b"x"), vfs.list(inode)):
            with pytest.raises(NotADirectoryError):
                await call


@pytest.mark.parametrize("name", [b".", b"..", b"a/b", b""])
async def test_impossible_names_never_reach_the_store(make_vfs: Any, name: bytes) -> None:
    """States N4."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        with pytest.raises(OSError, match="Invalid argument"):
            await vfs.lookup(vfs.root, name)
    assert store.faults.count() == 0


async def test_a_name_that_is_too_long_never_reaches_the_store(make_vfs: Any) -> None:
    """States N4."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        with pytest.raises(OSError) as caught:  # noqa: PT011 (the errno is looked at)
            await vfs.lookup(vfs.root, b"x" * 256)
        assert caught.value.errno == errno.ENAMETOOLONG
    assert store.faults.count() == 0


async def test_undecodable_names_are_files_like_others(make_vfs: Any, any_store: Store) -> None:
    """States N2."""
    async with make_vfs(any_store) as vfs:
        inode, file = await vfs.create(vfs.root, b"\xff\xfe", os.O_WRONLY | os.O_CREAT)
        await file.flush()
        await file.release()
        assert [entry.name for entry in await vfs.list(vfs.root)] == [b"\xff\xfe"]
        assert (await vfs.lookup(vfs.root, b"\xff\xfe")).ino == inode.ino


async def test_fresh_attributes_cost_no_request(make_vfs: Any) -> None:
    """States A1."""
    store = FakeStore({"f": b"1"})
    async with make_vfs(store, attr_timeout="forever") as vfs:
        inode = await vfs.find("f")
        store.faults.clear()
        assert await vfs.find("f") is inode
        await vfs.refresh(inode)
    assert store.faults.count() == 0


async def test_stale_attributes_are_asked_for_again(make_vfs: Any) -> None:
    """States A1."""
    store = FakeStore({"f": b"1"})
    async with make_vfs(store, **STALE) as vfs:
        inode = await vfs.find("f")
        store.put("f", b"12345")
        await vfs.refresh(inode)
        assert inode.size == 5


async def test_look_ups_inside_a_fresh_listing_cost_no_request(make_vfs: Any) -> None:
    """States A2."""
    store = FakeStore({f"d/{i}": b"x" * i for i in range(20)})
    async with make_vfs(store) as vfs:
        await vfs.list(await vfs.find("d"))
        store.faults.clear()
        assert (await vfs.find("d/7")).size == 7
        with pytest.raises(FileNotFoundError):
            await vfs.find("d/absent")
    assert store.faults.count() == 0


async def test_a_listing_is_used_again_while_it_is_fresh(make_vfs: Any) -> None:
    store = FakeStore({"a": b""})
    async with make_vfs(store, listing_timeout="forever") as vfs:
        for _ in range(3):
            assert await vfs.names() == ["a"]
    assert store.faults.count("list") == 1


async def test_listing_timeout_zero_asks_each_time(make_vfs: Any) -> None:
    store = FakeStore({"a": b""})
    async with make_vfs(store, preset="shared") as vfs:
        await vfs.names()
        store.put("b", b"")
        assert await vfs.names() == ["a", "b"]


async def test_listings_asked_for_at_once_are_one_request(make_vfs: Any) -> None:
    store = FakeStore({"a": b""})
    gate = store.faults.hold("list")
    async with make_vfs(store) as vfs, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(vfs.list, vfs.root)
        await gate.wait_for_arrival()
        gate.open()
    assert store.faults.count("list") == 1


async def test_a_listing_that_was_under_way_while_a_file_was_made_is_not_kept(make_vfs: Any) -> None:
    store = FakeStore({"a": b""})
    async with make_vfs(store, **FRESH) as vfs:
        gate = store.faults.hold("list")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(vfs.list, vfs.root)
            await gate.wait_for_arrival()
            await vfs.write_path("b", b"new")
            gate.open()
        assert await vfs.names() == ["a", "b"]
        assert (await vfs.find("b")).size == 3


async def test_our_own_changes_are_in_a_remembered_listing(make_vfs: Any) -> None:
    """States A3."""
    store = FakeStore({"a": b"", "b": b""})
    async with make_vfs(store, **FRESH) as vfs:
        await vfs.names()
        await vfs.write_path("c", b"")
        await vfs.unlink_path("a")
        await vfs.rename_path("b", "d")
        await vfs.mkdir_path("e")
        assert await vfs.names() == ["c", "d", "e"]
    assert store.faults.count("list") == 1


async def test_a_definite_absence_is_remembered(make_vfs: Any) -> None:
    """States A4."""
    store = FakeStore()
    async with make_vfs(store, negative_timeout="forever") as vfs:
        for _ in range(3):
            with pytest.raises(FileNotFoundError):
                await vfs.find("absent")
    assert store.faults.count("info") == 1


@pytest.mark.parametrize(
    "failure", [ConnectionResetError("cut"), TimeoutError("late"), PermissionError(errno.EACCES, "403"), OSError("?")]
)
async def test_a_failure_is_never_an_absence(make_vfs: Any, failure: OSError) -> None:
    """States A4."""
    store = FakeStore({"f": b"1"})
    async with make_vfs(store, **FRESH) as vfs:
        store.faults.fail("info", failure)
        with pytest.raises(type(failure)) as caught:
            await vfs.find("f")
        assert not isinstance(caught.value, FileNotFoundError)
        assert (await vfs.find("f")).size == 1


async def test_a_failed_listing_is_an_error_and_no_empty_directory(make_vfs: Any) -> None:
    """States A4."""
    store = FakeStore({"f": b"1"})
    async with make_vfs(store, **FRESH) as vfs:
        store.faults.fail("list", TimeoutError("late"))
        with pytest.raises(TimeoutError):
            await vfs.names()
        assert await vfs.names() == ["f"]


async def test_creating_a_name_ends_its_absence(make_vfs: Any) -> None:
    async with make_vfs(FakeStore(), **FRESH) as vfs:
        with pytest.raises(FileNotFoundError):
            await vfs.find("f")
        await vfs.write_path("f", b"1")
        assert await vfs.read_path("f") == b"1"


async def test_an_answer_that_is_older_than_our_own_change_is_dropped(make_vfs: Any) -> None:
    store = FakeStore({"f": b"1"})
    async with make_vfs(store, **STALE) as vfs:
        inode = await vfs.find("f")
        gate = store.faults.hold("info")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(vfs.refresh, inode)
            await gate.wait_for_arrival()
            inode.size, inode.checked_at = 77, anyio.current_time() + 1
            gate.open()
        assert inode.size == 77


async def test_inode_numbers_are_the_same_in_the_next_mount(make_vfs: Any) -> None:
    """States N5."""
    store = FakeStore({"a/b": b"1"})
    numbers = []
    for _ in range(2):
        async with make_vfs(store) as vfs:
            numbers.append([(await vfs.find(path)).ino for path in ("a", "a/b")])
    assert numbers[0] == numbers[1]


async def test_listings_and_look_ups_agree_on_inode_numbers(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        await vfs.mkdir_path("d")
        await vfs.write_path("d/f", b"")
        listed = {entry.name: entry.ino for entry in await vfs.list(await vfs.find("d"))}
        assert listed == {b"f": (await vfs.find("d/f")).ino}


async def test_a_renamed_file_keeps_its_inode_number_and_its_old_name_gets_another(make_vfs: Any) -> None:
    """States N5."""
    async with make_vfs(FakeStore({"a": b"1"})) as vfs:
        inode = await vfs.find("a")
        number = inode.ino
        await vfs.rename_path("a", "b")
        await vfs.write_path("a", b"2")
        assert (await vfs.find("b")).ino == number
        assert (await vfs.find("a")).ino != number


async def test_a_file_replaced_while_nobody_has_it_open_keeps_its_inode(make_vfs: Any) -> None:
    store = FakeStore({"f": b"1"})
    async with make_vfs(store, **STALE) as vfs:
        inode = await vfs.find("f")
        store.put("f", b"22")
        assert await vfs.find("f") is inode
        assert inode.size == 2


async def test_a_file_replaced_while_it_is_open_gets_another_inode(make_vfs: Any) -> None:
    """States R4."""
    store = FakeStore({"f": b"1"})
    async with make_vfs(store, **STALE) as vfs:
        file = await vfs.open_path("f")
        store.put("f", b"22")
        again = await vfs.find("f")
        assert again is not file.inode
        assert again.ino != file.inode.ino
        assert file.inode.size == 1
        await file.release()


async def test_a_name_that_became_a_directory_gets_another_inode(make_vfs: Any) -> None:
    store = FakeStore({"f": b"1"})
    async with make_vfs(store, **STALE) as vfs:
        inode = await vfs.find("f")
        store.delete("f")
        store.put("f/g", b"")
        assert (await vfs.find("f")).is_directory
        with pytest.raises(StaleError):
            await vfs.open(inode, os.O_RDONLY)


async def test_a_file_removed_by_somebody_else_is_gone_and_still_there_for_those_who_have_it_open(
    make_vfs: Any,
) -> None:
    store = FakeStore({"f": b"1"})
    async with make_vfs(store, **STALE) as vfs:
        file = await vfs.open_path("f")
        store.delete("f")
        with pytest.raises(FileNotFoundError):
            await vfs.find("f")
        await vfs.refresh(file.inode, file)
        assert file.inode.size == 1
        await file.release()


async def test_forgotten_inodes_are_dropped_with_their_parents(make_vfs: Any) -> None:
    store = FakeStore({"a/b/c": b"1"})
    async with make_vfs(store) as vfs:
        chain = [await vfs.find("a"), await vfs.find("a/b"), await vfs.find("a/b/c")]
        assert len(vfs.tree) == 4
        for inode in chain:
            vfs.forget(inode)
        assert len(vfs.tree) == 1


async def test_a_forgotten_inode_lives_while_it_is_open_or_dirty(make_vfs: Any) -> None:
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", os.O_CREAT | os.O_WRONLY)
        inode = file.inode
        vfs.forget(inode)
        assert await vfs.lookup(vfs.root, b"f") is inode
        await file.write(0, b"x")
        store.faults.fail("upload", OSError(errno.EIO, "no"), OSError(errno.EIO, "no"))
        with pytest.raises(OSError, match="no"):
            await file.flush()
        await file.release()
        assert await vfs.lookup(vfs.root, b"f") is inode
        await vfs.drain()
        await vfs.remote.settle(inode)
        assert await vfs.lookup(vfs.root, b"f") is not inode


async def test_statfs_never_asks_the_network(make_vfs: Any) -> None:
    """States A5."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        assert (await vfs.usage()).size > 1 << 40
    assert store.faults.count() == 0


async def test_mounting_never_asks_the_network(make_vfs: Any) -> None:
    """States A5."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        await vfs.refresh(vfs.root)
    assert store.faults.count() == 0


async def test_cheap_stores_are_asked_each_time(make_vfs: Any, memory_store: Store) -> None:
    """States A6."""
    async with make_vfs(memory_store) as vfs:
        await vfs.write_path("f", b"1")
        inode = await vfs.find("f")
        await memory_store.set_attributes("f", size=5)
        await vfs.refresh(inode)
        assert inode.size == 5
        await memory_store.remove("f")
        with pytest.raises(FileNotFoundError):
            await vfs.find("f")
        assert await vfs.names() == []
