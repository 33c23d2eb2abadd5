"""Writing: in place where the store can, staged and uploaded where it cannot."""

from __future__ import annotations

import errno
import logging
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiovfs import aio
from aiovfs.errors import StaleError
from aiovfs.fs.store import Store
from aiovfs.testing.fake_store import FakeStore

DATA = random.Random(4).randbytes(2_500_000)
CREATE = os.O_CREAT | os.O_RDWR
STALE = {"attr_timeout": 0, "listing_timeout": 0, "negative_timeout": 0, "revalidate_after": 0}

StagedFiles = Callable[[], list[Path]]


async def test_what_is_written_is_read_at_once_through_every_handle(make_vfs: Any, any_store: Store) -> None:
    """States W1."""
    async with make_vfs(any_store) as vfs:
        writer, reader = await vfs.open_path("f", CREATE), await vfs.open_path("f")
        await writer.write(0, b"hello")
        assert await reader.read(0, 100) == b"hello"
        await writer.write(3, b"LO, world")
        assert await reader.read(0, 100) == b"helLO, world"
        assert writer.inode.size == 12 or (await vfs.refresh(writer.inode, writer)).size == 12
        await writer.flush()
        await writer.release()
        await reader.release()


async def test_a_closed_file_is_in_the_store(make_vfs: Any, any_store: Store, tmp_path: Path) -> None:
    """States W2."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", DATA)
        await any_store.download("f", str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == DATA


async def test_an_empty_file_is_in_the_store_when_it_is_closed(make_vfs: Any, any_store: Store) -> None:
    """States W2."""
    async with make_vfs(any_store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.flush()
        assert (await any_store.info("f")).size == 0
        await file.release()


async def test_fsync_brings_the_content_to_the_store_before_close(make_vfs: Any) -> None:
    """States W2."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"one")
        await file.fsync()
        assert store.contents() == {"f": b"one"}
        await file.write(3, b" two")
        await file.flush()
        assert store.contents() == {"f": b"one two"}
        await file.release()


async def test_closing_without_a_change_uploads_nothing(make_vfs: Any) -> None:
    store = FakeStore({"f": b"x"})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", os.O_RDWR)
        await file.flush()
        await file.release()
    assert store.faults.count("upload", "read") == 0


async def test_append_goes_to_the_end_whatever_offset_is_given(make_vfs: Any, any_store: Store) -> None:
    """States W3."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"one")
        file = await vfs.open_path("f", os.O_WRONLY | os.O_APPEND)
        await file.write(0, b" two")
        await file.write(1, b" three")
        await file.flush()
        await file.release()
        assert await vfs.read_path("f") == b"one two three"


async def test_appends_of_many_tasks_all_arrive(make_vfs: Any, any_store: Store) -> None:
    """States W3."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"")

        async def append(number: int) -> None:
            file = await vfs.open_path("f", os.O_WRONLY | os.O_APPEND)
            for _ in range(5):
                await file.write(0, b"%03d\n" % number)
            await file.flush()
            await file.release()

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(append, number)
        lines = (await vfs.read_path("f")).split()
        assert sorted(lines) == sorted(b"%03d" % number for number in range(10) for _ in range(5))


async def test_a_write_in_the_middle_keeps_the_rest(make_vfs: Any, any_store: Store) -> None:
    """States W4."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", DATA)
        file = await vfs.open_path("f", os.O_RDWR)
        await file.write(1_000_000, b"patch")
        await file.flush()
        await file.release()
        assert await vfs.read_path("f") == DATA[:1_000_000] + b"patch" + DATA[1_000_005:]


async def test_content_is_fetched_at_the_first_write_and_not_before(make_vfs: Any) -> None:
    """States W4."""
    store = FakeStore({"f": DATA})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", os.O_RDWR)
        assert store.faults.count("read") == 0
        await file.write(0, b"x")
        assert store.faults.count("read") == 1
        await file.flush()
        await file.release()
    assert store.contents() == {"f": b"x" + DATA[1:]}


async def test_truncating_to_nothing_fetches_nothing(make_vfs: Any) -> None:
    """States W4."""
    store = FakeStore({"f": DATA})
    async with make_vfs(store) as vfs:
        await vfs.write_path("f", b"new", os.O_TRUNC)
    assert store.faults.count("read") == 0
    assert store.contents() == {"f": b"new"}


@pytest.mark.parametrize("size", [0, 10, 1_000_000, 2_500_000, 3_000_000])
async def test_truncate_by_path_cuts_or_lengthens_with_zeros(make_vfs: Any, any_store: Store, size: int) -> None:
    """States W5."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", DATA)
        inode = await vfs.set_attributes(await vfs.find("f"), size=size)
        assert inode.size == size
        assert await vfs.read_path("f") == DATA[:size].ljust(size, b"\0")
        assert (await any_store.info("f")).size == size


async def test_truncate_by_handle_is_seen_by_all_and_uploaded_at_close(make_vfs: Any, any_store: Store) -> None:
    """States W5."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", DATA)
        writer, reader = await vfs.open_path("f", os.O_RDWR), await vfs.open_path("f")
        await vfs.set_attributes(writer.inode, size=7, file=writer)
        assert await reader.read(0, 100) == DATA[:7]
        await writer.flush()
        assert (await any_store.info("f")).size == 7
        await writer.release()
        await reader.release()


async def test_only_what_stays_is_fetched_for_a_truncation(make_vfs: Any) -> None:
    store = FakeStore({"f": bytes(50_000_000)})
    async with make_vfs(store) as vfs:
        await vfs.set_attributes(await vfs.find("f"), size=100)
    assert store.faults.count("read") == 1
    assert store.contents() == {"f": bytes(100)}


async def test_writing_behind_the_end_leaves_a_hole_of_zeros(make_vfs: Any, any_store: Store) -> None:
    """States W5."""
    async with make_vfs(any_store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(100_000, b"end")
        await file.flush()
        await file.release()
        assert await vfs.read_path("f") == bytes(100_000) + b"end"


async def test_a_read_only_handle_cannot_write(make_vfs: Any, any_store: Store) -> None:
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"x")
        file = await vfs.open_path("f")
        with pytest.raises(OSError) as caught:  # noqa: PT011 (the errno is looked at)
            await file.write(0, b"y")
        assert caught.value.errno == errno.EBADF
        await file.release()


async def test_exclusive_creation_of_what_exists_is_refused(make_vfs: Any, any_store: Store) -> None:
    """States W6."""
    async with make_vfs(any_store) as vfs:
        await vfs.write_path("f", b"x")
        with pytest.raises(FileExistsError):
            await vfs.open_path("f", CREATE | os.O_EXCL)
        assert await vfs.read_path("f") == b"x"


async def test_of_many_exclusive_creators_one_wins(make_vfs: Any, any_store: Store) -> None:
    """States W6."""
    winners: list[int] = []
    async with make_vfs(any_store) as vfs:

        async def create(number: int) -> None:
            try:
                file = await vfs.open_path("lock", CREATE | os.O_EXCL)
            except FileExistsError:
                return
            winners.append(number)
            await file.flush()
            await file.release()

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(create, number)
    assert len(winners) == 1


async def test_an_exclusive_file_that_somebody_else_stored_first_is_eexist_at_close(make_vfs: Any) -> None:
    """States W6."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("lock", CREATE | os.O_EXCL)
        store.put("lock", b"theirs")
        with pytest.raises(FileExistsError):
            await file.flush()
        assert store.contents() == {"lock": b"theirs"}
        await vfs.unlink_path("lock")  # what is only here; theirs stays
        await file.release()
    assert store.contents() == {"lock": b"theirs"}


async def test_the_shared_preset_makes_exclusive_files_in_the_store_at_once(make_vfs: Any) -> None:
    """States W6."""
    store = FakeStore()
    async with make_vfs(store, preset="shared") as vfs:
        file = await vfs.open_path("lock", CREATE | os.O_EXCL)
        assert store.contents() == {"lock": b""}
        await file.release()
        store.delete("lock")
        store.faults.fail("info", FileNotFoundError(errno.ENOENT, "not yet", "lock"))
        store.put("lock", b"theirs")
        with pytest.raises(FileExistsError):
            await vfs.open_path("lock", CREATE | os.O_EXCL)
    assert store.contents() == {"lock": b"theirs"}


async def test_a_failed_upload_is_the_error_of_close_and_the_data_stays(
    make_vfs: Any, staged_files: StagedFiles
) -> None:
    """States W7."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"precious")
        store.faults.fail("upload", ConnectionResetError(errno.ECONNRESET, "cut"), TimeoutError("late"))
        with pytest.raises(ConnectionResetError):
            await file.flush()
        await file.release()  # tries again, and fails again
        assert store.contents() == {}
        assert await vfs.names() == ["f"]
        assert await vfs.read_path("f") == b"precious"
        report = await vfs.drain()
        assert report.failed == {}
    assert store.contents() == {"f": b"precious"}
    assert staged_files() == []


async def test_the_next_close_uploads_what_an_earlier_one_could_not(make_vfs: Any) -> None:
    """States W7."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"precious")
        store.faults.fail("upload", OSError(errno.EIO, "no"), OSError(errno.EIO, "no"))
        with pytest.raises(OSError, match="no"):
            await file.flush()
        await file.release()
        again = await vfs.open_path("f", os.O_WRONLY)
        await again.flush()
        assert store.contents() == {"f": b"precious"}
        await again.release()


async def test_what_could_not_be_uploaded_is_kept_and_its_place_is_logged(
    make_vfs: Any, staged_files: StagedFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """States W7."""
    store = FakeStore()
    store.faults.fail("upload", *[OSError(errno.EIO, "no") for _ in range(10)])
    with caplog.at_level(logging.ERROR, "aiovfs.mount"):
        async with make_vfs(store) as vfs:
            file = await vfs.open_path("f", CREATE)
            await file.write(0, b"precious")
            with pytest.raises(OSError, match="no"):
                await file.flush()
            await file.release()
            report = await vfs.drain(5)
            assert isinstance(report.failed["f"], OSError)
    (kept,) = staged_files()
    assert kept.read_bytes() == b"precious"
    assert report.kept == {"f": str(kept)}
    assert str(kept) in caplog.text
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


async def test_a_write_during_an_upload_is_uploaded_too(make_vfs: Any) -> None:
    """States W8."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"aaaa")
        gate = store.faults.hold("upload")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(file.flush)
            await gate.wait_for_arrival()
            await file.write(4, b"bbbb")
            gate.open()
        await file.flush()
        assert store.contents() == {"f": b"aaaabbbb"}
        await file.release()


async def test_closes_at_the_same_time_upload_once(make_vfs: Any) -> None:
    store = FakeStore()
    async with make_vfs(store) as vfs:
        first, second = await vfs.open_path("f", CREATE), await vfs.open_path("f", os.O_RDWR)
        await first.write(0, b"x")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.flush)
            tasks.start_soon(second.flush)
        await first.release()
        await second.release()
    assert store.faults.count("upload") == 1


async def test_a_cancelled_close_leaves_the_file_dirty_and_the_last_release_uploads(make_vfs: Any) -> None:
    """States W8."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"x")
        gate = store.faults.hold("upload")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(file.flush)
            await gate.wait_for_arrival()
            tasks.cancel_scope.cancel()
        assert vfs.remote.dirty == [file.inode]
        gate.open()
        await file.release()
        assert store.contents() == {"f": b"x"}


async def test_what_an_mmap_writes_after_close_is_uploaded_at_release(make_vfs: Any) -> None:
    """States W9."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"before")
        await file.flush()
        await file.write(0, b"mapped")  # as the kernel does when it cleans the pages of a shared mapping
        await file.release()
        assert store.contents() == {"f": b"mapped"}


async def test_a_file_changed_in_the_store_while_it_was_changed_here_is_not_overwritten(make_vfs: Any) -> None:
    """States W10."""
    store = FakeStore({"f": b"base"})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", os.O_RDWR)
        await file.write(0, b"OURS")
        store.put("f", b"theirs")
        with pytest.raises(StaleError, match="changed in the store"):
            await file.flush()
        assert store.contents() == {"f": b"theirs"}
        assert await vfs.read_path("f") == b"OURS"
        await vfs.unlink_path("f")
        await file.release()


async def test_a_handle_of_a_replaced_file_cannot_write(make_vfs: Any) -> None:
    """States W10."""
    store = FakeStore({"f": b"base"})
    async with make_vfs(store, **STALE) as vfs:
        file = await vfs.open_path("f", os.O_RDWR)
        store.put("f", b"theirs")
        await vfs.find("f")
        with pytest.raises(StaleError):
            await file.write(0, b"OURS")
        await file.release()
    assert store.contents() == {"f": b"theirs"}


async def test_a_full_staging_disk_is_enospc_and_a_later_write_goes_on(
    make_vfs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States W11."""
    store = FakeStore({"f": b"12345"})
    original, is_full = aio.pwrite, True

    async def pwrite(fd: int, data: bytes, offset: int) -> int:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return await original(fd, data, offset)

    monkeypatch.setattr(aio, "pwrite", pwrite)
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", os.O_RDWR)
        with pytest.raises(OSError) as caught:  # noqa: PT011 (the errno is looked at)
            await file.write(0, b"x")
        assert caught.value.errno == errno.ENOSPC
        assert await file.read(0, 10) == b"12345"
        is_full = False
        await file.write(0, b"x")
        await file.flush()
        await file.release()
    assert store.contents() == {"f": b"x2345"}


async def test_a_failed_fetch_leaves_nothing_staged_and_the_write_may_be_repeated(
    make_vfs: Any, staged_files: StagedFiles
) -> None:
    store = FakeStore({"f": b"12345"})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", os.O_RDWR)
        store.faults.fail("read", TimeoutError("late"))
        with pytest.raises(TimeoutError):
            await file.write(0, b"x")
        assert staged_files() == []
        await file.write(0, b"x")
        await file.flush()
        await file.release()
    assert store.contents() == {"f": b"x2345"}


async def test_staged_files_are_gone_after_the_last_close(make_vfs: Any, staged_files: StagedFiles) -> None:
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"x")
        assert len(staged_files()) == 1
        await file.flush()
        await file.release()
        assert staged_files() == []


async def test_after_an_upload_the_local_time_stays_and_the_version_is_known(make_vfs: Any) -> None:
    """States T1."""
    store = FakeStore()
    async with make_vfs(store, **STALE) as vfs:
        await vfs.write_path("f", b"x")
        inode = await vfs.find("f")
        local = inode.mtime_ns
        assert inode.fingerprint == (await store.info("f")).fingerprint
        assert local != (await store.info("f")).mtime_ns
        await vfs.refresh(inode)
        assert inode.mtime_ns == local
        store.put("f", b"y")
        await vfs.refresh(inode)
        assert inode.mtime_ns == (await store.info("f")).mtime_ns


async def test_set_times_are_kept_for_the_session_where_the_store_cannot(make_vfs: Any) -> None:
    """States T2."""
    store = FakeStore({"f": b"x"})
    async with make_vfs(store, **STALE) as vfs:
        inode = await vfs.find("f")
        await vfs.set_attributes(inode, mtime_ns=1_000, atime_ns=2_000)
        vfs.forget(inode)
        again = await vfs.find("f")
        assert (again.mtime_ns, again.atime_ns) == (1_000, 2_000)


async def test_set_times_survive_a_rename(make_vfs: Any) -> None:
    """States T2."""
    store = FakeStore({"f": b"x"})
    async with make_vfs(store, **STALE) as vfs:
        await vfs.set_attributes(await vfs.find("f"), mtime_ns=1_000)
        await vfs.rename_path("f", "g")
        assert (await vfs.find("g")).mtime_ns == 1_000


async def test_chmod_and_chown_succeed_without_effect_where_the_store_cannot(make_vfs: Any) -> None:
    """States T3."""
    store = FakeStore({"f": b"x"})
    async with make_vfs(store, **STALE) as vfs:
        inode = await vfs.set_attributes(await vfs.find("f"), mode=0o600, uid=1, gid=2)
        assert (inode.mode, inode.uid, inode.gid) == (None, None, None)
    assert store.contents() == {"f": b"x"}


async def test_attributes_go_to_a_store_that_keeps_them(make_vfs: Any, memory_store: Store) -> None:
    """States T4."""
    async with make_vfs(memory_store) as vfs:
        await vfs.write_path("f", b"x")
        await vfs.set_attributes(await vfs.find("f"), mode=0o600, mtime_ns=5_000)
        info = await memory_store.info("f")
        assert (stat.S_IMODE(info.mode or 0), info.mtime_ns) == (0o600, 5_000)


@pytest.mark.parametrize("options", [{"read_only": True}, {"preset": "frozen"}])
async def test_a_read_only_mount_refuses_every_change(make_vfs: Any, options: dict[str, Any]) -> None:
    """States P1."""
    store = FakeStore({"f": b"x", "d/g": b""})
    async with make_vfs(store, **options) as vfs:
        inode, root = await vfs.find("f"), vfs.root
        calls = [
            lambda: vfs.create(root, b"n", CREATE),
            lambda: vfs.open(inode, os.O_WRONLY),
            lambda: vfs.open(inode, os.O_RDONLY | os.O_TRUNC),
            lambda: vfs.set_attributes(inode, size=0),
            lambda: vfs.set_attributes(inode, mtime_ns=0),
            lambda: vfs.mkdir(root, b"n"),
            lambda: vfs.symlink(root, b"n", b"f"),
            lambda: vfs.mknod(root, b"n", 0o644),
            lambda: vfs.unlink(root, b"f"),
            lambda: vfs.rmdir(root, b"d"),
            lambda: vfs.rename(root, b"f", root, b"g"),
        ]
        for call in calls:
            with pytest.raises(OSError) as caught:  # noqa: PT011 (the errno is looked at)
                await call()
            assert caught.value.errno == errno.EROFS
    assert store.contents() == {"f": b"x", "d/g": b""}


async def test_draining_ends_in_time_and_says_what_is_left(make_vfs: Any) -> None:
    """States W7."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", CREATE)
        await file.write(0, b"x")
        gate = store.faults.hold("upload")
        report = await vfs.drain(0.05)
        assert isinstance(report.failed["f"], TimeoutError)
        assert Path(report.kept["f"]).read_bytes() == b"x"
        gate.open()
        report = await vfs.drain(5)
        assert report.uploaded == ["f"]
        await file.release()


async def test_draining_goes_on_after_a_failure(make_vfs: Any) -> None:
    store = FakeStore()
    async with make_vfs(store) as vfs:
        files = [await vfs.open_path(f"f{number}", CREATE) for number in range(10)]
        store.faults.fail("upload", OSError(errno.EIO, "no"))
        report = await vfs.drain(5)
        assert (len(report.uploaded), len(report.failed)) == (9, 1)
        for file in files:
            await file.release()
    assert len(store.contents()) == 10


async def test_a_file_whose_conflict_was_reported_can_be_written_anew(make_vfs: Any) -> None:
    """States W10."""
    store = FakeStore({"f": b"old"})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f", os.O_RDWR)
        await file.write(0, b"mine")
        store.put("f", b"theirs")
        with pytest.raises(StaleError):
            await file.flush()
        await file.release()
        with pytest.raises(StaleError):
            await vfs.write_path("f", b"a part", flags=0)
        assert store.contents() == {"f": b"theirs"}
        await vfs.write_path("f", b"all of it")
    assert store.contents() == {"f": b"all of it"}


async def test_an_exclusive_file_that_was_not_stored_can_be_written_anew(make_vfs: Any) -> None:
    """States W6."""
    store = FakeStore()
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("lock", CREATE | os.O_EXCL)
        store.put("lock", b"theirs")
        with pytest.raises(FileExistsError):
            await file.flush()
        await file.release()
        await vfs.write_path("lock", b"mine")
    assert store.contents() == {"lock": b"mine"}


async def test_a_truncation_that_meets_another_version_changes_nothing_and_works_when_repeated(make_vfs: Any) -> None:
    """States W10."""
    store = FakeStore({"f": b"the old one"})
    async with make_vfs(store) as vfs:
        inode = await vfs.find("f")
        store.put("f", b"THEIRS")
        with pytest.raises(StaleError):
            await vfs.set_attributes(inode, size=4)
        assert store.contents() == {"f": b"THEIRS"}
        assert not vfs.remote.dirty
        await vfs.set_attributes(await vfs.find("f"), size=4)  # as the kernel does it
    assert store.contents() == {"f": b"THEI"}


async def test_after_a_stale_read_the_next_open_asks_the_store(make_vfs: Any) -> None:
    """States R4."""
    store = FakeStore({"f": b"old"})
    async with make_vfs(store) as vfs:
        file = await vfs.open_path("f")
        store.put("f", b"new")
        with pytest.raises(StaleError):
            await file.read(0, 10)
        await file.release()
        assert await vfs.read_path("f") == b"new"
