"""Our file systems under URL schemes that fsspec's users can write: `aiomemory://`, `aiofile://` and others.

The package's entry points (group `fsspec.specs`) name the classes of this module, and of `published_http` and
`published_objects` for those that need more than is always installed, so that
`pandas.read_parquet("aiofile:///data/x.parquet")` finds them, also in the workers of Dask and Ray. fsspec loads such
entry points over its own names; a package that took "file" or "s3" there would change programs that never asked for
it. So each class here has a name that nobody else has, and is otherwise the one that it derives from.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.local import LocalFileSystem
from aiovfs.fs.memory import MemoryFileSystem

__all__ = ["AioFileSystem", "AioMemoryFileSystem", "Renamed"]


class Renamed(AsyncFileSystem):
    """Mixin before one of our classes: the same under other schemes."""

    schemes: ClassVar[dict[str, str]]
    """The scheme that the base class knows, by the published one."""

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return super()._strip_protocol(renamed(os.fspath(path), cls.schemes))


def renamed(url: str, schemes: dict[str, str]) -> str:
    """The URL with its scheme replaced, where it is one of `schemes`."""
    scheme, separator, rest = url.partition("://")
    return f"{schemes[scheme]}://{rest}" if separator and scheme in schemes else url


class AioMemoryFileSystem(Renamed, MemoryFileSystem):
    """`aiomemory://`: see `MemoryFileSystem`. Another tree than fsspec's `memory://`."""

    protocol = "aiomemory"
    schemes: ClassVar = {"aiomemory": "memory"}
    eager = MemoryFileSystem.eager


class AioFileSystem(Renamed, LocalFileSystem):
    """`aiofile://`: see `LocalFileSystem`. Folders come into being when something is written in them, as in any store
    that is reached by URL: those who write through fsspec's interface (zarr, Dask) do not make them.
    """

    protocol = "aiofile"  # type: ignore[assignment]
    schemes: ClassVar = {"aiofile": "file"}
    eager = LocalFileSystem.eager

    def __init__(self, auto_mkdir: bool = True, **kwargs: Any) -> None:
        super().__init__(auto_mkdir=auto_mkdir, **kwargs)
