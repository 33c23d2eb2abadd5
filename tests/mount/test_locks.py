from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from aiovfs.mount.locks import NamespaceLock, SharedCalls


async def settle() -> None:
    """Let every task that can run come to where it waits."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


async def test_shared_holders_do_not_wait_for_each_other() -> None:
    lock = NamespaceLock()
    async with lock.shared(), lock.shared():
        pass


async def test_exclusive_waits_for_shared_and_keeps_others_out() -> None:
    lock, log = NamespaceLock(), []
    leave = anyio.Event()

    async def rename() -> None:
        async with lock.exclusive():
            log.append("exclusive")
            await leave.wait()
            log.append("left")

    async def upload() -> None:
        async with lock.shared():
            log.append("shared")

    async with anyio.create_task_group() as tasks:
        async with lock.shared():
            tasks.start_soon(rename)
            await settle()
            assert log == []
            tasks.start_soon(upload)
            await settle()
            assert log == []  # who waits for exclusive goes first
        await settle()
        assert log == ["exclusive"]
        leave.set()
    assert log == ["exclusive", "left", "shared"]


async def test_a_cancelled_wait_for_exclusive_lets_the_shared_ones_behind_it_go_on() -> None:
    lock, done = NamespaceLock(), anyio.Event()

    async def rename(*, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as scope:
            task_status.started(scope)
            async with lock.exclusive():
                raise AssertionError("nobody let go of the lock")

    async def upload() -> None:
        async with lock.shared():
            done.set()

    async with anyio.create_task_group() as tasks, lock.shared():
        scope = await tasks.start(rename)
        await settle()
        tasks.start_soon(upload)
        await settle()
        assert not done.is_set()
        scope.cancel()
        await done.wait()


async def test_a_lock_whose_holder_failed_is_free_again() -> None:
    lock = NamespaceLock()
    with pytest.raises(KeyError):
        async with lock.exclusive():
            raise KeyError("x")
    with pytest.raises(KeyError):
        async with lock.shared():
            raise KeyError("x")
    async with lock.exclusive():
        pass


async def test_many_callers_share_one_call_and_its_result() -> None:
    calls, results, gate = 0, [], anyio.Event()

    async def work() -> int:
        nonlocal calls
        calls += 1
        await gate.wait()
        return 7

    async with anyio.create_task_group() as tasks:
        shared: SharedCalls[str, int] = SharedCalls(tasks)

        async def caller() -> None:
            results.append(await shared.run("key", work))

        async with anyio.create_task_group() as callers:
            for _ in range(5):
                callers.start_soon(caller)
            await settle()
            gate.set()
    assert (calls, results) == (1, [7] * 5)


async def test_every_caller_hears_of_a_failure_and_the_next_call_is_a_new_one() -> None:
    failures = [OSError("down")]

    async def work() -> str:
        if failures:
            raise failures.pop()
        return "fine"

    async with anyio.create_task_group() as tasks:
        shared: SharedCalls[str, str] = SharedCalls(tasks)
        with pytest.raises(OSError, match="down"):
            await shared.run("key", work)
        assert await shared.run("key", work) == "fine"


async def test_a_cancelled_caller_leaves_the_call_to_the_others() -> None:
    gate, results = anyio.Event(), []

    async def work() -> str:
        await gate.wait()
        return "done"

    async with anyio.create_task_group() as tasks:
        shared: SharedCalls[str, str] = SharedCalls(tasks)

        async def caller() -> None:
            results.append(await shared.run("key", work))

        tasks.start_soon(caller)
        await settle()
        with anyio.move_on_after(0):
            await shared.run("key", work)
        gate.set()
    assert results == ["done"]


async def test_a_call_that_nobody_waits_for_any_more_is_cancelled() -> None:
    ended = anyio.Event()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:
        shared: SharedCalls[str, None] = SharedCalls(tasks)
        async with anyio.create_task_group() as callers:
            callers.start_soon(shared.run, "key", work)
            await settle()
            callers.cancel_scope.cancel()
        await ended.wait()
