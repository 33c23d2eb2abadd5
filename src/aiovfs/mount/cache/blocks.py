"""Blocks of remote files in memory: bounded, fetched once however many ask, never of two versions.

`BlockCache` holds the memory and its limit for a whole mount. A `CachedVersion` is one version of one file in it; it is
made with the function that fetches a range of exactly that version.

- The unit is a block of 64 KiB. A miss fetches the whole contiguous range of blocks that is missing in one request.
- A fetch belongs to nobody in particular: it runs in the task group given to the cache, its readers wait for it. A
  reader that is cancelled leaves; the fetch goes on, and what it brings is kept.
- A reader takes its blocks from the fetch itself, not from the cache: a limit smaller than one read still reads right.
- What the cache on disk has is not fetched, and what was fetched is kept there, if the version has a place in it
  (`disk.py`). Readers do not wait for that; the next request of readahead does.
- Readahead has a limited number of requests over all files. What is beyond waits in a queue; a reader that needs a
  queued range does not wait for its turn.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from itertools import count

import anyio
from anyio.abc import TaskGroup

from aiovfs.errors import StaleError
from aiovfs.fs.ranges import ByteRange
from aiovfs.mount.cache.version import BLOCK_SIZE, DiskVersion

__all__ = ["BLOCK_SIZE", "BlockCache", "CachedVersion", "FetchRange"]

AHEAD_REQUEST_SIZE = 1024 * 1024
"""Bytes of one request of readahead; a window is cut into requests of this size, which run in parallel."""

FetchRange = Callable[[int, int], Awaitable[bytes]]
"""`fetch(offset, size)`: exactly that range of one version, shorter only at the end of the file."""


class _Fetch:
    """One request for a range of blocks, on its way or waiting for its turn."""

    __slots__ = (
        "blocks",
        "data",
        "done",
        "error",
        "first",
        "is_complete",
        "is_started",
        "is_urgent",
        "last",
        "scope",
        "version",
    )

    def __init__(self, version: CachedVersion, first: int, last: int, *, is_urgent: bool) -> None:
        self.version = version
        self.first = first
        self.last = last
        self.is_urgent = is_urgent
        self.is_started = False
        self.is_complete = False
        self.blocks: dict[int, bytes] = {}
        self.data = b""
        self.error: Exception | None = None
        self.done = anyio.Event()
        self.scope = anyio.CancelScope()


class BlockCache:
    """The memory for blocks of one mount. `max_size` bytes at most are kept; least recently used blocks go first."""

    def __init__(self, tasks: TaskGroup, *, max_size: int, max_ahead: int = 8) -> None:
        """`tasks` runs the fetches; `max_ahead` is the most requests for readahead at a time."""
        self._tasks = tasks
        self._max_size = max_size
        self._max_ahead = max_ahead
        self._size = 0
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._numbers = count()
        self._queue: deque[_Fetch] = deque()
        self._ahead = 0

    @property
    def size(self) -> int:
        """Bytes held now."""
        return self._size

    @property
    def max_size(self) -> int:
        return self._max_size

    def version(self, fetch: FetchRange, size: int | None, disk: DiskVersion | None = None) -> CachedVersion:
        """A place for the blocks of one version of a file of `size` bytes (None: as far as reads go).

        `disk` is its place in the cache on disk.
        """
        return CachedVersion(self, next(self._numbers), fetch, size, disk)

    def _get(self, number: int, index: int) -> bytes | None:
        block = self._blocks.get((number, index))
        if block is not None:
            self._blocks.move_to_end((number, index))
        return block

    def _put(self, number: int, index: int, block: bytes) -> None:
        key = (number, index)
        if len(block) > self._max_size or key in self._blocks:
            return
        while self._size + len(block) > self._max_size:
            _, oldest = self._blocks.popitem(last=False)
            self._size -= len(oldest)
        self._blocks[key] = block
        self._size += len(block)

    def _drop(self, number: int, indexes: set[int]) -> None:
        for index in indexes:
            block = self._blocks.pop((number, index), None)
            if block is not None:
                self._size -= len(block)

    def _start(self, fetch: _Fetch) -> None:
        fetch.is_started = True
        if not fetch.is_urgent:
            self._ahead += 1
        self._tasks.start_soon(self._run, fetch)

    def _enqueue(self, fetch: _Fetch) -> None:
        self._queue.append(fetch)
        self._start_queued()

    def _start_queued(self) -> None:
        while self._queue and self._ahead < self._max_ahead:
            fetch = self._queue.popleft()
            if not fetch.is_started and not fetch.done.is_set():
                self._start(fetch)

    async def _run(self, fetch: _Fetch) -> None:
        counted = not fetch.is_urgent
        try:
            with fetch.scope:
                await fetch.version._fetch_blocks(fetch)
        finally:
            fetch.version._finished(fetch)
        try:
            if fetch.data and fetch.version.disk is not None:
                with anyio.CancelScope(shield=True):  # it is here: the next mount need not fetch it again
                    await fetch.version.disk.write(fetch.first, fetch.data)
        finally:
            fetch.data = b""
            if counted:
                self._ahead -= 1
                self._start_queued()


class CachedVersion:
    """One version of one file. Reads are served from memory, or fetched; errors of a fetch are its readers'."""

    def __init__(
        self, cache: BlockCache, number: int, fetch: FetchRange, size: int | None, disk: DiskVersion | None
    ) -> None:
        self.size = size
        """Bytes in the file; learned from the first short answer when the store did not say."""
        self.disk = disk
        self._cache = cache
        self._number = number
        self._fetch = fetch
        self._present: set[int] = set()
        self._pending: dict[int, _Fetch] = {}

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer only at the end of the file. Raises what fetching raises."""
        if self.size is not None:
            size = min(size, self.size - offset)
        if size <= 0:
            return b""
        first, last = offset // BLOCK_SIZE, (offset + size - 1) // BLOCK_SIZE
        if self.disk is not None:
            await self.open_disk()
            data = await self.disk.read(offset, size)
            if data is not None:
                return data
        blocks: dict[int, bytes] = await self._read_part_from_disk(first, last)
        fetches: list[_Fetch] = []
        start: int | None = None  # of the run of blocks that nobody is fetching yet
        for index in range(first, last + 1):
            block = blocks.get(index) or self._cache._get(self._number, index)
            fetch = None if block is not None else self._pending.get(index)
            if block is None and fetch is None:
                start = index if start is None else start
                continue
            if start is not None:
                fetches.append(self._begin(start, index - 1))
                start = None
            if block is not None:
                blocks[index] = block
            elif fetch is not None and (not fetches or fetches[-1] is not fetch):
                fetches.append(fetch)
        if start is not None:
            fetches.append(self._begin(start, last))
        for fetch in fetches:
            if not fetch.is_started:
                fetch.is_urgent = True
                self._cache._start(fetch)
        for fetch in fetches:
            await fetch.done.wait()
            if fetch.error is not None:
                raise fetch.error
            blocks.update(fetch.blocks)
        skip = offset - first * BLOCK_SIZE
        if first == last:
            return blocks.get(first, b"")[skip : skip + size]
        # A file that turned out shorter than thought has no block at all behind its end.
        whole = b"".join(blocks.get(index, b"") for index in range(first, last + 1))
        return whole if not skip and len(whole) == size else whole[skip : skip + size]

    def fetch_ahead(self, wanted: ByteRange) -> None:
        """Begin to fetch what is missing of a range. Does not wait; who reads there later hears of failures."""
        end = wanted.end if self.size is None else min(wanted.end, self.size)
        if wanted.start >= end:
            return
        first, last = wanted.start // BLOCK_SIZE, (end - 1) // BLOCK_SIZE
        at_once = AHEAD_REQUEST_SIZE // BLOCK_SIZE
        start: int | None = None
        for index in range(first, last + 1):
            missing = (self._number, index) not in self._cache._blocks and index not in self._pending
            missing = missing and not (self.disk is not None and self.disk.has(index, index))
            if missing and start is None:
                start = index
            if start is not None and (not missing or index - start == at_once):
                self._begin_ahead(start, index - 1)
                start = index if missing else None
        if start is not None:
            self._begin_ahead(start, last)

    def cancel_fetches(self) -> None:
        """Give up everything on its way; whoever waits gets `StaleError`. For when the file is closed."""
        for fetch in {id(fetch): fetch for fetch in self._pending.values()}.values():
            fetch.scope.cancel()
            if not fetch.is_started:
                fetch.is_started = True
                self._finished(fetch)

    async def open_disk(self) -> None:
        """Look what the cache on disk has, so that `fetch_ahead` knows. Again: nothing happens."""
        if self.disk is not None:
            await self.disk.open()

    async def close_disk(self) -> None:
        """Close the place on disk, whose blocks stay; it is opened again at the next read."""
        if self.disk is not None:
            await self.disk.aclose()

    def drop(self) -> None:
        """Give the memory back. What is on disk stays."""
        self.cancel_fetches()
        if self.disk is not None:
            self.disk.close()
        self._cache._drop(self._number, self._present)
        self._present.clear()

    async def _read_part_from_disk(self, first: int, last: int) -> dict[int, bytes]:
        """The blocks that are on disk only, of a range that is not there as a whole."""
        disk = self.disk
        blocks: dict[int, bytes] = {}
        if disk is None or first == last:
            return blocks
        for index in range(first, last + 1):
            if disk.has(index, index) and (self._number, index) not in self._cache._blocks:
                blocks.update(await disk.read_blocks(index, index) or {})
        return blocks

    def _begin(self, first: int, last: int) -> _Fetch:
        fetch = _Fetch(self, first, last, is_urgent=True)
        for index in range(first, last + 1):
            self._pending[index] = fetch
        return fetch

    def _begin_ahead(self, first: int, last: int) -> None:
        fetch = self._begin(first, last)
        fetch.is_urgent = False
        self._cache._enqueue(fetch)

    async def _fetch_blocks(self, fetch: _Fetch) -> None:
        offset = fetch.first * BLOCK_SIZE
        size = (fetch.last + 1) * BLOCK_SIZE - offset
        if self.size is not None:
            size = min(size, self.size - offset)
        try:
            data = await self._fetch(offset, size)
            if self.size is None:
                # A range wholly behind the end, as readahead asks for, does not say where the end is.
                if 0 < len(data) < size or (not data and offset == 0):
                    self.size = offset + len(data)
            elif len(data) < min(size, self.size - offset):
                raise StaleError(
                    f"the stored file ends at {offset + len(data)}, but it had {self.size} bytes when it was opened"
                )
        except Exception as exception:
            fetch.error = exception
            return
        for position in range(0, len(data), BLOCK_SIZE):
            index = fetch.first + position // BLOCK_SIZE
            block = data if len(data) <= BLOCK_SIZE else data[position : position + BLOCK_SIZE]
            fetch.blocks[index] = block
            self._cache._put(self._number, index, block)
            self._present.add(index)
        if self.size is not None and len(data) == size:
            fetch.data = data
        fetch.is_complete = True

    def _finished(self, fetch: _Fetch) -> None:
        for index in range(fetch.first, fetch.last + 1):
            if self._pending.get(index) is fetch:
                del self._pending[index]
        if not fetch.is_complete and fetch.error is None:
            fetch.error = StaleError("the file was closed while it was being read")
        fetch.done.set()
