"""Async files over synchronous file objects: what `open_async` returns where every call is short or in a thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from aiovfs.types import Buffer

__all__ = ["AsyncFile"]


class AsyncFile:
    """An open binary file with a position. `run` decides where its blocking calls are made.

    At most one call at a time: like every file with a position, it belongs to one task.
    """

    def __init__(self, file: Any, run: Callable[..., Awaitable[Any]]) -> None:
        self._file = file
        self._run = run
        self._is_closed = False

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._is_closed

    async def read(self, length: int = -1) -> bytes:
        """Read `length` bytes, or all there are; `b""` at the end."""
        data: bytes = await self._run(self._file.read, length)
        return data

    async def readinto(self, buffer: Buffer) -> int:
        """Fill `buffer` from the file; returns how many bytes were read."""
        count: int = await self._run(self._file.readinto, buffer)
        return count

    async def readline(self, length: int = -1) -> bytes:
        """Read up to and including the next newline."""
        line: bytes = await self._run(self._file.readline, length)
        return line

    async def write(self, data: Buffer) -> int:
        """Write all of `data`; returns its length."""
        count: int = await self._run(self._file.write, data)
        return count

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Move to `offset` bytes from the start, the position (1) or the end (2); returns the new position."""
        position: int = await self._run(self._file.seek, offset, whence)
        return position

    def tell(self) -> int:
        """The position in bytes."""
        return int(self._file.tell())

    async def truncate(self, size: int | None = None) -> int:
        """Cut or lengthen the file to `size`, by default the position."""
        result: int = await self._run(self._file.truncate, size)
        return result

    async def flush(self, force: bool = False) -> None:
        """Hand over what is buffered."""
        await self._run(self._file.flush)

    async def close(self) -> None:
        """Write what is left and close."""
        self._is_closed = True
        await self._run(self._file.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line
