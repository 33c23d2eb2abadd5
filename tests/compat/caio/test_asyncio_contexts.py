"""`AsyncioContext`: what is awaited, bounded, cancelled, closed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aiovfs.compat import caio
from aiovfs.compat.caio.asyncio_base import AsyncioContextBase


def short(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


@pytest.fixture(params=caio.variants_asyncio, ids=short)
def variant(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[module for module in caio.variants_asyncio if module is not caio.python_aio_asyncio], ids=short)
def native(request: pytest.FixtureRequest) -> Any:
    """Those that share the engines of the loop; `python` has threads of its own for each context."""
    return request.param


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file of 64 KiB, every 4 KiB another byte."""
    (tmp_path / "file").write_bytes(b"".join(bytes([n]) * 4096 for n in range(16)))
    fd = os.open(tmp_path / "file", os.O_RDWR)
    yield fd
    os.close(fd)


def test_operations_are_awaited_gathered_and_made_tasks(variant: Any, fd: int) -> None:
    async def main() -> None:
        async with variant.AsyncioContext(max_requests=4) as context:
            assert isinstance(context, AsyncioContextBase)
            assert context.loop is asyncio.get_running_loop()
            pages = await asyncio.gather(*[context.read(4096, fd, 4096 * n) for n in range(16)])
            assert [page[0] for page in pages] == list(range(16))
            task = asyncio.create_task(context.write(b"fresh", fd, 3))
            assert await asyncio.wait_for(task, 20) == 5
            assert await context.fsync(fd) is None
            assert await context.fdsync(fd) is None
            assert await context.read(5, fd, offset=3) == b"fresh"
            assert await context.read(10, fd, 1 << 20) == b""

    asyncio.run(main())


def test_nothing_begins_before_it_is_awaited(variant: Any, fd: int) -> None:
    async def main() -> None:
        async with variant.AsyncioContext() as context:
            write = context.write(b"never", fd, 0)
            await asyncio.sleep(0)
            write.close()
            assert await context.read(5, fd, 0) == bytes(5)
            with pytest.raises(ValueError, match="bytes"):
                context.write(bytearray(b"no"), fd, 0)

    asyncio.run(main())


def test_operations_made_by_hand_are_submitted_once(variant: Any, fd: int) -> None:
    async def main() -> None:
        async with variant.AsyncioContext() as context:
            operation = variant.Operation.read(4, fd, 4096)
            assert await context.submit(operation) == b"\1\1\1\1"
            with pytest.raises(OSError, match="not submitted"):
                await context.submit(operation)
            with pytest.raises(ValueError, match="Operation"):
                await context.submit(object())
            assert context.context.max_requests
            failing = variant.Operation.read(1, 1 << 20, 0)
            with pytest.raises(OSError, match="Bad file descriptor"):
                await context.submit(failing)

    asyncio.run(main())


def test_no_more_than_max_requests_are_in_flight(native: Any, fd: int) -> None:
    async def main() -> None:
        async with native.AsyncioContext(max_requests=3) as context:
            engine = context._engine
            engine.tries_in_place = False
            seen = 0

            async def read(n: int) -> None:
                nonlocal seen
                assert await context.read(4096, fd, 4096 * (n % 16)) == bytes([n % 16]) * 4096
                seen = max(seen, engine.in_flight)

            tasks = [asyncio.create_task(read(n)) for n in range(60)]
            await asyncio.sleep(0)
            assert engine.in_flight <= 3
            for task in tasks[1::3]:
                task.cancel()  # those who wait for their turn, too
            await asyncio.gather(*tasks, return_exceptions=True)
            assert seen <= 3
            assert context._active == 0
            assert not context._waiting

    asyncio.run(main())


def test_a_pool_of_one_thread_does_one_operation_at_a_time(fd: int) -> None:
    if caio.thread_aio_asyncio is None:
        pytest.skip("the parts in C were not built")
    module: Any = caio.thread_aio_asyncio

    async def main() -> None:
        async with module.AsyncioContext(pool_size=1) as context:
            assert context._limit == 1
            assert context.context.pool_size == 1
            assert len(await asyncio.gather(*[context.read(10, fd, 0) for _ in range(20)])) == 20
        with pytest.raises(TypeError, match="sqpoll"):
            module.AsyncioContext(sqpoll=True)

    asyncio.run(main())


def test_cancelled_operations_are_left_at_once_and_harm_nothing(variant: Any, fd: int) -> None:
    async def main() -> None:
        unhandled: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        async with variant.AsyncioContext() as context:
            for _ in range(20):
                tasks = [asyncio.create_task(context.read(65536, fd, 0)) for _ in range(20)]
                tasks += [asyncio.create_task(context.write(bytes([n]) * 4096, fd, 4096 * n)) for n in range(10)]
                await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(result, asyncio.CancelledError | bytes | int)
            assert len(await context.read(65536, fd, 0)) == 65536
        assert not unhandled

    asyncio.run(main())


def test_a_closed_context_takes_nothing_but_finishes_what_it_has(variant: Any, fd: int) -> None:
    async def main() -> None:
        context = variant.AsyncioContext()
        begun = asyncio.create_task(context.read(4, fd, 8192))
        await asyncio.sleep(0)
        context.close()
        context.close()
        assert await begun == b"\2\2\2\2"
        with pytest.raises(RuntimeError, match="closed"):
            await context.read(4, fd, 0)

    asyncio.run(main())


def test_a_context_made_before_its_loop_runs_works_and_may_be_used_by_the_next_loop(variant: Any, fd: int) -> None:
    loop = asyncio.new_event_loop()
    context = variant.AsyncioContext(loop=loop)
    try:
        assert context.loop is loop

        async def main() -> bytes:
            data: bytes = await context.read(4, fd, 4096)
            assert await context.write(b"abcd", fd, 0) == 4
            return data

        assert loop.run_until_complete(main()) == b"\1\1\1\1"
        loop.run_until_complete(loop.shutdown_asyncgens())
        if hasattr(variant.AsyncioContext, "ENGINE"):
            assert asyncio.run(main()) == b"\1\1\1\1"
    finally:
        context.close()
        loop.close()


def test_a_loop_closed_with_operations_in_flight_is_survived(variant: Any, fd: int) -> None:
    loop = asyncio.new_event_loop()
    context = variant.AsyncioContext(loop=loop)

    async def begin() -> list[asyncio.Task[bytes]]:
        tasks = [loop.create_task(context.read(65536, fd, 0)) for _ in range(20)]
        await asyncio.sleep(0)
        return tasks

    tasks = loop.run_until_complete(begin())
    loop.set_exception_handler(lambda *_: None)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    context.close()
    assert os.pread(fd, 1, 0) == b"\0"


def test_any_number_of_contexts_share_the_engine_of_a_loop(native: Any, fd: int) -> None:
    async def main() -> None:
        first = native.AsyncioContext()
        await first.read(1, fd, 0)
        before = len(os.listdir("/proc/self/fd"))
        contexts = [native.AsyncioContext() for _ in range(50)]
        await asyncio.gather(*[context.read(1, fd, 0) for context in contexts])
        assert {context._engine for context in contexts} == {first._engine}
        assert len(os.listdir("/proc/self/fd")) <= before
        for context in [first, *contexts]:
            context.close()

    asyncio.run(main())
