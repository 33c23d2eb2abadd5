"""What differs between asyncio and Trio behaves the same."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import anyio
import pytest

from aiovfs._loop import LoopToken, Readable, resume, running_library


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for end in ends:
        os.close(end)


async def test_running_library_names_the_loop(anyio_backend_name: str) -> None:
    assert running_library() == anyio_backend_name


def test_running_library_outside_of_a_loop_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        running_library()


async def step_and_resume(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        waiting_for = work.send(None)
    except StopIteration as stop:
        return stop.value
    return await resume(work, waiting_for)


async def test_a_coroutine_that_waits_is_finished_in_the_same_task() -> None:
    async def work() -> tuple[int, int, str]:
        before = anyio.get_current_task().id
        with anyio.move_on_after(0.01):
            await anyio.sleep(60)
        await anyio.lowlevel.checkpoint()
        return before, anyio.get_current_task().id, "done"

    assert await step_and_resume(work()) == (*[anyio.get_current_task().id] * 2, "done")


async def test_an_exception_after_waiting_comes_out() -> None:
    async def work() -> None:
        await anyio.sleep(0.001)
        raise LookupError("after waiting")

    with pytest.raises(LookupError, match="after waiting"):
        await step_and_resume(work())


async def test_cancelling_the_task_cancels_the_resumed_coroutine() -> None:
    seen = []

    async def work() -> None:
        try:
            await anyio.sleep(60)
        except BaseException as exc:
            seen.append(type(exc))
            raise

    with anyio.move_on_after(0.01) as scope:
        await step_and_resume(work())
    assert scope.cancelled_caught
    assert seen == [anyio.get_cancelled_exc_class()]


async def test_readable_returns_when_there_is_something_to_read(pipe: tuple[int, int]) -> None:
    readable = Readable(pipe[0])
    try:
        for _ in range(3):
            async with anyio.create_task_group() as group:
                group.start_soon(readable.wait)
                await anyio.sleep(0.01)
                os.write(pipe[1], b"x")
            assert os.read(pipe[0], 10) == b"x"
    finally:
        readable.close()


async def test_readable_does_not_spin_while_nobody_waits_and_works_afterwards(pipe: tuple[int, int]) -> None:
    readable = Readable(pipe[0])
    try:
        os.write(pipe[1], b"x")
        await readable.wait()
        for _ in range(50):  # the descriptor stays readable, and nobody waits
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            await readable.wait()
    finally:
        readable.close()


async def test_wake_ends_a_wait(pipe: tuple[int, int]) -> None:
    readable = Readable(pipe[0])
    try:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(readable.wait)
                await anyio.wait_all_tasks_blocked()
                readable.wake()
    finally:
        readable.close()


async def test_a_token_calls_into_the_loop_from_a_thread_without_its_context() -> None:
    token = LoopToken()
    called = anyio.Event()
    thread = threading.Thread(target=contextvars.Context().run, args=(token.run_soon, called.set))
    thread.start()
    with anyio.fail_after(5):
        await called.wait()
    thread.join()


async def test_a_token_calls_into_the_loop_from_a_signal_handler() -> None:
    token = LoopToken()
    called = anyio.Event()
    previous = signal.signal(signal.SIGUSR1, lambda *_: token.run_soon(called.set))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        with anyio.fail_after(5):
            await called.wait()
    finally:
        signal.signal(signal.SIGUSR1, previous)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_token_of_a_loop_that_has_ended_says_so(backend: str) -> None:
    async def make() -> LoopToken:
        return LoopToken()

    token = anyio.run(make, backend=backend)
    assert token.run_soon(print) is False


async def test_a_wait_that_is_cancelled_ends_and_the_next_one_works(pipe: tuple[int, int]) -> None:
    readable = Readable(pipe[0])
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(readable.wait)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        with anyio.move_on_after(0.01) as scope:
            await readable.wait()
        assert scope.cancelled_caught
        os.write(pipe[1], b"x")
        with anyio.fail_after(5):
            await readable.wait()
    finally:
        readable.close()


async def test_a_task_that_waits_keeps_its_identity_and_its_context(pipe: tuple[int, int]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    readable = Readable(pipe[0])
    seen: list[object] = []

    async def wait() -> None:
        variable.set("of the task")
        task = anyio.get_current_task().id
        await readable.wait()
        seen.extend((variable.get(), anyio.get_current_task().id == task))
        await anyio.lowlevel.checkpoint()
        seen.append(anyio.get_current_task().id == task)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            os.write(pipe[1], b"x")
    finally:
        readable.close()
    assert seen == ["of the task", True, True]


def test_on_asyncio_a_task_is_resumed_in_the_same_turn_of_the_loop(pipe: tuple[int, int]) -> None:
    turns: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        readable = Readable(pipe[0])
        waiting = asyncio.create_task(readable.wait())
        await asyncio.sleep(0)
        selector = loop._selector  # type: ignore[attr-defined]
        select = selector.select

        def counted(timeout: float | None = None) -> object:
            ready = select(timeout)
            turns.append(len(ready))
            return ready

        selector.select = counted
        os.write(pipe[1], b"x")
        await waiting
        selector.select = select
        readable.close()

    asyncio.run(main())
    # The one that saw the descriptor, and the one for `main`, which waits for an ordinary task.
    assert len(turns) == 2
