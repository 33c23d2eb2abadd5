"""Names: made, removed, moved, also under files that are open or not uploaded."""

from __future__ import annotations

import errno
import os
import random
from typing import Any

import anyio
import pytest

from aiovfs.errors import StaleError
from aiovfs.fs import open_store
from aiovfs.fs.store import Store
from aiovfs.testing.fake_store import FakeStore

DATA = random.Random(6).randbytes(500_000)
CREATE = os.O_CREAT | os.O_RDWR
NOREPLACE, EXCHANGE = 1, 2


async def fails_with(number: int, call: Any) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 (the errno is looked at)
        await call
    assert caught.value.errno == number


async def test_directories_are_made_and_removed(make_vfs: Any, any_store: Store) -> None:
    """States M1."""
    async with make_vfs(any_store) as vfs:
        await vfs.mkdir_path("d")
        assert (await vfs.find("d")).is_directory
        assert await vfs.names("d") == []
        assert (await any_store.info("d")).is_directory
        await fails_with(errno.EEXIST, vfs.mkdir(vfs.root, b"d"))
        await vfs.rmdir(vfs.root, b"d")
        assert await vfs.names() == []
        with pytest.raises(FileNotFoundError):
            await any_store.info("d")


async def test_a_directory_with_entries_is_not_removed(make_vfs: Any, any_store: Store) -> None:
    """States M1."""
    async with make_vfs(any_store) as vfs:
        await vfs.mkdir_path("d")
        await vfs.write_path("d/f", b"x")
        await fails_with(errno.ENOTEMPTY, vfs.rmdir(vfs.root, b"d"))
        assert await vfs.read_path("d/f") == b"x"


async def test_a_directory_whose_only_file_was_not_uploaded_yet_is_not_removed(make_vfs: Any) -> None:
    """States M1."""
    async with make_vfs(FakeStore()) as vfs:
        await vfs.mkdir_path("d")
        file = await vfs.open_path("d/f", CREATE)
        await fails_with(errno.ENOTEMPTY, vfs.rmdir(vfs.root, b"d"))
        await file.flush()
        await file.release()


async def test_files_are_not_removed_as_directories_nor_directories_as_files(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        await vfs.mkdir_path("d")
        await vfs.write_path("f", b"")
        await fails_with(errno.ENOTDIR, vfs.rmdir(vfs.root, b"f"))
        await fails_with(errno.EISDIR, vfs.unlink(vfs.root, b"d"))


async def test_nothing_can_be_made_in_a_removed_directory(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        directory = await vfs.mkdir_path("d")
        await vfs.rmdir(vfs.root, b"d")
        await fails_with(errno.ENOENT, vfs.create(directory, b"f", CREATE))
        await fails_with(errno.ENOENT, vfs.mkdir(directory, b"e"))


async def test_a_name_that_the_store_cannot_have_is_refused_when_it_is_made(
    make_vfs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States N6."""

    def check_name(self: Store, name: str) -> None:
        if "\n" in name:
            raise OSError(errno.EINVAL, "no line breaks here", name)

    monkeypatch.setattr(FakeStore, "check_name", check_name)
    async with make_vfs(FakeStore()) as vfs:
        await vfs.write_path("f", b"x")
        await fails_with(errno.EINVAL, vfs.create(vfs.root, b"a\nb", CREATE))
        await fails_with(errno.EINVAL, vfs.mknod(vfs.root, b"a\nb", 0o644))
        await fails_with(errno.EINVAL, vfs.mkdir(vfs.root, b"a\nb"))
        await fails_with(errno.EINVAL, vfs.rename(vfs.root, b"f", vfs.root, b"a\nb"))
        assert await vfs.names() == ["f"]
        assert not vfs.remote.dirty


async def test_a_removed_file_is_gone_from_the_store(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"x")
        await vfs.unlink_path("f")
        assert await vfs.names() == []
        with pytest.raises(FileNotFoundError):
            await any_store.info("f")
        await fails_with(errno.ENOENT, vfs.unlink(vfs.root, b"f"))


async def test_an_open_file_stays_readable_and_writable_after_its_name_is_gone(make_vfs: Any, any_store: Store) -> None:
    """States M2."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", DATA)
        file = await vfs.open_path("f", os.O_RDWR)
        await vfs.unlink_path("f")
        assert await file.read(400_000, 100_000) == DATA[400_000:]
        await file.write(0, b"still here")
        assert await file.read(0, 10) == b"still here"
        await vfs.refresh(file.inode, file)
        assert (file.inode.size, file.inode.nlink or 0) == (len(DATA), 0)
        await file.fsync()
        await file.flush()
        await file.release()
        assert await vfs.names() == []
        with pytest.raises(FileNotFoundError):
            await any_store.info("f")


async def test_content_of_an_open_file_is_fetched_before_it_is_removed(make_vfs: Any) -> None:
    """States M2."""
    store = FakeStore({"f": DATA})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f")
        store.faults.fail("read", TimeoutError("late"))
        with pytest.raises(TimeoutError):
            await vfs.unlink_path("f")
        assert store.contents() == {"f": DATA}
        await vfs.unlink_path("f")
        assert await file.read(0, len(DATA)) == DATA
        await file.release()


async def test_a_file_removed_before_it_was_uploaded_costs_no_request_and_is_never_uploaded(make_vfs: Any) -> None:
    """States M2."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"x")
        store.faults.clear()
        await vfs.unlink_path("f")
        await file.flush()
        await file.release()
        assert (await vfs.drain()).uploaded == []
    assert store.faults.count() == 0
    assert store.contents() == {}


async def test_removing_waits_for_an_upload_so_that_the_file_does_not_come_back(make_vfs: Any) -> None:
    """States M2."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"x")
        gate = store.faults.hold("upload")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(file.flush)
            await gate.wait_for_arrival()
            tasks.start_soon(vfs.unlink, vfs.root, b"f")
            await anyio.sleep(0.01)
            gate.open()
        await file.release()
    assert store.contents() == {}


async def test_a_name_can_be_used_again_while_its_old_file_is_open(make_vfs: Any, any_store: Store) -> None:
    """States M2."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"old")
        old = await vfs.open_path("f")
        await vfs.unlink_path("f")
        await vfs.write_path("f", b"newer")
        assert await old.read(0, 100) == b"old"
        assert await vfs.read_path("f") == b"newer"
        assert (await vfs.find("f")).ino != old.inode.ino
        await old.release()
        assert await vfs.read_path("f") == b"newer"


async def test_a_file_is_renamed(make_vfs: Any, any_store: Store) -> None:
    """States M3."""
    async with make_vfs(any_store) as vfs:
        await vfs.mkdir_path("d")
        await vfs.write_path("f", b"x")
        await vfs.rename_path("f", "d/g")
        assert (await vfs.names(), await vfs.names("d")) == (["d"], ["g"])
        assert await vfs.read_path("d/g") == b"x"
        assert (await any_store.info("d/g")).size == 1


async def test_a_rename_replaces_a_file(make_vfs: Any, any_store: Store) -> None:
    """States M3."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"new")
        await vfs.write_path("g", b"old")
        await vfs.rename_path("f", "g")
        assert await vfs.names() == ["g"]
        assert await vfs.read_path("g") == b"new"


async def test_a_rename_over_an_open_file_leaves_it_to_its_readers(make_vfs: Any, any_store: Store) -> None:
    """States M2."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"new")
        await vfs.write_path("g", b"old")
        reader = await vfs.open_path("g", os.O_RDWR)
        await vfs.rename_path("f", "g")
        assert await reader.read(0, 100) == b"old"
        await reader.write(0, b"OLD")
        await reader.flush()
        await reader.release()
        assert await vfs.read_path("g") == b"new"


async def test_a_directory_is_renamed_with_everything_in_it(make_vfs: Any, any_store: Store) -> None:
    """States M3."""
    async with make_vfs(any_store) as vfs:
        for path in ("d", "d/e"):
            await vfs.mkdir_path(path)
        await vfs.write_path("d/e/f", DATA)
        inode = await vfs.find("d/e/f")
        await vfs.rename_path("d", "n")
        assert await vfs.find("n/e/f") is inode
        assert await vfs.read_path("n/e/f") == DATA
        with pytest.raises(FileNotFoundError):
            await vfs.find("d")


async def test_a_directory_is_renamed_under_a_file_that_is_being_written(make_vfs: Any, any_store: Store) -> None:
    """States M4."""
    async with make_vfs(any_store) as vfs:
        await vfs.mkdir_path("d")
        await vfs.write_path("d/old", b"old content")
        new, old = await vfs.open_path("d/new", CREATE), await vfs.open_path("d/old", os.O_RDWR)
        await new.write(0, b"one ")
        await old.write(0, b"OLD")
        await vfs.rename_path("d", "n")
        await new.write(4, b"two")
        for file in (new, old):
            await file.flush()
            await file.release()
        assert await vfs.names("n") == ["new", "old"]
        assert (await vfs.read_path("n/new"), await vfs.read_path("n/old")) == (b"one two", b"OLD content")
        with pytest.raises(FileNotFoundError):
            await any_store.info("d")


async def test_a_rename_waits_for_uploads_and_uploads_for_a_rename(make_vfs: Any) -> None:
    """States M4."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"x")
        gate = store.faults.hold("upload")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(file.flush)
            await gate.wait_for_arrival()
            tasks.start_soon(vfs.rename, vfs.root, b"f", vfs.root, b"g")
            await anyio.sleep(0.01)
            assert store.faults.count("rename") == 0
            gate.open()
        await file.release()
    assert store.contents() == {"g": b"x"}


async def test_who_opens_a_file_that_is_being_replaced_gets_the_new_one(make_vfs: Any) -> None:
    """States M2."""
    store = FakeStore({"new": DATA, "target": b"old"})
    async with make_vfs(store) as vfs:
        target = await vfs.find("target")
        gate = store.faults.hold("rename")
        outcome: list[OSError] = []

        async def open_target() -> None:
            with pytest.raises(StaleError) as caught:  # the kernel looks the name up again, and opens again
                await vfs.open(target, os.O_RDONLY)
            outcome.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(vfs.rename, vfs.root, b"new", vfs.root, b"target")
            await gate.wait_for_arrival()
            tasks.start_soon(open_target)
            await anyio.wait_all_tasks_blocked()
            assert not outcome
            gate.open()
        assert outcome
        assert await vfs.read_path("target") == DATA


@pytest.mark.parametrize("taken_by", ["rename", "unlink"])
async def test_a_read_that_is_under_way_when_its_file_loses_its_name_ends_well(make_vfs: Any, taken_by: str) -> None:
    """States M2."""
    store = FakeStore({"new": b"new", "target": DATA})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("target")
        slow = store.faults.hold("read")
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                assert await file.read(0, 1000) == DATA[:1000]

            tasks.start_soon(read)
            await slow.wait_for_arrival()
            store.faults.hold("read").open()  # requests that come later overtake it
            if taken_by == "rename":
                await vfs.rename(vfs.root, b"new", vfs.root, b"target")
            else:
                await vfs.unlink(vfs.root, b"target")
            slow.open()
        await file.release()


async def test_renaming_a_file_that_was_never_uploaded_costs_no_request(make_vfs: Any) -> None:
    """States M5."""
    store = FakeStore({"target": b"old"})
    async with make_vfs(store) as vfs:
        await vfs.names()
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"new")
        store.faults.clear()
        await vfs.rename_path("f", "g")
        await vfs.rename_path("g", "target")
        assert store.faults.count() == 0
        assert await vfs.names() == ["target"]
        await file.flush()
        await file.release()
        assert store.contents() == {"target": b"new"}
        assert store.faults.requests == [("upload", "target")]


async def test_an_exclusive_file_may_be_renamed_over_another(make_vfs: Any) -> None:
    """States M5."""
    store = FakeStore({"index": b"old"})
    async with make_vfs(store) as vfs:
        lock = await vfs.open_path("index.lock", CREATE | os.O_EXCL)
        await lock.write(0, b"new")
        await lock.flush()
        await lock.release()
        await vfs.rename_path("index.lock", "index")
    assert store.contents() == {"index": b"new"}


async def test_what_replaced_a_file_without_being_uploaded_takes_it_along_when_removed(make_vfs: Any) -> None:
    """States M5."""
    store = FakeStore({"target": b"old"})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await vfs.rename_path("f", "target")
        await vfs.unlink_path("target")
        await file.release()
        assert store.contents() == {}


async def test_what_replaced_a_file_without_being_uploaded_can_be_renamed_further(make_vfs: Any) -> None:
    """States M5."""
    store = FakeStore({"target": b"old"})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"new")
        await vfs.rename_path("f", "target")
        await vfs.rename_path("target", "elsewhere")
        await file.flush()
        await file.release()
        assert store.contents() == {"elsewhere": b"new"}


async def test_noreplace_refuses_to_replace_and_exchange_is_unknown(make_vfs: Any, any_store: Store) -> None:
    """States M6."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"1")
        await vfs.write_path("g", b"2")
        await fails_with(errno.EEXIST, vfs.rename_path("f", "g", NOREPLACE))
        await fails_with(errno.EINVAL, vfs.rename_path("f", "g", EXCHANGE))
        await vfs.rename_path("f", "h", NOREPLACE)
        assert (await vfs.read_path("g"), await vfs.read_path("h")) == (b"2", b"1")


async def test_renames_that_posix_forbids_are_refused(make_vfs: Any, any_store: Store) -> None:
    """States M6."""
    async with make_vfs(any_store) as vfs:
        for path in ("d", "d/sub", "full", "empty"):
            await vfs.mkdir_path(path)
        await vfs.write_path("full/f", b"")
        await vfs.write_path("f", b"")
        await fails_with(errno.ENOTEMPTY, vfs.rename_path("d", "full"))
        await fails_with(errno.EISDIR, vfs.rename_path("f", "empty"))
        await fails_with(errno.ENOTDIR, vfs.rename_path("d", "f"))
        await fails_with(errno.EINVAL, vfs.rename_path("d", "d/sub/d"))
        await fails_with(errno.EINVAL, vfs.rename_path("d", "d/d"))
        await fails_with(errno.ENOENT, vfs.rename_path("absent", "x"))
        await vfs.rename_path("d", "empty")
        assert await vfs.names("empty") == ["sub"]


async def test_a_directory_is_not_replaced_by_another_if_somebody_else_put_a_file_into_it(make_vfs: Any) -> None:
    """States M6."""
    store = FakeStore(directories=["d", "empty"])
    async with make_vfs(store, listing_timeout="forever", attr_timeout="forever") as vfs:
        assert await vfs.names("empty") == []
        store.put("empty/f", b"theirs")
        await fails_with(errno.ENOTEMPTY, vfs.rename_path("d", "empty"))
    assert store.contents() == {"empty/f": b"theirs"}


async def test_renaming_to_the_same_name_does_nothing(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"x")
        await vfs.rename_path("f", "f")
        assert await vfs.read_path("f") == b"x"


async def test_a_failed_rename_changes_nothing(make_vfs: Any) -> None:
    store = FakeStore({"f": b"1", "g": b"2"})
    async with make_vfs(store) as vfs:
        store.faults.fail("rename", TimeoutError("late"))
        with pytest.raises(TimeoutError):
            await vfs.rename_path("f", "g")
        assert (await vfs.read_path("f"), await vfs.read_path("g")) == (b"1", b"2")


async def test_renames_at_the_same_time_leave_a_whole_tree(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        for name in "abcd":
            await vfs.mkdir_path(name)
            await vfs.write_path(f"{name}/f", name.encode())

        async def rename(old: str, new: str) -> None:
            await vfs.rename(vfs.root, old.encode(), vfs.root, new.encode())

        async with anyio.create_task_group() as tasks:
            for name in "abcd":
                tasks.start_soon(rename, name, name.upper())
        assert await vfs.names() == list("ABCD")
        for name in "abcd":
            assert await vfs.read_path(f"{name.upper()}/f") == name.encode()


async def test_symlinks_are_kept_uninterpreted(make_vfs: Any, tmp_path: Any) -> None:
    """States M7."""
    (tmp_path / "root").mkdir()
    async with await open_store(str(tmp_path / "root")) as store, make_vfs(store) as vfs:
        inode = await vfs.symlink(vfs.root, b"link", b"../\xff/../nowhere")
        assert await vfs.readlink(inode) == b"../\xff/../nowhere"
        assert await vfs.readlink(await vfs.find("link")) == b"../\xff/../nowhere"
        await fails_with(errno.EINVAL, vfs.readlink(vfs.root))
        await fails_with(errno.EEXIST, vfs.symlink(vfs.root, b"link", b"x"))
        await fails_with(errno.ELOOP, vfs.open(inode, os.O_RDONLY))


async def test_symlinks_are_eperm_where_the_store_has_none(make_vfs: Any) -> None:
    """States M7."""
    async with make_vfs(FakeStore()) as vfs:
        await fails_with(errno.EPERM, vfs.symlink(vfs.root, b"link", b"x"))


async def test_mknod_makes_regular_files_only(make_vfs: Any, any_store: Store) -> None:
    """States M8."""
    import stat

    async with make_vfs(any_store) as vfs:
        await vfs.mknod(vfs.root, b"f", stat.S_IFREG | 0o600)
        assert (await any_store.info("f")).size == 0
        await fails_with(errno.EPERM, vfs.mknod(vfs.root, b"fifo", stat.S_IFIFO | 0o600))
        await fails_with(errno.EEXIST, vfs.mknod(vfs.root, b"f", stat.S_IFREG))


async def test_what_a_process_makes_belongs_to_it_where_the_store_keeps_owners(
    make_vfs: Any, memory_store: Store
) -> None:
    """States T4."""
    async with make_vfs(memory_store) as vfs:
        inode, file = await vfs.create(vfs.root, b"f", CREATE, 0o640, owner=(1234, 567))
        await file.release()
        assert (inode.uid, inode.gid, inode.mode) == (1234, 567, 0o640)
        directory = await vfs.mkdir(vfs.root, b"d", 0o750, owner=(1234, 567))
        assert (directory.uid, directory.gid, directory.mode) == (1234, 567, 0o750)
