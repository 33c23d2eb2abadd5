"""Blocks of remote files in memory: one bounded cache for all open files of a process.

`BlockMemory` holds the bytes, and their limit; any thread may look into it. `Blocks` is one version of one file as one
loop reads it: it knows what is on its way, and fetches the rest.

- The unit is a block of 64 KiB. A read fetches the whole contiguous runs of blocks that are missing, in requests of at
  most `REQUEST_SIZE`, several at a time.
- Nothing is fetched twice at the same time: a read waits for requests of others that bring what it needs. One whose
  owner was cancelled, or that was only reading ahead and failed, is made again by whoever waited for it; another
  failure is the failure of all who waited.
- A read takes its bytes from the requests themselves, so a limit smaller than one read still reads right. A read that
  is larger than `KEEP_AT_MOST` passes by the cache: it would put out everything else, and is hardly read twice.
- Bytes on their way ahead of readers are bounded for the whole process (`AHEAD_LIMIT`); beyond it nobody reads ahead.

Versions are told apart by keys. Files that were opened twice share blocks when their key is the same: see
`sources.Source.key`.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Any

import anyio

from aiovfs._loop.background import run_in_background
from aiovfs.errors import StaleError
from aiovfs.fs.concurrency import window
from aiovfs.fs.ranges import ByteRange

__all__ = ["BLOCK_SIZE", "BlockMemory", "Blocks", "memory"]

BLOCK_SIZE = 64 * 1024
"""Bytes of a block."""

REQUEST_SIZE = 4 * 1024 * 1024
"""The most bytes of one request."""

AHEAD_REQUEST_SIZE = 1024 * 1024
"""Bytes of one request of readahead: a window is several of them, in flight together."""

REQUESTS_AT_ONCE = 8
"""Requests in flight for one read."""

KEEP_AT_MOST = 32 * 1024 * 1024
"""A larger read leaves nothing in the cache."""

AHEAD_LIMIT = 64 * 1024 * 1024
"""Bytes on their way ahead of all readers of the process."""

DEFAULT_LIMIT = 128 * 1024 * 1024

Fetch = Callable[[int, int], Awaitable[bytes]]
"""`await fetch(start, end)`: the bytes of exactly that range of one version; fewer only at the end of the file."""


class BlockMemory:
    """Blocks by (key of the version, index), least recently used first to go. Safe to use from any thread."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        """`limit`: bytes kept at most."""
        self._limit = limit
        self._size = 0
        self._blocks: OrderedDict[tuple[Hashable, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._ahead = 0

    @property
    def size(self) -> int:
        """Bytes kept now."""
        return self._size

    @property
    def limit(self) -> int:
        """Bytes kept at most. May be set at any time; 0 keeps nothing."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            self._shrink(0)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._blocks.clear()
            self._size = 0

    def get(self, key: Hashable, first: int, last: int) -> list[bytes | None]:
        """The blocks `first` to `last`; None where one is not there."""
        found: list[bytes | None] = []
        with self._lock:
            for index in range(first, last + 1):
                block = self._blocks.get((key, index))
                if block is not None:
                    self._blocks.move_to_end((key, index))
                found.append(block)
        return found

    def put(self, key: Hashable, first: int, data: bytes) -> None:
        """Keep consecutive blocks, `first` and those behind it."""
        view = memoryview(data)
        with self._lock:
            for index, start in enumerate(range(0, len(data), BLOCK_SIZE), first):
                block = bytes(view[start : start + BLOCK_SIZE])
                if len(block) > self._limit or (key, index) in self._blocks:
                    continue
                self._shrink(len(block))
                self._blocks[key, index] = block
                self._size += len(block)

    def drop(self, key: Hashable) -> None:
        """Forget a version."""
        with self._lock:
            for place in [place for place in self._blocks if place[0] == key]:
                self._size -= len(self._blocks.pop(place))

    def reserve_ahead(self, size: int) -> bool:
        """Whether `size` more bytes may be fetched ahead of a reader; they are counted until `release_ahead`."""
        with self._lock:
            if self._ahead + size > min(AHEAD_LIMIT, self._limit // 2):
                return False
            self._ahead += size
            return True

    def release_ahead(self, size: int) -> None:
        """Those bytes have arrived, or will not."""
        with self._lock:
            self._ahead -= size

    def _shrink(self, room: int) -> None:
        while self._blocks and self._size + room > self._limit:
            self._size -= len(self._blocks.popitem(last=False)[1])


_memory = BlockMemory(int(os.environ.get("AIOVFS_BLOCK_CACHE", DEFAULT_LIMIT)))


def memory() -> BlockMemory:
    """The one of this process. Its first limit is `AIOVFS_BLOCK_CACHE` bytes, where the environment says so."""
    return _memory


def _after_fork_in_child() -> None:
    # Another thread may have held the lock.
    global _memory
    _memory = BlockMemory(_memory.limit)


os.register_at_fork(after_in_child=_after_fork_in_child)


class _Request:
    """A run of blocks on its way."""

    __slots__ = ("data", "done", "error", "first", "is_void", "last", "only_ahead", "scope")

    def __init__(self, first: int, last: int, *, only_ahead: bool) -> None:
        self.first = first
        self.last = last
        self.only_ahead = only_ahead
        self.done = anyio.Event()
        self.data: bytes = b""
        self.error: Exception | None = None
        self.is_void = False
        """It brought nothing, and that says nothing: whoever needs its blocks asks again."""
        self.scope: anyio.CancelScope | None = None


_numbers = itertools.count()


class Blocks:
    """One version of one file, read on one loop. `cached` may be called from any thread."""

    def __init__(
        self, fetch: Fetch, size: int | None, *, key: Hashable = None, cache: BlockMemory | None = None
    ) -> None:
        """`size`: of the file, None when only reading will tell. `key`: who has the same one has the same bytes."""
        self.size = size
        self._fetch = fetch
        self._is_private = key is None
        self._key = ("private", next(_numbers)) if key is None else key
        self._cache = cache if cache is not None else memory()
        self._pending: dict[int, _Request] = {}

    def cached(self, offset: int, size: int) -> bytes | None:
        """`size` bytes at `offset` if all of them are in memory (fewer at the end of the file); else None."""
        if self.size is None:
            return None
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        if size > KEEP_AT_MOST:
            return None
        first, last = offset // BLOCK_SIZE, (offset + size - 1) // BLOCK_SIZE
        found = self._cache.get(self._key, first, last)
        skip = offset - first * BLOCK_SIZE
        if first == last:
            block = found[0]
            return None if block is None else block[skip : skip + size]
        parts: list[bytes | memoryview] = []
        for block in found:
            if block is None:
                return None
            parts.append(block)
        return _cut(parts, skip, size)

    def keep(self, offset: int, data: bytes) -> None:
        """Put what is known already into memory. `offset` is a multiple of `BLOCK_SIZE`; cut to whole blocks."""
        end = offset + len(data)
        if end != self.size:
            data = data[: len(data) // BLOCK_SIZE * BLOCK_SIZE]
        self._cache.put(self._key, offset // BLOCK_SIZE, data)

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer only at the end of the file. Raises what fetching raises."""
        while True:
            if self.size is not None:
                size = min(size, self.size - offset)
            if size <= 0:
                return b""
            first, last = offset // BLOCK_SIZE, (offset + size - 1) // BLOCK_SIZE
            parts = await self._collect(first, last, keep=size <= KEEP_AT_MOST)
            if parts is not None:
                return _cut(parts, offset - first * BLOCK_SIZE, size)

    async def read_exactly_once(self, offset: int, size: int) -> bytes:
        """As `read`, for whoever keeps the bytes: exactly this range is fetched, and nothing is looked up or kept."""
        if self.size is not None:
            size = min(size, self.size - offset)
        return await self._fetch_range(offset, offset + size) if size > 0 else b""

    def fetch_ahead(self, wanted: ByteRange) -> None:
        """Begin to fetch what is missing of a range, as far as the process allows. Only on the loop; never waits."""
        end = wanted.end if self.size is None else min(wanted.end, self.size)
        if wanted.start >= end:
            return
        # The block that the range begins inside of belongs to whoever reads up to there.
        first, last = -(-wanted.start // BLOCK_SIZE), (end - 1) // BLOCK_SIZE
        found = self._cache.get(self._key, first, last)
        missing = [index for index, block in enumerate(found, first) if block is None and index not in self._pending]
        for start, stop in _runs(missing, AHEAD_REQUEST_SIZE // BLOCK_SIZE):
            size = (stop - start + 1) * BLOCK_SIZE
            if not self._cache.reserve_ahead(size):
                return
            request = self._begin(start, stop, only_ahead=True)
            run_in_background(self._perform_ahead, request, size)

    def cancel_ahead(self) -> None:
        """Give up what is on its way for nobody. For when the file is closed."""
        for request in set(self._pending.values()):
            if request.only_ahead and request.scope is not None:
                request.scope.cancel()

    def close(self) -> None:
        """Forget what only this object could find."""
        self.cancel_ahead()
        if self._is_private:
            self._cache.drop(self._key)

    # Fetching

    async def _collect(self, first: int, last: int, *, keep: bool) -> list[bytes | memoryview] | None:
        """The blocks of a run in order; None when a part has to be asked for again."""
        found = self._cache.get(self._key, first, last)
        missing: list[int] = []
        waited: dict[int, _Request] = {}
        for index, block in enumerate(found, first):
            if block is None:
                request = self._pending.get(index)
                if request is None:
                    missing.append(index)
                else:
                    waited[index] = request
        own = [self._begin(start, stop, only_ahead=False) for start, stop in _runs(missing, REQUEST_SIZE // BLOCK_SIZE)]
        if len(own) == 1:
            await self._perform(own[0], keep)
        elif own:
            try:
                await window([partial(self._perform, request, keep) for request in own], size=REQUESTS_AT_ONCE)
            finally:
                for request in own:
                    if not request.done.is_set():
                        request.is_void = True
                        self._finish(request)
        requests: dict[int, _Request] = {index: request for request in own for index in _indexes(request)}
        for request in dict.fromkeys(waited.values()):
            await request.done.wait()
            if request.error is not None:
                raise request.error
            if request.is_void:
                return None
        requests |= waited
        parts: list[bytes | memoryview] = []
        index = first
        while index <= last:
            block = found[index - first]
            if block is not None:
                parts.append(block)
                index += 1
                continue
            request = requests[index]
            stop = min(request.last, last)
            begin = (index - request.first) * BLOCK_SIZE
            parts.append(memoryview(request.data)[begin : begin + (stop - index + 1) * BLOCK_SIZE])
            index = stop + 1
        return parts

    def _begin(self, first: int, last: int, *, only_ahead: bool) -> _Request:
        request = _Request(first, last, only_ahead=only_ahead)
        for index in _indexes(request):
            self._pending[index] = request
        return request

    def _finish(self, request: _Request) -> None:
        for index in _indexes(request):
            if self._pending.get(index) is request:
                del self._pending[index]
        request.done.set()

    async def _perform(self, request: _Request, keep: bool) -> None:
        try:
            request.data = await self._fetch_range(request.first * BLOCK_SIZE, (request.last + 1) * BLOCK_SIZE)
            if keep:
                self._cache.put(self._key, request.first, request.data)
        except Exception as exc:
            request.error = exc
            raise
        except BaseException:
            request.is_void = True
            raise
        finally:
            self._finish(request)

    async def _perform_ahead(self, request: _Request, reserved: int) -> None:
        with anyio.CancelScope() as request.scope:
            try:
                await self._perform(request, True)
            except Exception:
                # Nobody has asked for it yet. Whoever does asks for itself, and hears then what is wrong.
                request.error = None
                request.is_void = True
            finally:
                self._cache.release_ahead(reserved)

    async def _fetch_range(self, start: int, end: int) -> bytes:
        if self.size is not None:
            end = min(end, self.size)
        data = await self._fetch(start, end)
        wanted = end - start
        if len(data) > wanted:
            raise ValueError(f"{len(data)} bytes came for the range {start} to {end}")
        if len(data) < wanted:
            if self.size is not None:
                raise StaleError(f"the file became shorter than the {self.size} bytes it had when it was opened")
            if data or start == 0:
                self.size = start + len(data)
        return data


def _indexes(request: _Request) -> range:
    return range(request.first, request.last + 1)


def _runs(indexes: list[int], longest: int) -> list[tuple[int, int]]:
    """Consecutive numbers as (first, last), none longer than `longest`."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and runs[-1][1] + 1 == index and index - runs[-1][0] < longest:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def _cut(parts: list[Any], skip: int, size: int) -> bytes:
    """The bytes `skip` to `skip + size` of the parts in order, copied once."""
    views: list[memoryview] = []
    for part in parts:
        view = memoryview(part)
        if skip:
            step = min(skip, len(view))
            skip -= step
            view = view[step:]
        if len(view) > size:
            view = view[:size]
        size -= len(view)
        views.append(view)
    return b"".join(views)
