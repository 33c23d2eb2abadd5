"""Reads, writes and calls in threads, on every loop."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from blockbuster import BlockBuster

from aiovfs import aio
from aiovfs._loop.caller import drive
from aiovfs.aio import descriptors
from aiovfs.aio.threads import LIMIT


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 64)
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


async def test_pread_returns_exactly_the_range(file: int) -> None:
    assert await aio.pread(file, 4, 254) == bytes((254, 255, 0, 1))


async def test_pread_is_short_only_at_the_end_of_the_file(file: int) -> None:
    assert len(await aio.pread(file, 1000, 16384 - 10)) == 10
    assert await aio.pread(file, 10, 16384) == b""


async def test_pread_of_a_descriptor_that_is_not_open_raises_its_errno() -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        await aio.pread(1 << 24, 1, 0)  # a number that was just closed may be the engine's by now
    assert caught.value.errno == errno.EBADF


async def test_buffers_and_batches_of_a_descriptor(file: int) -> None:
    assert await aio.pwrite(file, memoryview(b"0123456789"), 5, sync="data") == 10
    buffer = bytearray(4)
    assert await aio.preadinto(file, buffer, 6) == 4
    assert bytes(buffer) == b"1234"
    assert await aio.preadv(file, [memoryview(buffer)[:2], bytearray(3)], 5) == 5
    assert await aio.pwritev(file, [b"ab", bytearray(b"c")], 0) == 3
    assert await aio.write_many(file, [(b"x", 3), (b"y", 4)]) == 2
    assert await aio.read_many(file, [(0, 5), (5, 2)]) == [b"abcxy", b"01"]
    assert await aio.readinto_many(file, [(buffer, 0)]) == [4]
    with pytest.raises(ValueError, match="'now'"):
        aio.pwrite(file, b"", 0, sync="now")  # type: ignore[arg-type]


async def test_ftruncate_and_fsync_reach_the_file(file: int) -> None:
    await aio.ftruncate(file, 5)
    await aio.fsync(file)
    await aio.fsync(file, data_only=True)
    await aio.fdatasync(file)
    assert os.fstat(file).st_size == 5


async def test_run_calls_in_another_thread() -> None:
    assert await aio.run(threading.get_ident) != threading.get_ident()


async def test_no_more_calls_are_in_flight_than_there_are_threads() -> None:
    running, most, lock = 0, 0, threading.Lock()
    gate = threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == LIMIT:
                gate.set()
        gate.wait()
        with lock:
            running -= 1

    async with anyio.create_task_group() as group:
        for _ in range(LIMIT + 10):
            group.start_soon(aio.run, work)
    assert most == LIMIT


@pytest.fixture(params=["the engine's threads", "AnyIO's threads"])
def limiter(request: pytest.FixtureRequest) -> Callable[[], anyio.CapacityLimiter | None]:
    """Where `run` runs: a limiter is made on a loop."""
    return (lambda: anyio.CapacityLimiter(4)) if "AnyIO" in request.param else lambda: None


async def test_a_cancelled_caller_waits_for_the_call_to_end(limiter: Any) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait()
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: aio.run(work, limiter=limiter()))
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
        may_end.set()
    assert ended.is_set()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_by_asyncio_itself_waits_for_the_call_to_end(limiter: Any) -> None:
    import asyncio

    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait()
        ended.set()

    task = asyncio.create_task(aio.run(work, limiter=limiter()))
    await anyio.to_thread.run_sync(begun.wait)
    task.cancel()
    await anyio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_on_the_thread_of_a_synchronous_caller_everything_happens_in_place(file: int) -> None:
    assert drive(aio.run(threading.get_ident)) == threading.get_ident()

    async def read() -> bytes:
        return await aio.pread(file, 2, 1)

    assert drive(read()) == b"\x01\x02"


async def test_a_temporary_file_is_gone_at_the_end_also_after_an_error() -> None:
    names = []

    async def fail() -> None:
        async with descriptors.temporary_name() as name:
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
        await aio.pread(file, 10, 0)
        await aio.pwrite(file, b"x", 0)
        await aio.fsync(file)
        assert (await aio.run(os.stat, tmp_path)).st_size >= 0
    finally:
        guard.deactivate()
