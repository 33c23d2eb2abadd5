"""Where the file is that an argument names: the store at its parent, and its name there.

A URL may name a file or a directory, and the store is opened before anybody knows which. So it is opened one level
up, and not asked whether that can be listed: a server may well hand out `https://host/files/a.bin` and refuse
`https://host/files/`.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiovfs.fs import Store

__all__ = ["Location", "join", "locate", "opened"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-_]*(?:://|::)")
_WITHOUT_HOST = frozenset({"memory", "file", "local", "zip", "tar", "libarchive", "reference", "dir", "git"})
_CACHES = frozenset({"simplecache", "filecache", "blockcache", "cached"})  # they take the path of the next link


@dataclass(frozen=True, slots=True)
class Location:
    """One argument, taken apart. `name` is "" when the argument is the root of its store."""

    text: str
    parent: str
    name: str
    is_local: bool
    says_directory: bool
    """It ends with a slash."""
    origin: str
    """Protocol and host: what two locations in one store have in common."""

    @property
    def local_path(self) -> str:
        return os.path.join(self.parent, self.name) if self.name else self.parent

    @property
    def path_in_origin(self) -> str:
        return join(self.parent[len(self.origin) :].strip("/"), self.name)


def locate(text: str) -> Location:
    """Take a URL or a local path apart, without looking at what is there. Raises `StoreError` for what cannot work."""
    from aiovfs.errors import StoreError
    from aiovfs.fs import redact

    if _URL.match(text) is None:
        return _locate_local(text, text)
    links = text.split("::")
    if links[0] in ("file", "local") or links[0].startswith(("file://", "local://")):
        return _locate_local(text, links[0].partition("://")[2] or "/")
    index = 0
    while index + 1 < len(links) and (links[index] in _CACHES or links[index].partition("://")[0] in _CACHES):
        index += 1
    protocol, _, path = links[index].partition("://")
    if protocol in ("http", "https") and "?" in path:
        # It would be taken for a part of the name: asked for in vain, and shown with the token that is often in it.
        shown = redact(text)
        raise StoreError(
            f"{shown}: a URL with a query is not supported", url=shown, hint="a token belongs into -o headers=…"
        )
    host = ""
    if protocol not in _WITHOUT_HOST:
        host, _, path = path.partition("/")
    folder, _, name = path.rstrip("/").rpartition("/")

    def chain(path: str) -> str:
        return "::".join([*links[:index], f"{protocol}://{path}", *links[index + 1 :]])

    leading = "/" if path.startswith("/") and not folder else ""
    parent = chain("/".join(part for part in (host, leading + folder) if part))
    return Location(
        text=text,
        parent=parent if name else chain("/".join(part for part in (host, path.rstrip("/")) if part)),
        name=name,
        is_local=False,
        says_directory=text.endswith("/"),
        origin=chain(host),
    )


def _locate_local(text: str, path: str) -> Location:
    folder, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
    return Location(text=text, parent=folder, name=name, is_local=True, says_directory=path.endswith("/"), origin="/")


def join(folder: str, name: str) -> str:
    """A path below a store's root, as `Store` takes it."""
    return f"{folder}/{name}" if folder and name else folder or name


@asynccontextmanager
async def opened(
    location: Location,
    options: Mapping[str, Any],
    client: str | None,
    *,
    read_only: bool = True,
    from_origin: bool = False,
) -> AsyncIterator[tuple[Store, str]]:
    """The store and the path in it. With `from_origin`, the store's root is the location's protocol and host."""
    from aiovfs.fs import open_store

    if from_origin:
        url, path = location.origin, location.path_in_origin
    else:
        url, path = location.parent, location.name
    store = await open_store(
        url, read_only=read_only, client=client, storage_options=options, verify=path == "" and not from_origin
    )
    async with store:
        yield store, path
