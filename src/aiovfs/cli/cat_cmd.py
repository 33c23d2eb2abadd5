"""`aiovfs cat`: the bytes of files, to standard output. The reading is in `reading`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from aiovfs.cli import ui
from aiovfs.cli.options import (
    debug_option,
    not_empty,
    parse_words,
    read_storage_options,
    split_options,
    store_options,
)

__all__ = ["cat"]


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...", callback=not_empty)
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
    from anyio.to_thread import run_sync

    from aiovfs.cli.locations import locate, opened
    from aiovfs.cli.reading import chunks

    for url, storage in zip(urls, options, strict=True):
        async with opened(locate(url), storage, client) as (store, path):
            async for data in chunks(store, path):
                await run_sync(ui.write_bytes, data)
