"""One version of one remote file, as those who have it open see it: a reader of the store behind the block cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from aiovfs.errors import StaleError
from aiovfs.fs.store import Reader
from aiovfs.mount.cache.blocks import BlockCache
from aiovfs.mount.cache.version import DiskVersion
from aiovfs.mount.readahead import Readahead

__all__ = ["Content"]


class Content:
    """Shared by all handles of one inode. Its blocks stay in memory after the last close, as long as there is room.

    `open_reader` opens the version that this is about, under the path that the file has at that moment; it is called at
    the first read, and again after `moved`.
    """

    def __init__(
        self,
        cache: BlockCache,
        open_reader: Callable[[], Awaitable[Reader]],
        *,
        fingerprint: str | None,
        size: int | None,
        disk: DiskVersion | None = None,
    ) -> None:
        self.fingerprint = fingerprint
        self._version = cache.version(self._fetch, size, disk)
        self._open_reader = open_reader
        self._reader: Reader | None = None
        self._opening: anyio.Lock | None = None
        self._moves = 0
        self._reader_moves = 0  # how many when the reader was opened

    @property
    def size(self) -> int | None:
        """Bytes in the file; None until reading has come to its end, where the store does not say."""
        return self._version.size

    async def read(self, offset: int, size: int, readahead: Readahead | None = None) -> bytes:
        """Up to `size` bytes at `offset`, fewer only at the end.

        Never bytes of another version: `StaleError` when the store does not have this one any more.
        """
        await self._version.open_disk()
        if readahead is not None:
            ahead = readahead.on_read(offset, size)
            if ahead is not None:
                # Begun before the read itself is waited for, so that both are under way together.
                self._version.fetch_ahead(ahead)
        return await self._version.read(offset, size)

    async def read_uncached(self, offset: int, size: int) -> bytes:
        """As `read`, past the cache: for whole files on their way to the disk."""
        return await self._fetch(offset, size)

    @property
    def moves(self) -> int:
        """How often `moved` was called."""
        return self._moves

    def moved(self) -> None:
        """We renamed the file: the reader's path is gone, the content is not."""
        self._moves += 1

    def cancel_fetches(self) -> None:
        """Give up what is on its way; nobody reads any more."""
        self._version.cancel_fetches()

    async def close_reader(self) -> None:
        """Give back what the store holds for this version; the blocks stay."""
        await self._version.close_disk()
        await self._close_reader()

    async def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.aclose()

    def drop(self) -> None:
        """Give the blocks back."""
        self._version.drop()

    async def _fetch(self, offset: int, size: int) -> bytes:
        while True:
            moves = self._moves
            try:
                reader = await self._get_reader()
                return await reader.read(offset, size)
            except (FileNotFoundError, StaleError) as exception:
                if moves != self._moves:
                    continue
                if isinstance(exception, FileNotFoundError):
                    raise StaleError("the stored file was removed while it was open") from exception
                raise

    async def _get_reader(self) -> Reader:
        if self._opening is None:
            self._opening = anyio.Lock()
        async with self._opening:
            while self._reader is None or self._reader_moves != self._moves:
                await self._close_reader()
                self._reader_moves = self._moves
                self._reader = await self._open_reader()
            return self._reader
