"""One version of one remote file on disk: which of its blocks are there, reading them, and keeping more.

A block is checked against its sum when it is read for the first time. Whoever reads or writes while a part is taken
away (`evict`) looks afterwards whether that part was concerned: what was read is dropped, what was written is not
believed.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import sqlite3
import zlib
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

import anyio

from aiovfs import aio
from aiovfs.mount.cache.index import BLOCKS_PER_EXTENT, Extents, Index

if TYPE_CHECKING:
    from aiovfs.mount.cache.disk import DiskCache

__all__ = ["BLOCK_SIZE", "DiskVersion", "try_lock"]

logger = logging.getLogger("aiovfs.mount")

BLOCK_SIZE = 64 * 1024

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02  # linux/falloc.h
_libc = ctypes.CDLL(None, use_errno=True)


class DiskVersion:
    """One version of one file in the cache. What it does not have, or cannot read, it says it does not have."""

    def __init__(self, cache: DiskCache, key: bytes, size: int) -> None:
        self.key = key
        self.size = size
        self.number = -1
        self.fd = -1
        self.sums: Extents = {}
        self.verified: dict[int, bytearray] = {}
        """By extent: which blocks were found to be what they should be."""
        self.used: set[int] = set()
        """Extents that were read since the index was last told."""
        self._evictions = 0  # odd while a part is being taken away
        self._cache = cache
        self._is_looked_up = False
        self._is_wanted = False
        self._jobs = 0
        self._opening: anyio.Lock | None = None

    async def open(self) -> None:
        """Look what the cache has of it, and stay open until `close`. Again: nothing happens."""
        self._is_wanted = True
        if not self._is_looked_up:
            self.hold()
            try:
                await self._look_up()
            finally:
                self.let_go()

    async def _look_up(self) -> None:
        async with self._lock:
            if not self._is_looked_up and not self._cache.is_closed:
                try:
                    await self._cache.find(self)
                except (OSError, sqlite3.Error) as exception:
                    self._cache.failed(exception)
                self._is_looked_up = True

    @property
    def _lock(self) -> anyio.Lock:
        if self._opening is None:
            self._opening = anyio.Lock()
        return self._opening

    def has(self, first: int, last: int) -> bool:
        """Whether every block from `first` to `last` is there, as far as this process knows."""
        if self.fd < 0:
            return False
        for index in range(first, last + 1):
            extent = self.sums.get(index // BLOCKS_PER_EXTENT)
            if extent is None or not extent[index % BLOCKS_PER_EXTENT]:
                return False
        return True

    async def read(self, offset: int, size: int) -> bytes | None:
        """These bytes, which end within the file; None when not all of them are there after all."""
        first, last = offset // BLOCK_SIZE, (offset + size - 1) // BLOCK_SIZE
        if not self.has(first, last):
            return None
        unverified = not self._is_verified(first, last)
        start, end = offset, offset + size
        if unverified:
            start, end = first * BLOCK_SIZE, min((last + 1) * BLOCK_SIZE, self.size)
        self.hold()
        try:
            data = await aio.pread(self.fd, end - start, start)
            if unverified and not await self._verify(first, data):
                return None
        except OSError as exception:
            self._cache.failed(exception)
            return None
        finally:
            self.let_go()
        # Evicted while we read: what we have may be holes.
        if len(data) < end - start or not self.has(first, last):
            return None
        self.used.add(first // BLOCKS_PER_EXTENT)
        self._cache.bytes_read += size
        return data[offset - start : offset - start + size] if unverified else data

    async def read_blocks(self, first: int, last: int) -> dict[int, bytes] | None:
        """The blocks from `first` to `last`; None when not all of them are there after all."""
        start = first * BLOCK_SIZE
        data = await self.read(start, min((last + 1) * BLOCK_SIZE, self.size) - start)
        if data is None:
            return None
        return {
            first + position // BLOCK_SIZE: data[position : position + BLOCK_SIZE]
            for position in range(0, len(data), BLOCK_SIZE)
        }

    async def write(self, first: int, data: bytes) -> None:
        """Keep the blocks from `first` on, if there is room. `data` ends with a block, or with the file."""
        if not await self._cache.reserve(len(data)):
            return
        is_kept = False
        self._cache.writes += 1
        self.hold()
        try:
            await self._look_up()
            if self.fd < 0:
                async with self._lock:
                    if self.fd < 0:
                        await self._cache.make(self)
            evictions = self._evictions
            sums = await aio.call(_write, self.fd, first, data)
            is_kept = evictions == self._evictions and not evictions % 2
            if is_kept:
                for index, value in sums.items():
                    extent = self.sums.setdefault(index // BLOCKS_PER_EXTENT, _no_sums())
                    extent[index % BLOCKS_PER_EXTENT] = value
                self._set_verified(sums)
                await self._cache.written(self, sums, len(data))
        except (OSError, sqlite3.Error) as exception:
            self._cache.failed(exception)
        finally:
            if not is_kept:
                self._cache.settle(len(data))
            self._cache.writes -= 1
            self.let_go()

    def evict(self, number: int, size: int, index: Index) -> int:
        """Take an extent of `size` bytes away, in a thread; the bytes that this gave back.

        What is being written meanwhile may lose its bytes, and sees that by the count of evictions.
        """
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        try:
            if not try_lock(self.fd):
                return 0  # another process reads it, too
            self._evictions += 1
            self.sums.pop(number, None)
            self.verified.pop(number, None)
            index.forget_extents(self.number, [number])
            _punch(self.fd, number * BLOCKS_PER_EXTENT * BLOCK_SIZE, BLOCKS_PER_EXTENT * BLOCK_SIZE)
            self._evictions += 1
            return size
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_SH)

    async def aclose(self) -> None:
        """Note what is new, and close the file. It is looked up again when it is used again."""
        try:
            if self.fd >= 0:
                await self._cache.note()
        finally:
            self.close()

    def close(self) -> None:
        """Close the file, as soon as nothing is under way on it."""
        self._is_wanted = False
        if not self._jobs:
            self._close()

    def _close(self) -> None:
        self._is_looked_up = False
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            self._cache.closed(self)
            self.sums, self.verified, self.used = {}, {}, set()
            os.close(fd)

    def hold(self) -> None:
        """Something is under way on the file: it stays open until `let_go`."""
        self._jobs += 1

    def let_go(self) -> None:
        """The end of what `hold` announced."""
        self._jobs -= 1
        if not self._jobs and not self._is_wanted:
            self._close()

    def _is_verified(self, first: int, last: int) -> bool:
        for index in range(first, last + 1):
            extent = self.verified.get(index // BLOCKS_PER_EXTENT)
            if extent is None or not extent[index % BLOCKS_PER_EXTENT]:
                return False
        return True

    def _set_verified(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            extent = self.verified.setdefault(index // BLOCKS_PER_EXTENT, bytearray(BLOCKS_PER_EXTENT))
            extent[index % BLOCKS_PER_EXTENT] = 1

    async def _verify(self, first: int, data: bytes) -> bool:
        found = _sums(first, data)
        for index, value in found.items():
            extent = self.sums.get(index // BLOCKS_PER_EXTENT)
            if extent is None:
                return False
            if extent[index % BLOCKS_PER_EXTENT] != value:
                extent[index % BLOCKS_PER_EXTENT] = 0
                logger.info("a block of the cache on disk was not what was written; it is fetched again")
                return False
        self._set_verified(found)
        return True


def _no_sums() -> array[int]:
    return array("I", bytes(4 * BLOCKS_PER_EXTENT))


def _sums(first: int, data: bytes) -> dict[int, int]:
    view = memoryview(data)
    return {
        first + position // BLOCK_SIZE: zlib.crc32(view[position : position + BLOCK_SIZE]) or 1
        for position in range(0, len(data), BLOCK_SIZE)
    }


def _write(fd: int, first: int, data: bytes) -> dict[int, int]:
    done, offset = 0, first * BLOCK_SIZE
    view = memoryview(data)
    while done < len(data):
        done += os.pwrite(fd, view[done:], offset + done)
    return _sums(first, data)


def _punch(fd: int, offset: int, size: int) -> None:
    """Give back the room of a range, where the file system can."""
    _libc.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(size))


def try_lock(fd: int) -> bool:
    """Take the lock of a file alone, if nobody else has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
