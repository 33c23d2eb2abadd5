"""Reads, writes and calls in threads, on every loop."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from blockbuster import BlockBuster

from aiovfs._loop.caller import drive
from aiovfs.aio import disk


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 64)
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


async def test_pread_returns_exactly_the_range(file: int) -> None:
    assert await disk.pread(file, 4, 254) == bytes((254, 255, 0, 1))


async def test_pread_is_short_only_at_the_end_of_the_file(file: int) -> None:
    assert len(await disk.pread(file, 1000, 16384 - 10)) == 10
    assert await disk.pread(file, 10, 16384) == b""


async def test_pread_completes_in_a_thread_what_the_page_cache_lacks(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_three(fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        buffers[0][:3] = os.pread(fd, 3, offset)
        return 3

    monkeypatch.setattr(os, "preadv", only_three)
    assert await disk.pread(file, 6, 10) == bytes(range(10, 16))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EOPNOTSUPP])
async def test_pread_reads_in_a_thread_when_the_kernel_would_wait(
    file: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "preadv", refuse)
    assert await disk.pread(file, 2, 7) == b"\x07\x08"


async def test_pread_of_a_closed_descriptor_raises_its_errno(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        await disk.pread(fd, 1, 0)
    assert caught.value.errno == errno.EBADF


async def test_pwrite_writes_everything_also_when_the_kernel_takes_it_in_pieces(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, bytes(data)[:3], offset))
    assert await disk.pwrite(file, memoryview(b"0123456789"), 5) == 10
    monkeypatch.undo()
    assert os.pread(file, 10, 5) == b"0123456789"


async def test_ftruncate_and_fsync_reach_the_file(file: int) -> None:
    await disk.ftruncate(file, 5)
    await disk.fsync(file)
    await disk.fsync(file, data_only=True)
    assert os.fstat(file).st_size == 5


async def test_run_calls_in_another_thread() -> None:
    assert await disk.run(threading.get_ident) != threading.get_ident()


async def test_no_more_calls_are_in_flight_than_there_are_threads() -> None:
    running, most, lock = 0, 0, threading.Lock()
    gate = threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == disk.THREADS:
                gate.set()
        gate.wait()
        with lock:
            running -= 1

    async with anyio.create_task_group() as group:
        for _ in range(disk.THREADS + 10):
            group.start_soon(disk.run, work)
    assert most == disk.THREADS


async def test_a_cancelled_caller_waits_for_the_call_to_end() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait()
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(disk.run, work)
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
        may_end.set()
    assert ended.is_set()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_by_asyncio_itself_waits_for_the_call_to_end() -> None:
    import asyncio

    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait()
        ended.set()

    task = asyncio.create_task(disk.run(work))
    await anyio.to_thread.run_sync(begun.wait)
    task.cancel()
    await anyio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_on_the_thread_of_a_synchronous_caller_everything_happens_in_place(file: int) -> None:
    assert drive(disk.run(threading.get_ident)) == threading.get_ident()
    assert drive(disk.pread(file, 2, 1)) == b"\x01\x02"


async def test_a_temporary_file_is_gone_at_the_end_also_after_an_error() -> None:
    names = []

    async def fail() -> None:
        async with disk.temporary_file() as name:
            names.append(anyio.Path(name))
            assert await names[0].exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert not await names[0].exists()


async def test_nothing_here_blocks_the_loop(file: int, tmp_path: Path) -> None:
    guard = BlockBuster()
    guard.activate()
    try:
        await disk.pread(file, 10, 0)
        await disk.pwrite(file, b"x", 0)
        await disk.fsync(file)
        assert (await disk.run(os.stat, tmp_path)).st_size >= 0
    finally:
        guard.deactivate()
