"""The cache on disk: found again, shared, bounded, never wrong, and no harm when its disk is bad."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiovfs.fs.registry import identity_of
from aiovfs.mount.cache import version as disk_version
from aiovfs.mount.cache.disk import DiskCache, version_key
from aiovfs.mount.cache.index import Index
from aiovfs.mount.cache.version import BLOCK_SIZE
from aiovfs.testing.fake_store import FakeStore

MIB = 1024 * 1024
DATA = random.Random(7).randbytes(3 * MIB + 1000)


def store_with(data: bytes = DATA, name: str = "f") -> FakeStore:
    """A store that stands for the same place each time it is made."""
    store = FakeStore({name: data})
    store.identity = "a place"
    return store


def fetched(store: FakeStore) -> int:
    return store.faults.count("read", "open_reader")


@asynccontextmanager
async def cache_in(directory: Path, *, max_size: int = 1 << 30, min_free: int = 0) -> AsyncIterator[DiskCache]:
    async with anyio.create_task_group() as tasks:
        cache = await DiskCache.open(str(directory), tasks, max_size=max_size, min_free=min_free)
        assert cache is not None
        try:
            yield cache
        finally:
            await cache.aclose()
            tasks.cancel_scope.cancel()


async def settle(vfs: Any) -> None:
    """Return when everything that was fetched is on disk and noted."""
    while vfs.disk.writes or vfs.blocks._ahead:
        await anyio.sleep(0.001)
    await vfs.disk.note()


async def keep(cache: DiskCache, name: str, data: bytes) -> Any:
    version = cache.version(version_key("place", name, "1", len(data)), len(data))
    await version.open()
    for start in range(0, len(data), MIB):
        await version.write(start // BLOCK_SIZE, data[start : start + MIB])
    return version


async def test_the_next_mount_fetches_nothing_again(make_vfs: Any) -> None:
    """States C1."""
    async with make_vfs(store_with()) as vfs:
        assert await vfs.read_path("f") == DATA
    store = store_with()
    async with make_vfs(store) as vfs:
        assert await vfs.read_path("f") == DATA
        file = await vfs.open_path("f")
        assert await file.read(100_001, 70_000) == DATA[100_001:170_001]
        assert await file.read(len(DATA) - 10, 100) == DATA[-10:]
        await file.release()
    assert fetched(store) == 0


async def test_only_what_is_missing_is_fetched(make_vfs: Any) -> None:
    async with make_vfs(store_with(), readahead=0) as vfs:
        file = await vfs.open_path("f")
        await file.read(0, BLOCK_SIZE)
        await file.read(2 * BLOCK_SIZE, BLOCK_SIZE)
        await file.release()
    store = store_with()
    async with make_vfs(store, readahead=0) as vfs:
        file = await vfs.open_path("f")
        assert await file.read(0, 3 * BLOCK_SIZE) == DATA[: 3 * BLOCK_SIZE]
        await file.release()
    assert store.faults.count("read") == 1


async def test_another_version_is_not_taken_for_the_one_on_disk(make_vfs: Any) -> None:
    """States C2."""
    async with make_vfs(store_with()) as vfs:
        await vfs.read_path("f")
    other = random.Random(8).randbytes(len(DATA))
    store = store_with()
    store.put("f", other)
    async with make_vfs(store) as vfs:
        assert await vfs.read_path("f") == other


async def test_another_place_is_not_taken_for_the_one_on_disk(make_vfs: Any) -> None:
    async with make_vfs(store_with(b"one" * 1000)) as vfs:
        await vfs.read_path("f")
    store = store_with(b"two" * 1000)
    store.identity = "another place"
    async with make_vfs(store) as vfs:
        assert await vfs.read_path("f") == b"two" * 1000


async def test_without_identity_nothing_is_written(make_vfs: Any, tmp_path: Path) -> None:
    async with make_vfs(FakeStore({"f": DATA})) as vfs:
        await vfs.read_path("f")
        assert vfs.disk is None
    assert not (tmp_path / "cache" / "blocks").exists()


async def test_the_option_turns_it_off(make_vfs: Any, tmp_path: Path) -> None:
    async with make_vfs(store_with(), disk_cache=0) as vfs:
        await vfs.read_path("f")
    assert not (tmp_path / "cache" / "blocks").exists()


async def test_two_mounts_share_it_at_the_same_time(make_vfs: Any) -> None:
    """States C3."""
    second = store_with()
    async with make_vfs(store_with()) as one, make_vfs(second) as other:
        await one.read_path("f")
        await settle(one)
        assert await other.read_path("f") == DATA
    assert fetched(second) == 0


async def test_it_is_private(make_vfs: Any, tmp_path: Path) -> None:
    async with make_vfs(store_with()) as vfs:
        await vfs.read_path("f")
    blocks = tmp_path / "cache" / "blocks"
    assert blocks.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in blocks.rglob("*"))


async def test_a_directory_that_others_may_write_to_is_refused(
    make_vfs: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocks = tmp_path / "cache" / "blocks"
    blocks.mkdir(parents=True)
    blocks.chmod(0o777)
    async with make_vfs(store_with()) as vfs:
        assert await vfs.read_path("f") == DATA
        assert vfs.disk is None
    assert "no cache on disk" in caplog.text


async def test_the_limit_holds_before_every_block(tmp_path: Path) -> None:
    """States C4."""
    limit = 4 * MIB
    async with cache_in(tmp_path / "c", max_size=limit) as cache:
        for number in range(8):
            version = await keep(cache, f"file {number}", random.Random(number).randbytes(MIB))
            assert cache.size <= limit
            await version.aclose()
        index = Index(str(tmp_path / "c" / "index.sqlite"))
        assert 0 < index.total() <= limit
        index.close()
    sizes = [path.stat().st_blocks * 512 for path in (tmp_path / "c" / "data").rglob("*") if path.is_file()]
    assert 0 < sum(sizes) <= limit


async def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    async with cache_in(tmp_path / "c", max_size=4 * MIB) as cache:
        for name in "abc":
            await (await keep(cache, name, b"x" * MIB)).aclose()
        again = cache.version(version_key("place", "a", "1", MIB), MIB)
        await again.open()
        assert await again.read(0, 10) == b"x" * 10
        await again.aclose()
        await (await keep(cache, "d", b"x" * MIB)).aclose()
        await (await keep(cache, "e", b"x" * MIB)).aclose()
        there = []
        for name in "abcde":
            version = cache.version(version_key("place", name, "1", MIB), MIB)
            await version.open()
            there += [name] * version.has(0, MIB // BLOCK_SIZE - 1)
            version.close()
    assert "a" in there
    assert "b" not in there
    assert "e" in there


async def test_a_file_larger_than_the_cache_is_kept_in_part_and_reads_right(make_vfs: Any) -> None:
    data = random.Random(9).randbytes(40 * MIB)
    async with make_vfs(store_with(data), disk_cache="20MiB", cache_size="1MiB") as vfs:
        for _ in range(2):
            file = await vfs.open_path("f")
            for offset in range(0, len(data), MIB):
                assert await file.read(offset, MIB) == data[offset : offset + MIB]
            await file.release()
            await settle(vfs)
        assert vfs.disk.size <= 20 * MIB
        assert vfs.disk.bytes_written > 20 * MIB


async def test_what_is_evicted_while_it_is_written_is_not_believed(tmp_path: Path, monkeypatch: Any) -> None:
    async with cache_in(tmp_path / "c") as cache:
        version = await keep(cache, "f", DATA[:MIB])
        await cache.note()
        written = disk_version._write

        def evict_after_writing(fd: int, first: int, data: bytes) -> Any:
            sums = written(fd, first, data)
            assert version.evict(0, MIB, cache._index) == MIB
            return sums

        monkeypatch.setattr(disk_version, "_write", evict_after_writing)
        await version.write(16, DATA[MIB : MIB + BLOCK_SIZE])
        assert not version.has(16, 16)
        assert await version.read(MIB, 10) is None
        assert await version.read(0, 10) is None


async def test_a_part_that_another_process_reads_is_not_taken_away(tmp_path: Path) -> None:
    async with cache_in(tmp_path / "c") as cache:
        version = await keep(cache, "f", DATA[:MIB])
        await cache.note()
        fd = os.open(cache.path_of(version.key), os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            assert version.evict(0, MIB, cache._index) == 0
        finally:
            os.close(fd)
        assert await version.read(0, MIB) == DATA[:MIB]


async def test_a_block_that_is_not_what_was_written_is_fetched_again(make_vfs: Any, tmp_path: Path) -> None:
    """States C5."""
    async with make_vfs(store_with()) as vfs:
        await vfs.read_path("f")
    (path,) = [path for path in (tmp_path / "cache" / "blocks" / "data").rglob("*") if path.is_file()]
    with path.open("r+b") as file:
        file.seek(BLOCK_SIZE + 5)
        file.write(bytes(100))  # as after a loss of power: the index got to the disk, the data did not
    store = store_with()
    async with make_vfs(store, readahead=0) as vfs:
        assert await vfs.read_path("f") == DATA
    assert 1 <= store.faults.count("read") <= 2
    store = store_with()
    async with make_vfs(store) as vfs:
        assert await vfs.read_path("f") == DATA
    assert fetched(store) == 0


async def test_files_that_were_cut_or_removed_are_fetched_again(make_vfs: Any, tmp_path: Path) -> None:
    for damage in ("cut", "removed"):
        async with make_vfs(store_with()) as vfs:
            await vfs.read_path("f")
        (path,) = [path for path in (tmp_path / "cache" / "blocks" / "data").rglob("*") if path.is_file()]
        if damage == "cut":
            os.truncate(path, 100_000)
        else:
            path.unlink()
        async with make_vfs(store_with()) as vfs:
            assert await vfs.read_path("f") == DATA


async def test_a_damaged_index_starts_the_cache_anew(make_vfs: Any, tmp_path: Path) -> None:
    async with make_vfs(store_with()) as vfs:
        await vfs.read_path("f")
    (tmp_path / "cache" / "blocks" / "index.sqlite").write_bytes(b"not a database at all" * 1000)
    for _ in range(2):
        store = store_with()
        async with make_vfs(store) as vfs:
            assert await vfs.read_path("f") == DATA
    assert fetched(store) == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_a_cache_disk_that_refuses_is_reported_once_and_reads_go_on(
    make_vfs: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """States C6."""

    def refuse(fd: int, first: int, data: bytes) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk_version, "_write", refuse)
    async with make_vfs(store_with(), cache_size=0) as vfs:
        for _ in range(3):
            assert await vfs.read_path("f") == DATA
        await settle(vfs)
        assert vfs.disk.size == 0
    assert len([record for record in caplog.records if "cannot keep blocks" in record.getMessage()]) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs of a fixed size takes root")
async def test_a_full_disk_keeps_less_and_reads_go_on(make_vfs: Any, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(small)], check=True)
    try:
        async with make_vfs(store_with(), cache_dir=str(small), disk_free=0, cache_size=0) as vfs:
            assert await vfs.read_path("f") == DATA
            assert await vfs.read_path("f") == DATA
    finally:
        subprocess.run(["umount", str(small)], check=True)


async def test_free_space_is_left_to_others(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    async with cache_in(tmp_path / "c", min_free=2 * free) as cache:
        version = await keep(cache, "f", DATA[:MIB])
        assert not version.has(0, 0)
        assert cache.size == 0


async def test_nothing_stays_open(make_vfs: Any) -> None:
    names = [f"f{number}" for number in range(20)]
    store = FakeStore(dict.fromkeys(names, b"x" * 1000))
    store.identity = "many"
    async with make_vfs(store) as vfs:
        await vfs.read_path(names[0])
        await settle(vfs)
        before = len(os.listdir("/proc/self/fd"))
        for name in names:
            await vfs.read_path(name)
        await settle(vfs)
        assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_cancelled_reader_leaves_the_cache_usable(make_vfs: Any) -> None:
    store = store_with()
    async with make_vfs(store, readahead=0) as vfs:
        gate = store.faults.hold("read")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(vfs.read_path, "f")
            await gate.wait_for_arrival()
            tasks.cancel_scope.cancel()
        gate.open()
        assert await vfs.read_path("f") == DATA


KILLED = """
    import anyio, os, signal, sys
    from aiovfs.mount.cache.disk import DiskCache, version_key
    from aiovfs.mount.cache.version import BLOCK_SIZE

    async def main():
        async with anyio.create_task_group() as tasks:
            cache = await DiskCache.open(sys.argv[1], tasks, max_size=1 << 30, min_free=0)
            data = open(sys.argv[2], "rb").read()
            version = cache.version(version_key("place", "f", "1", len(data)), len(data))
            await version.open()
            for index in range(len(data) // BLOCK_SIZE):
                await version.write(index, data[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE])
                if index % 7 == 6:
                    await cache.note()
                print(index, flush=True)
            await anyio.sleep_forever()

    anyio.run(main)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_after_kill_9_what_is_noted_is_right_and_the_rest_is_fetched(tmp_path: Path) -> None:
    """States C7."""
    source = tmp_path / "source"
    source.write_bytes(DATA)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "c"), str(source)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    with child:
        while int(child.stdout.readline()) < 30:
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
    async with cache_in(tmp_path / "c") as cache:
        version = cache.version(version_key("place", "f", "1", len(DATA)), len(DATA))
        await version.open()
        there = [index for index in range(len(DATA) // BLOCK_SIZE) if version.has(index, index)]
        assert len(there) >= 28
        for index in there:
            start = index * BLOCK_SIZE
            assert await version.read(start, BLOCK_SIZE) == DATA[start : start + BLOCK_SIZE]
        version.close()


async def test_files_that_the_index_does_not_know_are_removed_by_the_first_to_open(tmp_path: Path) -> None:
    async with cache_in(tmp_path / "c") as cache:
        version = await keep(cache, "f", DATA[:MIB])
        path = Path(cache.path_of(version.key))
    stray = path.parent / ("0" * 62)
    stray.write_bytes(b"left by a process that was killed")
    async with cache_in(tmp_path / "c"):
        assert path.exists()
        assert not stray.exists()


def test_an_identity_tells_places_apart_and_not_who_asks() -> None:
    url = "s3://bucket/prefix"
    assert identity_of(url, {}) != identity_of("s3://bucket/other", {})
    assert identity_of(url, {"endpoint_url": "http://a"}) != identity_of(url, {"endpoint_url": "http://b"})
    assert identity_of(url, {"secret": "1", "token": "2"}) == identity_of(url, {"secret": "3"})
    for local in ("memory://x", "zip::memory://x.zip", "zip::x.zip", "file:///tmp", "/tmp", "never-heard-of://x"):
        assert identity_of(local, {}) is None
