from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from aiovfs.errors import StaleError
from aiovfs.fs.ranges import ByteRange
from aiovfs.mount.cache.blocks import AHEAD_REQUEST_SIZE, BLOCK_SIZE, BlockCache

DATA = random.Random(7).randbytes(40 * BLOCK_SIZE + 1234)


class Source:
    """What is fetched from: counts, waits, fails."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.requests: list[tuple[int, int]] = []
        self.failures: list[Exception] = []
        self.gate: anyio.Event | None = None
        self.running = 0
        self.most = 0

    async def fetch(self, offset: int, size: int) -> bytes:
        self.requests.append((offset, size))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await anyio.lowlevel.checkpoint()
            if self.failures:
                raise self.failures.pop()
            return self.data[offset : offset + size]
        finally:
            self.running -= 1

    def blocks_fetched(self) -> list[int]:
        return [
            index
            for offset, size in self.requests
            for index in range(offset // BLOCK_SIZE, -(-(offset + size) // BLOCK_SIZE))
        ]


@asynccontextmanager
async def cache(max_size: int = 1 << 30, max_ahead: int = 8) -> AsyncIterator[BlockCache]:
    async with anyio.create_task_group() as tasks:
        yield BlockCache(tasks, max_size=max_size, max_ahead=max_ahead)
        tasks.cancel_scope.cancel()


async def settle() -> None:
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_random_reads_are_right_and_fetch_each_block_once() -> None:
    source, numbers = Source(), random.Random(1)
    async with cache() as blocks:
        version = blocks.version(source.fetch, len(DATA))
        for _ in range(200):
            offset, size = numbers.randrange(len(DATA) + 100), numbers.randrange(300_000)
            assert await version.read(offset, size) == DATA[offset : offset + size]
    fetched = source.blocks_fetched()
    assert len(fetched) == len(set(fetched))


async def test_a_hundred_readers_at_once_get_right_blocks_each_fetched_once() -> None:
    """States R2."""
    source, numbers = Source(), random.Random(2)
    async with cache() as blocks:
        version = blocks.version(source.fetch, len(DATA))

        async def reader(offset: int, size: int) -> None:
            assert await version.read(offset, size) == DATA[offset : offset + size]

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(reader, numbers.randrange(len(DATA)), numbers.randrange(1, 200_000))
    fetched = source.blocks_fetched()
    assert len(fetched) == len(set(fetched))


async def test_a_missing_range_is_one_request() -> None:
    source = Source()
    async with cache() as blocks:
        version = blocks.version(source.fetch, len(DATA))
        await version.read(10, 5 * BLOCK_SIZE)
    assert source.requests == [(0, 6 * BLOCK_SIZE)]


async def test_only_the_gaps_are_fetched() -> None:
    source = Source()
    async with cache() as blocks:
        version = blocks.version(source.fetch, len(DATA))
        await version.read(2 * BLOCK_SIZE, 1)
        source.requests.clear()
        assert await version.read(0, 5 * BLOCK_SIZE) == DATA[: 5 * BLOCK_SIZE]
    assert sorted(source.requests) == [(0, 2 * BLOCK_SIZE), (3 * BLOCK_SIZE, 2 * BLOCK_SIZE)]


async def test_a_cancelled_reader_leaves_the_fetch_to_the_others() -> None:
    """States R3."""
    source, results = Source(), []
    source.gate = anyio.Event()
    async with cache() as blocks:
        version = blocks.version(source.fetch, len(DATA))

        async def reader() -> None:
            results.append(await version.read(0, 100))

        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(0):
                await version.read(0, 100)
            tasks.start_soon(reader)
            await settle()
            source.gate.set()
    assert results == [DATA[:100]]
    assert len(source.requests) == 1


async def test_the_first_of_several_readers_may_be_cancelled() -> None:
    source, results = Source(), []
    source.gate = anyio.Event()
    async with cache() as blocks:
        version = blocks.version(source.fetch, len(DATA))

        async def first(*, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
            with anyio.CancelScope() as scope:
                task_status.started(scope)
                await version.read(0, 100)

        async def second() -> None:
            results.append(await version.read(50, 100))

        async with anyio.create_task_group() as tasks:
            scope = await tasks.start(first)
            tasks.start_soon(second)
            await settle()
            scope.cancel()
            await settle()
            source.gate.set()
    assert results == [DATA[50:150]]
    assert len(source.requests) == 1


async def test_a_failed_fetch_is_heard_by_its_readers_and_is_not_remembered() -> None:
    source = Source()
    source.failures.append(ConnectionResetError("cut"))
    async with cache() as blocks:
        version = blocks.version(source.fetch, len(DATA))
        with pytest.raises(ConnectionResetError, match="cut"):
            await version.read(0, 10)
        assert await version.read(0, 10) == DATA[:10]


async def test_the_limit_holds_and_the_least_recently_used_block_goes() -> None:
    source = Source()
    async with cache(max_size=3 * BLOCK_SIZE) as blocks:
        version = blocks.version(source.fetch, len(DATA))
        for index in (0, 1, 2, 0, 3):
            await version.read(index * BLOCK_SIZE, 1)
            assert blocks.size <= 3 * BLOCK_SIZE
        source.requests.clear()
        await version.read(0, 1)
        await version.read(3 * BLOCK_SIZE, 1)
        assert source.requests == []
        await version.read(BLOCK_SIZE, 1)
        assert source.requests == [(BLOCK_SIZE, BLOCK_SIZE)]


@pytest.mark.parametrize("max_size", [0, 1, BLOCK_SIZE])
async def test_reads_larger_than_the_whole_cache_are_right(max_size: int) -> None:
    source = Source()
    async with cache(max_size=max_size) as blocks:
        version = blocks.version(source.fetch, len(DATA))
        assert await version.read(100, 10 * BLOCK_SIZE) == DATA[100 : 100 + 10 * BLOCK_SIZE]
        assert blocks.size <= max_size


async def test_versions_do_not_share_blocks() -> None:
    old, new = Source(b"a" * 100), Source(b"b" * 100)
    async with cache() as blocks:
        first, second = blocks.version(old.fetch, 100), blocks.version(new.fetch, 100)
        assert await first.read(0, 50) == b"a" * 50
        assert await second.read(0, 100) == b"b" * 100
        assert await first.read(0, 100) == b"a" * 100


async def test_a_file_that_got_shorter_is_stale_not_short() -> None:
    source = Source(b"x" * 10)
    async with cache() as blocks:
        version = blocks.version(source.fetch, 100)
        with pytest.raises(StaleError, match="ends at 10"):
            await version.read(0, 100)


async def test_a_file_of_unknown_size_ends_where_a_fetch_is_short() -> None:
    source = Source(DATA[: 3 * BLOCK_SIZE + 5])
    async with cache() as blocks:
        version = blocks.version(source.fetch, None)
        data = b""
        while piece := await version.read(len(data), 50_000):
            data += piece
        assert data == source.data
        assert version.size == len(source.data)


async def test_readahead_is_bounded_and_a_reader_does_not_wait_for_its_turn() -> None:
    source = Source()
    source.gate = anyio.Event()
    async with cache(max_ahead=1) as blocks:
        version = blocks.version(source.fetch, len(DATA))
        version.fetch_ahead(ByteRange(0, len(DATA)))
        await settle()
        assert source.running == 1
        result = []

        async def reader() -> None:
            result.append(await version.read(2 * AHEAD_REQUEST_SIZE, 10))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
            await settle()
            assert source.running == 2
            source.gate.set()
        assert result == [DATA[2 * AHEAD_REQUEST_SIZE :][:10]]
        assert await version.read(0, len(DATA)) == DATA
    fetched = source.blocks_fetched()
    assert len(fetched) == len(set(fetched))
    assert source.most == 2


async def test_closing_gives_up_what_is_on_its_way_and_later_reads_fetch_again() -> None:
    source = Source()
    source.gate = anyio.Event()
    async with cache(max_ahead=1) as blocks:
        version = blocks.version(source.fetch, len(DATA))
        version.fetch_ahead(ByteRange(0, len(DATA)))
        await settle()
        version.cancel_fetches()
        await settle()
        assert source.running == 0
        source.gate.set()
        assert await version.read(0, 10) == DATA[:10]


async def test_dropped_versions_give_their_memory_back() -> None:
    source = Source()
    async with cache() as blocks:
        version = blocks.version(source.fetch, len(DATA))
        await version.read(0, len(DATA))
        assert blocks.size == len(DATA)
        version.drop()
        assert blocks.size == 0
