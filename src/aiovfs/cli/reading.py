"""The content of one file, in order, several ranges at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from aiovfs.fs import Reader, Store

__all__ = ["chunks"]

CHUNK = 4 << 20
AT_A_TIME = 4  # ranges under way at once; so many chunks are in memory


async def chunks(store: Store, path: str) -> AsyncIterator[bytes]:
    """The content in order; several ranges are fetched at a time where the size is known."""
    info = await store.info(path)
    if info.is_directory:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), store.url + (f"/{path}" if path else ""))
    reader = await store.open_reader(path, info)
    try:
        offset = 0
        if info.size is not None and store.capabilities.ranged_reads:
            while offset < info.size:
                end = min(offset + CHUNK * AT_A_TIME, info.size)
                for data in await _window(reader, offset, end):
                    yield data
                offset = end
            if info.size:
                return
        while data := await reader.read(offset, CHUNK):
            yield data
            offset += len(data)
    finally:
        with anyio.CancelScope(shield=True):
            await reader.aclose()


async def _window(reader: Reader, start: int, end: int) -> list[bytes]:
    parts: dict[int, bytes] = {}

    async def fetch(offset: int) -> None:
        parts[offset] = await reader.read(offset, min(CHUNK, end - offset))

    async with anyio.create_task_group() as tasks:
        for offset in range(start, end, CHUNK):
            tasks.start_soon(fetch, offset)
    return [parts[offset] for offset in sorted(parts)]
