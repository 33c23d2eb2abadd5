"""On asyncio an operation is a future, whatever engine made it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiovfs.aio.engine import current, perform

pytestmark = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: a read of it waits for as long as the test wants."""
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            pass


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(bytes(range(256)))
    fd = os.open(tmp_path / "file", os.O_RDWR)
    yield fd
    os.close(fd)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_it_is_a_future_and_knows_its_loop(engine: str, pipe: tuple[int, int]) -> None:
    operation = perform("read", pipe[0], 1, -1)
    assert asyncio.isfuture(operation)
    assert operation.get_loop() is asyncio.get_running_loop()
    assert asyncio.ensure_future(operation) is operation
    assert not operation.done()
    with pytest.raises(asyncio.InvalidStateError):
        operation.result()
    with pytest.raises(asyncio.InvalidStateError):
        operation.exception()
    os.write(pipe[1], b"x")
    assert await operation == b"x"
    assert operation.done()
    assert not operation.cancelled()
    assert operation.result() == b"x"
    assert operation.exception() is None
    assert operation.cancel() is False


async def test_it_can_be_gathered_waited_for_and_shielded(engine: str, fd: int, pipe: tuple[int, int]) -> None:
    assert await asyncio.gather(*[perform("read", fd, 1, offset) for offset in range(50)]) == [
        bytes([offset]) for offset in range(50)
    ]
    assert await asyncio.wait_for(perform("read", fd, 2, 0), 30) == b"\0\1"
    assert await asyncio.shield(perform("read", fd, 2, 1)) == b"\1\2"
    slow, fast = perform("read", pipe[0], 1, -1), perform("read", fd, 1, 7)
    done, pending = await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
    assert (done, pending) == ({fast}, {slow})
    os.write(pipe[1], b"y")
    assert await asyncio.gather(slow, asyncio.sleep(0)) == [b"y", None]
    for first in asyncio.as_completed([perform("read", fd, 1, 3)]):
        assert await first == b"\3"


async def test_a_task_around_it_and_many_waiters_get_the_value(engine: str, pipe: tuple[int, int]) -> None:
    operation = perform("read", pipe[0], 4, -1)

    async def wait(for_: Awaitable[bytes]) -> bytes:
        return await for_

    tasks = [asyncio.create_task(wait(operation)) for _ in range(3)]
    await turns()
    os.write(pipe[1], b"data")
    assert await asyncio.gather(*tasks, operation) == [b"data"] * 4
    assert await operation == b"data"


async def test_an_error_is_raised_each_time_it_is_asked_for(engine: str) -> None:
    operation = perform("stat", "/nonexistent/file")
    with pytest.raises(FileNotFoundError):
        await operation
    with pytest.raises(FileNotFoundError):
        operation.result()
    assert isinstance(operation.exception(), FileNotFoundError)
    results = await asyncio.gather(perform("stat", "/nonexistent"), return_exceptions=True)
    assert isinstance(results[0], FileNotFoundError)


async def test_callbacks_run_soon_in_their_context_and_can_be_removed(engine: str, pipe: tuple[int, int]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    operation = perform("read", pipe[0], 1, -1)
    seen: list[tuple[Any, str]] = []

    def note(done: Any) -> None:
        seen.append((done, variable.get()))

    def never(done: Any) -> None:
        seen.append((done, "never"))

    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    operation.add_done_callback(never)
    operation.add_done_callback(note, context=context)
    operation.add_done_callback(never)
    operation.add_done_callback(note)
    assert operation.remove_done_callback(never) == 2
    assert operation.remove_done_callback(never) == 0
    os.write(pipe[1], b"z")
    await operation
    await turns()
    assert seen == [(operation, "inside"), (operation, "outside")]
    operation.add_done_callback(note, context=context)
    assert len(seen) == 2  # never at once
    await turns()
    assert seen[2:] == [(operation, "inside")]


async def test_a_resumed_task_is_the_current_one_in_its_own_context(engine: str, pipe: tuple[int, int]) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def reader(number: int) -> tuple[int, Any]:
        variable.set(number)
        await perform("read", pipe[0], 1, -1)
        return variable.get(), asyncio.current_task()

    tasks = [asyncio.create_task(reader(number)) for number in range(20)]
    await turns()
    os.write(pipe[1], b"x" * 20)
    assert await asyncio.gather(*tasks) == list(enumerate(tasks))


async def test_cancelling_a_task_cancels_a_read_into_memory_of_ours(engine: str, pipe: tuple[int, int]) -> None:
    if engine != "python":  # a thread that reads a pipe cannot be stopped
        task = asyncio.ensure_future(asyncio.gather(perform("read", pipe[0], 10, -1)))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_slow_stat(pipe), 0.01)


async def _slow_stat(pipe: tuple[int, int]) -> None:
    operation = perform("read", pipe[0], 10, -1)
    asyncio.get_running_loop().call_later(0.05, os.write, pipe[1], b"late")
    await operation


async def test_a_cancelled_caller_waits_until_its_buffer_is_let_go(engine: str, pipe: tuple[int, int]) -> None:
    buffer = bytearray(4)
    operation = perform("readinto", pipe[0], buffer, -1)
    task = asyncio.ensure_future(_wait_for(operation))
    await turns()
    task.cancel()
    if engine == "python":
        await turns()
        assert not task.done()
        os.write(pipe[1], b"late")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert operation.done()
    buffer.extend(b"may be resized: nobody holds it")
    while current().in_flight:  # one that was taken back is dropped by whoever finds it in a queue
        await asyncio.sleep(0.001)


async def _wait_for(operation: Awaitable[Any]) -> Any:
    return await operation


async def test_a_cancelled_call_is_waited_for(engine: str) -> None:
    begun, may_end, has_ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait()
        has_ended.set()

    task = asyncio.ensure_future(_wait_for(perform("call", work)))
    await turns()
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await turns()
    is_waiting = not task.done()
    may_end.set()
    assert is_waiting
    with pytest.raises(asyncio.CancelledError):
        await task
    assert has_ended.is_set()


async def test_what_was_opened_for_a_cancelled_task_is_closed(engine: str, tmp_path: Path) -> None:
    await perform("call", int)
    before = os.listdir("/proc/self/fd")

    async def opener() -> int:
        fd: int = await perform("open", tmp_path / "new", os.O_RDWR | os.O_CREAT)
        return fd

    for round_ in range(30):
        task = asyncio.create_task(opener())
        await turns(round_ % 3)
        task.cancel()
        try:
            os.close(await task)
        except asyncio.CancelledError:
            pass
    while current().in_flight:
        await asyncio.sleep(0.001)
    await turns()
    gc.collect()
    assert os.listdir("/proc/self/fd") == before


async def test_a_descriptor_that_a_waiter_was_given_is_not_closed(engine: str, tmp_path: Path) -> None:
    done, _ = await asyncio.wait([perform("open", tmp_path, os.O_RDONLY)])
    fd = done.pop().result()
    gathered = await asyncio.gather(perform("open", tmp_path, os.O_RDONLY))
    gc.collect()
    await turns()
    os.close(fd)
    os.close(gathered[0])


async def test_keyboard_interrupt_of_a_resumed_task_reaches_the_loop_and_loses_nothing(
    engine: str, pipe: tuple[int, int]
) -> None:
    loop = asyncio.new_event_loop()
    other = os.pipe()

    async def interrupted() -> None:
        await perform("read", pipe[0], 1, -1)
        raise KeyboardInterrupt

    async def innocent() -> bytes:
        data: bytes = await perform("read", other[0], 1, -1)
        return data

    def run() -> bytes:
        tasks = [loop.create_task(interrupted()), loop.create_task(innocent())]
        os.write(pipe[1], b"x")
        os.write(other[1], b"y")
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(30))
        result = loop.run_until_complete(tasks[1])
        with pytest.raises(KeyboardInterrupt):
            tasks[0].result()
        return result

    try:
        thread_result = await asyncio.to_thread(run)
    finally:
        loop.close()
        os.close(other[0])
        os.close(other[1])
    assert thread_result == b"y"


async def test_an_operation_that_is_driven_by_hand_says_so(engine: str, pipe: tuple[int, int]) -> None:
    operation = perform("read", pipe[0], 1, -1)
    steps = operation.__await__()
    assert next(steps) is operation
    with pytest.raises(RuntimeError, match="was resumed before it was done"):
        next(steps)
    operation._asyncio_future_blocking = False
    os.write(pipe[1], b"x")
    while not operation.done():
        await asyncio.sleep(0.001)
