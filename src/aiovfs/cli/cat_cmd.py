"""`aiovfs cat`: the bytes of files, to standard output."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiovfs.cli import ui
from aiovfs.cli.options import debug_option, parse_words, read_storage_options, split_options, store_options

if TYPE_CHECKING:
    from aiovfs.fs import Reader, Store

__all__ = ["cat"]

CHUNK = 4 << 20
AT_A_TIME = 4  # ranges under way at once; with the ones being written, at most 8 chunks are in memory


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@store_options
@debug_option
def cat(urls: tuple[str, ...], words: tuple[str, ...], storage_file: str | None, client: str | None) -> int:
    """Write files of any store to standard output, one after the other.

    Each file is read in one version: if it changes meanwhile, that is an error, never a mixture.
    """
    from aiovfs.mount.serving import run

    given = {**read_storage_options(storage_file), **parse_words(words)}
    options = [split_options(url, given)[1] for url in urls]
    run(_cat, urls, options, client)
    return 0


async def _cat(urls: tuple[str, ...], options: list[Mapping[str, Any]], client: str | None) -> None:
    from aiovfs.cli.locations import locate, opened

    for url, storage in zip(urls, options, strict=True):
        async with opened(locate(url), storage, client) as (store, path):
            async for data in chunks(store, path):
                await anyio.to_thread.run_sync(ui.write_bytes, data)


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
