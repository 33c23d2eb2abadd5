"""`aiovfs ls`: what is in a store, without mounting it."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from aiovfs.fs import Info, Store

__all__ = ["ls"]

_LETTER = {"file": "-", "directory": "d", "symlink": "l", "other": "?"}


@click.command()
@click.argument("url", callback=not_empty)
@click.option("-l", "long", is_flag=True, help="One line each: kind and permissions, bytes, time (UTC), name.")
@click.option("-R", "recursive", is_flag=True, help="All directories below, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@store_options
@debug_option
def ls(
    url: str,
    long: bool,
    recursive: bool,
    as_json: bool,
    words: tuple[str, ...],
    storage_file: str | None,
    client: str | None,
) -> int:
    """List a directory of any store, or show one file.

    Names end with / for directories. With -R they are relative to URL.
    """
    from aiovfs.mount.serving import run

    given = {**read_storage_options(storage_file), **parse_words(words)}
    _, storage = split_options(url, given)
    run(_list, url, storage, client, long, recursive, as_json)
    return 0


async def _list(
    url: str, options: Mapping[str, Any], client: str | None, long: bool, recursive: bool, as_json: bool
) -> None:
    from aiovfs.cli.locations import locate, opened

    async with opened(locate(url), options, client) as (store, path):
        async for name, info in entries(store, path, recursive):
            if as_json:
                ui.write_line(json.dumps(as_dict(name, info)))
            else:
                ui.write_line((f"{columns(info)} " if long else "") + ui.printable(name) + suffix(info))


async def entries(store: Store, path: str, recursive: bool) -> AsyncIterator[tuple[str, Info]]:
    """The file at `path`, or what is in the directory there, sorted; names relative to `path`."""
    from aiovfs.cli.locations import join

    if path:
        info = await store.info(path)
        if not info.is_directory:
            yield info.name, info
            return
    pending = [""]
    while pending:
        folder = pending.pop()
        found = sorted(await store.list(join(path, folder)), key=lambda info: info.name)
        for info in found:
            yield join(folder, info.name), info
        if recursive:
            pending += [join(folder, info.name) for info in reversed(found) if info.is_directory]


def as_dict(name: str, info: Info) -> dict[str, Any]:
    """What is known of one file; what the store does not say is null."""
    return {
        "name": name,
        "kind": info.kind.value,
        "size": info.size,
        "mtime": None if info.mtime_ns is None else info.mtime_ns / 1e9,
        "mode": None if info.mode is None else stat.S_IMODE(info.mode),
        "fingerprint": info.fingerprint,
        "target": info.target,
    }


def columns(info: Info) -> str:
    if info.mode is None:
        mode = _LETTER[info.kind.value] + "?" * 9
    else:
        mode = _LETTER[info.kind.value] + stat.filemode(info.mode)[1:]
    size = "-" if info.is_directory or info.size is None else str(info.size)
    if info.mtime_ns is None:
        when = "-"
    else:
        when = datetime.fromtimestamp(info.mtime_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{mode} {size:>14} {when:>19}"


def suffix(info: Info) -> str:
    if info.is_directory:
        return "/"
    return f" -> {ui.printable(info.target)}" if info.target is not None else ""
