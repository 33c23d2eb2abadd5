"""`pyfuse3.asyncio`: every name that its documentation lists, on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from typing import Any

import pytest
import trio

from aiovfs.compat import pyfuse3
from aiovfs.compat.pyfuse3 import asyncio as pyfuse3_asyncio

LOOPS = [("asyncio", {}), ("asyncio", {"use_uvloop": True})]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_enable_and_disable_switch_what_trio_is() -> None:
    surface: Any = pyfuse3
    assert surface.trio is trio
    pyfuse3_asyncio.enable()
    assert surface.trio is pyfuse3_asyncio
    assert surface.trio.lowlevel is surface.trio.from_thread is pyfuse3_asyncio
    pyfuse3_asyncio.enable()
    pyfuse3_asyncio.disable()
    assert surface.trio is trio
    pyfuse3_asyncio.disable()


def test_the_names_that_stand_for_trios() -> None:
    assert pyfuse3_asyncio.Lock is asyncio.Lock
    assert pyfuse3_asyncio.current_trio_token() == "asyncio"
    assert pyfuse3_asyncio.current_task() is None
    assert issubclass(pyfuse3_asyncio.ClosedResourceError, Exception)


async def test_current_task_is_the_running_one() -> None:
    assert pyfuse3_asyncio.current_task() is asyncio.current_task()


async def test_a_descriptor_that_becomes_readable_wakes_all_who_wait() -> None:
    reader, writer = os.pipe()
    try:
        waiting = [asyncio.create_task(pyfuse3_asyncio.wait_readable(reader)) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        os.write(writer, b"x")
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        await asyncio.wait_for(pyfuse3_asyncio.wait_readable(reader), 5)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("from_thread", [False, True])
async def test_notify_closing_wakes_waiters_with_an_error_from_any_thread(from_thread: bool) -> None:
    reader, writer = os.pipe()
    waiting = [asyncio.create_task(pyfuse3_asyncio.wait_readable(reader)) for _ in range(2)]
    await asyncio.sleep(0.01)
    if from_thread:
        thread = threading.Thread(target=pyfuse3_asyncio.notify_closing, args=(reader,))
        thread.start()
        thread.join()
    else:
        pyfuse3_asyncio.notify_closing(reader)
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert [type(outcome) for outcome in outcomes] == [pyfuse3_asyncio.ClosedResourceError] * 2
    os.close(reader)
    os.close(writer)


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    reader, writer = os.pipe()
    task = asyncio.create_task(pyfuse3_asyncio.wait_readable(reader))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pyfuse3_asyncio._read_futures == {}
    assert not asyncio.get_running_loop().remove_reader(reader)
    os.close(reader)
    os.close(writer)


async def test_a_nursery_waits_for_its_tasks_and_names_them() -> None:
    events: list[str] = []

    async def worker(number: int) -> None:
        task: Any = asyncio.current_task()
        await asyncio.sleep(0.01 * number)
        events.append(f"{task.name} {number}")

    async with pyfuse3_asyncio.open_nursery() as nursery:
        for number in (3, 2, 1):
            nursery.start_soon(worker, number, name=f"task-{number}")
        events.append("started")
    assert events == ["started", "task-1 1", "task-2 2", "task-3 3"]


async def test_an_exception_of_a_task_leaves_the_nursery_and_cancels_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cancelled: list[int] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise LookupError("while ending") from None

    async def fails() -> None:
        raise ZeroDivisionError("first")

    async def block() -> None:
        async with pyfuse3_asyncio.open_nursery() as nursery:
            nursery.start_soon(waits)
            await asyncio.sleep(0)
            nursery.start_soon(fails)

    with pytest.raises(ZeroDivisionError, match="first"):
        await block()
    assert cancelled == [1]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("pyfuse3", logging.ERROR)
    assert "while ending" in caplog.text


async def test_an_exception_in_the_block_cancels_the_tasks() -> None:
    cancelled: list[int] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(1)

    async def block() -> None:
        async with pyfuse3_asyncio.open_nursery() as nursery:
            nursery.start_soon(waits)
            await asyncio.sleep(0)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await block()
    assert cancelled == [1]


async def test_cancelling_the_block_cancels_the_tasks() -> None:
    cancelled: list[int] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(1)

    async def block() -> None:
        async with pyfuse3_asyncio.open_nursery() as nursery:
            nursery.start_soon(waits)

    task = asyncio.create_task(block())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [1]


def test_the_module_is_the_one_that_the_package_shows() -> None:
    assert pyfuse3.asyncio is sys.modules["aiovfs.compat.pyfuse3.asyncio"] is pyfuse3_asyncio
