"""Decoding in passing: right bytes at any offset, each compressed byte fetched once by a reader that goes forward."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import zlib

import pytest

from aiovfs.fs.archives import BLOCK_SIZE, BlockFile
from aiovfs.fs.inflate import Inflater
from aiovfs.fs.store import Reader

CONTENT = random.Random(3).randbytes(3_000_000) + b"compressible " * 500_000


def raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return encoder.compress(data) + encoder.flush()


ENCODERS = {
    "deflate": raw_deflate,
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
}


class CountingReader(Reader):
    """Bytes in memory; counts what is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.fetched = 0
        self.requests: list[tuple[int, int]] = []

    async def read(self, offset: int, size: int) -> bytes:
        part = self.data[offset : offset + size]
        self.fetched += len(part)
        self.requests.append((offset, len(part)))
        return part


@pytest.fixture(params=ENCODERS, scope="module")
def encoded(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    return request.param, ENCODERS[request.param](CONTENT)


@pytest.fixture
def source(encoded: tuple[str, bytes]) -> CountingReader:
    return CountingReader(b"before" + encoded[1] + b"after")


@pytest.fixture
def inflater(encoded: tuple[str, bytes], source: CountingReader) -> Inflater:
    method, data = encoded
    return Inflater(source, 6, 6 + len(data), method)


async def test_reading_in_order_gives_everything_and_fetches_it_once(
    inflater: Inflater, source: CountingReader
) -> None:
    parts, offset = [], 0
    while part := await inflater.read(offset, 131072):
        parts.append(part)
        offset += len(part)
    assert b"".join(parts) == CONTENT
    assert source.fetched == len(source.data) - len(b"beforeafter")


async def test_the_head_of_a_large_member_costs_little(inflater: Inflater, source: CountingReader) -> None:
    assert await inflater.read(0, 1000) == CONTENT[:1000]
    assert source.fetched < 1_100_000


async def test_reading_a_little_out_of_order_decodes_nothing_twice(inflater: Inflater, source: CountingReader) -> None:
    for offset in (262144, 0, 131072, 524288, 393216):
        assert await inflater.read(offset, 131072) == CONTENT[offset : offset + 131072]
    assert len(source.requests) == len(set(source.requests))


async def test_going_far_back_starts_again(inflater: Inflater) -> None:
    end = len(CONTENT)
    assert await inflater.read(end - 100, 200) == CONTENT[-100:]
    assert await inflater.read(10, 100) == CONTENT[10:110]


async def test_data_that_ends_too_soon_is_an_error(encoded: tuple[str, bytes]) -> None:
    method, data = encoded
    cut = CountingReader(data[: len(data) // 2])
    with pytest.raises(EOFError):
        await Inflater(cut, 0, len(cut.data), method).read(len(CONTENT) - 10, 10)


async def test_several_compressed_streams_after_each_other_are_one_content() -> None:
    data = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 512
    assert await Inflater(CountingReader(data), 0, len(data), "gzip").read(0, 100) == b"one two"


async def test_a_bomb_is_decoded_in_small_steps() -> None:
    data = raw_deflate(b"\0" * 200_000_000)
    inflater = Inflater(CountingReader(data), 0, len(data), "deflate")
    assert await inflater.read(100_000_000, 10) == b"\0" * 10
    assert len(inflater._decoded) < 10_000_000


async def test_parsers_fetch_single_blocks_in_random_order_and_more_in_order() -> None:
    from anyio.to_thread import run_sync

    source = CountingReader(bytes(BLOCK_SIZE) * 100)
    file = BlockFile(source, len(source.data))

    def parse() -> None:
        for number in (90, 50, 10):
            file.seek(number * BLOCK_SIZE + 5)
            file.read(10)
        file.seek(20 * BLOCK_SIZE)
        for _ in range(7):
            file.read(BLOCK_SIZE)

    await run_sync(parse)
    assert [size // BLOCK_SIZE for _, size in source.requests] == [1, 1, 1, 1, 2, 4]
