"""Engines end with their loops, stay in their thread and process, and let every other task have its turn."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from aiovfs.aio import threads as threads_of_engines
from aiovfs.aio.engine import Engine, current, perform


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: a read of it waits for as long as the test wants."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1024)
    fd = os.open(tmp_path / "file", os.O_RDWR)
    yield fd
    os.close(fd)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def until_idle() -> None:
    while current().in_flight:
        await anyio.sleep(0.001)


@pytest.mark.parametrize("kind", ["read", "readinto"])
async def test_a_cancelled_read_ends_when_nothing_of_the_callers_is_used_any_more(
    engine: str, pipe: tuple[int, int], kind: str
) -> None:
    buffer = bytearray(3)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_perform, kind, pipe[0], 3 if kind == "read" else buffer, -1)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            scope.cancel()
            if engine == "python":  # a thread that reads cannot be stopped: the pipe lets it end
                os.write(pipe[1], b"123")
    assert scope.cancelled_caught
    await until_idle()
    buffer.extend(b"may be resized: nobody holds it")


async def _perform(*args: Any) -> Any:
    return await perform(*args)


async def test_an_operation_that_has_ended_when_its_scope_is_cancelled_gives_its_value(engine: str, fd: int) -> None:
    with anyio.CancelScope() as scope:
        operation = perform("open", "/dev/null", os.O_RDONLY)
        while not operation.done():
            await anyio.sleep(0.001)
        scope.cancel()
        opened = await operation
        os.close(opened)


async def test_a_task_that_an_operation_resumed_may_cancel_others_that_wait_for_theirs(
    engine: str, pipe: tuple[int, int]
) -> None:
    """The one is resumed in place, by the drain; the others must be told through the loop, while it runs."""
    entered = 0
    for _ in range(20):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(_perform, "read", pipe[0], 3, -1)
                await perform("call", int)
                entered += 1
                scope.cancel()
                if engine == "python":  # a thread that reads cannot be stopped: the pipe lets it end
                    os.write(pipe[1], b"123" * 4)
        assert scope.cancelled_caught or engine == "python"
    assert entered == 20


async def test_more_operations_than_the_queues_hold_all_end(engine: str, pipe: tuple[int, int], fd: int) -> None:
    if engine == "python":
        pytest.skip("one thread for each read that waits: there are no queues of a kernel to overflow")
    results: list[bytes] = []

    async def read(offset: int) -> None:
        results.append(await perform("read", pipe[0], 1, -1))
        assert await perform("read", fd, 1, offset) == bytes([offset % 256])

    count = 5000
    async with anyio.create_task_group() as group:
        for offset in range(count):
            group.start_soon(read, offset)
        await anyio.lowlevel.checkpoint()
        for _ in range(count // 1000):
            await anyio.sleep(0)
            os.write(pipe[1], b"x" * 1000)
    assert results == [b"x"] * count
    assert current().in_flight == 0


async def test_readers_of_the_cache_leave_every_tick_to_the_others(engine: str, fd: int) -> None:
    """A task that only yields must run once for every so many hits, whatever the readers do."""
    done = 0
    between: list[int] = []
    finished = False

    async def reader(start: int) -> None:
        nonlocal done
        for index in range(400):
            await perform("read", fd, 16, (start + index) % 1000)
            done += 1

    async def other() -> None:
        last = done
        while not finished:
            await anyio.lowlevel.checkpoint()
            between.append(done - last)
            last = done

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        async with anyio.create_task_group() as readers:
            for start in range(32):
                readers.start_soon(reader, start)
        finished = True
    assert done == 32 * 400
    assert max(between) <= 512
    assert len(between) >= done // 512


async def test_one_reader_alone_leaves_every_tick_to_the_others(engine: str, fd: int) -> None:
    turns = 0
    finished = False

    async def other() -> None:
        nonlocal turns
        while not finished:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await anyio.lowlevel.checkpoint()
        turns = 0
        for index in range(2000):
            await perform("read", fd, 16, index % 1000)
        finished = True
    assert turns >= 2000 // 256


async def test_another_thread_is_refused(engine: str, fd: int) -> None:
    mine = current()
    refused: list[str] = []

    def use() -> None:
        try:
            mine.perform("read", fd, 1, 0)
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(refused) == 1
    assert "another thread's loop" in refused[0]
    assert await perform("read", fd, 1, 0) == b"\0"


async def test_a_closed_engine_is_refused_and_the_loop_gets_a_new_one(engine: str, fd: int) -> None:
    first = current()
    await first.aclose()
    first.close()
    await first.aclose()
    with pytest.raises(RuntimeError, match="was closed"):
        first.perform("read", fd, 1, 0)
    assert current() is not first
    assert await perform("read", fd, 1, 1) == b"\1"


async def test_a_forked_child_is_refused_and_gets_its_own_engine(engine: str, fd: int) -> None:
    mine = current()
    assert await perform("read", fd, 1, 2) == b"\2"
    busy = [perform("readinto", fd, bytearray(100), offset) for offset in range(40)]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            try:
                mine.perform("read", fd, 1, 0)
            except RuntimeError as error:
                status = 2 if "forked from" not in str(error) else _in_the_child(fd)
        finally:
            os._exit(status)
    with anyio.fail_after(50):
        assert await anyio.to_thread.run_sync(os.waitpid, child, 0) == (child, 0)
    assert [await operation for operation in busy] == [100] * 40
    assert await perform("read", fd, 1, 3) == b"\3"


def _in_the_child(fd: int) -> int:
    signal.alarm(40)

    async def main() -> int:
        results = await asyncio.gather(*[perform("read", fd, 1, offset) for offset in range(40)])
        return 0 if results == [bytes([offset]) for offset in range(40)] else 3

    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(asyncio.run(main())))  # this one seems to run a loop
    thread.start()
    thread.join()
    return statuses[0] if statuses else 4


@pytest.mark.parametrize("orderly", [True, False], ids=["orderly", "closed-under-us"])
def test_loops_that_end_with_reads_in_flight_leave_nothing_behind(
    engine: str, orderly: bool, tmp_path: Path, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads_of_engines, "IDLE", 0.05)
    path = tmp_path / "cold"
    path.write_bytes(os.urandom(1 << 20))
    fd = os.open(path, os.O_RDONLY)

    async def main() -> None:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        tasks = [asyncio.ensure_future(_perform("read", fd, 4096, 4096 * (index % 256))) for index in range(300)]
        if engine != "python":
            tasks += [asyncio.ensure_future(_perform("readinto", pipe[0], bytearray(9), -1)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(20):
            perform("read", fd, 4096, 0)

    def run() -> None:
        if orderly:
            asyncio.run(main())
            return
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()

    run()
    gc.collect()
    fds, count = descriptors(), _settled_threads()
    for _ in range(5):
        run()
    gc.collect()
    assert descriptors() == fds
    assert _settled_threads() <= count
    os.close(fd)


def _settled_threads() -> int:
    for thread in threading.enumerate():
        if thread.name == "aiovfs-aio":
            thread.join()
    return threading.active_count()


async def test_an_engine_costs_two_descriptors_and_no_thread_that_polls(engine: str, fd: int) -> None:
    if engine == "python":
        pytest.skip("it is made of threads")
    before = descriptors()
    mine: Engine = current()
    await perform("read", fd, 1, 0)
    assert descriptors() - before <= 2
    assert mine.in_flight == 0
    polling = [name for name in _names_of_threads() if name.startswith("iou-sqp")]
    assert polling == []


def _names_of_threads() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text())
        except OSError:
            pass  # it has ended meanwhile
    return names


def test_a_buffer_is_not_filled_before_it_is_read_into(tmp_path: Path) -> None:
    """Half a gigabyte for a file of one page must not cost half a gigabyte of memory."""
    program = """
import asyncio, os, resource, sys
from aiovfs.aio.engine import perform
async def main():
    fd = os.open(sys.argv[1], os.O_RDONLY)
    await perform("read", fd, 10, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await perform("read", fd, 1 << 29, 0) == b"x" * 4096
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
asyncio.run(main())
"""
    (tmp_path / "page").write_bytes(b"x" * 4096)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "page")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 64 << 10  # KiB
