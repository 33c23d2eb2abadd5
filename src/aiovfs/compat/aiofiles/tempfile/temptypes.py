"""Temporary files and directories with methods to await."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiovfs.compat.aiofiles.base import AsyncBase, attributes, awaited, call

__all__ = ["AsyncSpooledTemporaryFile", "AsyncTemporaryDirectory"]


@awaited(
    "close",
    "fileno",
    "flush",
    "isatty",
    "read",
    "readline",
    "readlines",
    "rollover",
    "seek",
    "tell",
    "truncate",
)
@attributes("closed", "encoding", "mode", "name", "newlines")
class AsyncSpooledTemporaryFile(AsyncBase):
    """A file in memory, until it grows."""

    async def write(self, data: Any) -> Any:
        return await call(self._executor, self._file.write, data)

    async def writelines(self, lines: Iterable[Any]) -> Any:
        return await call(self._executor, self._file.writelines, lines)


@awaited("cleanup")
@attributes("name")
class AsyncTemporaryDirectory:
    """A directory that is removed at the end."""

    def __init__(self, file: Any, loop: Any = None, executor: Any = None) -> None:
        self._file = file
        self._loop = loop
        self._executor = executor

    async def close(self) -> None:
        await self.cleanup()  # type: ignore[attr-defined]
