"""A text file: characters over a `File`, as `io.TextIOWrapper` has them.

The same codecs, the same treatment of line ends, the same chunks and the same cookies of `tell`; only what waits is
awaited. Tests compare the two call by call.

- Bytes are decoded in chunks of `CHUNK_SIZE`. `_decoded[_used:]` are the characters that nobody took yet.
- `tell` must say where a decoder has to begin again to come to the next character. So `_snapshot` keeps what the
  decoder's flags were before the present chunk, and the chunk. From there the place is found by decoding prefixes: the
  number of characters grows with the prefix, which makes it a binary search.
- A cookie is a number: the byte to begin at and, where that does not say everything, the decoder's flags, the bytes to
  feed it, the characters to leave out and whether the end is to be told. For most texts it is the byte.

What differs: `tell` also works while iterating, and lines cost no trip to the disk each.
Source: documentation of io.TextIOBase.tell, codecs.IncrementalDecoder.getstate.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiovfs.aio.file import File
from aiovfs.aio.turns import Turns

__all__ = ["CHUNK_SIZE", "TextFile"]

CHUNK_SIZE = 8192
"""Bytes decoded at a time. Where a chunk ends shows when a program reads and then writes without seeking."""


@dataclass(frozen=True, slots=True)
class _Cookie:
    """What `tell` returns, taken apart."""

    start: int
    flags: int = 0
    to_feed: int = 0
    needs_end: bool = False
    to_skip: int = 0

    def pack(self) -> int:
        words = (self.flags, self.to_feed, self.to_skip, int(self.needs_end))
        return self.start | sum(word << (64 + 32 * place) for place, word in enumerate(words))

    @classmethod
    def unpack(cls, number: int) -> _Cookie:
        flags, to_feed, to_skip, needs_end = (number >> (64 + 32 * place) & 0xFFFFFFFF for place in range(4))
        return cls(number & 0xFFFFFFFFFFFFFFFF, flags, to_feed, bool(needs_end), to_skip)


class TextFile:
    """What `aio.open` returns in a text mode. Made by `open`, not by hand."""

    __slots__ = (
        "__weakref__",
        "_decoded",
        "_decoder",
        "_encoder",
        "_encoding",
        "_errors",
        "_file",
        "_line_buffering",
        "_mode",
        "_newline",
        "_snapshot",
        "_turns",
        "_used",
        "_write_newline",
    )

    def __init__(
        self,
        file: File,
        mode: str,
        *,
        encoding: str,
        errors: str,
        newline: str | None,
        line_buffering: bool,
    ) -> None:
        self._file = file
        self._mode = mode
        self._encoding = encoding
        self._errors = errors
        self._newline = newline
        self._write_newline = None if newline == "" else newline or os.linesep
        self._line_buffering = line_buffering
        self._turns = Turns()
        self._decoded = ""
        self._used = 0
        self._snapshot: tuple[int, bytes] | None = None
        self._decoder: Any = None
        self._encoder: Any = None
        if file.writable():
            self._encoder = codecs.getincrementalencoder(encoding)(errors)
            if file.seekable() and file._position:
                self._encoder.setstate(0)  # behind the start: no byte order mark
        if file.readable():
            self._decoder = codecs.getincrementaldecoder(encoding)(errors)
            if not newline:
                self._decoder = io.IncrementalNewlineDecoder(self._decoder, translate=newline is None)

    # --- what it is

    @property
    def buffer(self) -> File:
        """The binary file underneath."""
        return self._file

    @property
    def encoding(self) -> str:
        return self._encoding

    @property
    def errors(self) -> str:
        return self._errors

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The line ends met so far, where they are translated."""
        found: str | tuple[str, ...] | None = getattr(self._decoder, "newlines", None)
        return found

    @property
    def line_buffering(self) -> bool:
        return self._line_buffering

    @property
    def name(self) -> Any:
        return self._file.name

    @property
    def mode(self) -> str:
        """What was given to `open`."""
        return self._mode

    @property
    def closed(self) -> bool:
        return self._file.closed

    def fileno(self) -> int:
        return self._file.fileno()

    def readable(self) -> bool:
        return self._file.readable()

    def writable(self) -> bool:
        return self._file.writable()

    def seekable(self) -> bool:
        return self._file.seekable()

    def isatty(self) -> bool:
        return self._file.isatty()

    def __repr__(self) -> str:
        state = "closed " if self.closed else ""
        return (
            f"<{state}aiovfs.aio.{type(self).__name__} name={self.name!r} mode={self.mode!r} "
            f"encoding={self._encoding!r}>"
        )

    # --- reading

    async def read(self, size: int | None = -1, /) -> str:
        """The next `size` characters, fewer only at the end; without a size, everything up to the end."""
        size = -1 if size is None else size
        if 0 < size <= len(self._decoded) - self._used and not self._turns.is_busy:
            return self._take(size)
        async with self._turns:
            self._check_reading()
            if size < 0:
                rest: str = self._decoder.decode(await self._file.read(), final=True)
                text = self._take() + rest
                if self._snapshot is not None:
                    self._forget()
                return text
            parts = [self._take(size)]
            missing = size - len(parts[0])
            while missing > 0 and await self._read_chunk():
                parts.append(self._take(missing))
                missing -= len(parts[-1])
            return "".join(parts)

    async def readline(self, size: int | None = -1, /) -> str:
        """The next line with its end, at most `size` characters of it; `""` at the end of the file."""
        size = -1 if size is None else size
        if size < 0 and not self._turns.is_busy:
            end = self._line_end(self._used)
            if end > 0:
                return self._take(end - self._used)
        async with self._turns:
            self._check_reading()
            return await self._read_line(size)

    async def readlines(self, hint: int | None = -1, /) -> list[str]:
        """All lines up to the end; with a positive `hint`, whole lines until they have that many characters."""
        lines = []
        total = 0
        while line := await self.readline():
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint < total:
                break
        return lines

    def __aiter__(self) -> TextFile:
        self._file._check_reading()
        return self

    async def __anext__(self) -> str:
        if not self._turns.is_busy:
            end = self._line_end(self._used)
            if end > 0:
                return self._take(end - self._used)
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def lines(self) -> AsyncIterator[str]:
        """The lines from here on; the same as iterating over the file."""
        return self.__aiter__()

    # --- writing

    async def write(self, text: str, /) -> int:
        """Write `text` and return its length in characters."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        async with self._turns:
            self._file._check_writing()
            written = text
            if self._write_newline not in (None, "\n") and "\n" in text:
                written = text.replace("\n", self._write_newline)
            data = self._encoder.encode(written)
            await self._file.write(data)
            if self._line_buffering and ("\n" in text or "\r" in text):
                await self._file.flush()
            if self._snapshot is not None or self._used < len(self._decoded):
                self._forget()
            if self._decoder is not None:
                self._decoder.reset()
            return len(text)

    async def writelines(self, lines: Iterable[str], /) -> None:
        """Write each of `lines`. No line ends are added."""
        for line in lines:
            await self.write(line)

    async def flush(self) -> None:
        """Hand what is buffered to the system."""
        await self._file.flush()

    # --- the position

    async def tell(self) -> int:
        """A number that `seek` takes. Not a count of characters, and for some encodings not one of bytes either."""
        async with self._turns:
            return await self._tell()

    async def seek(self, cookie: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to where `tell` said, or to the start or the end (`whence` with 0)."""
        async with self._turns:
            if self.closed:
                self._file.fileno()
            if not self.seekable():
                raise io.UnsupportedOperation("underlying stream is not seekable")
            if whence == os.SEEK_CUR:
                if cookie:
                    raise io.UnsupportedOperation("can't do nonzero cur-relative seeks")
                cookie = await self._tell()
            elif whence == os.SEEK_END:
                if cookie:
                    raise io.UnsupportedOperation("can't do nonzero end-relative seeks")
                position = await self._file.seek(0, os.SEEK_END)
                self._forget()
                if self._decoder is not None:
                    self._decoder.reset()
                self._reset_encoder(position)
                return position
            elif whence != os.SEEK_SET:
                raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
            if cookie < 0:
                raise ValueError(f"negative seek position {cookie}")
            await self._go(_Cookie.unpack(cookie), cookie)
            return cookie

    async def truncate(self, size: int | None = None, /) -> int:
        """Cut the file to `size` bytes (as in `io`: the position of the binary file, if not given)."""
        return await self._file.truncate(size)

    # --- the file as such

    def stat(self) -> Awaitable[os.stat_result]:
        return self._file.stat()

    def fsync(self) -> Awaitable[None]:
        return self._file.fsync()

    def fdatasync(self) -> Awaitable[None]:
        return self._file.fdatasync()

    async def aclose(self) -> None:
        """Write out what is buffered, wait for what is on its way, close."""
        await self._file.aclose()
        self._decoded = ""
        self._used = 0

    close = aclose

    async def __aenter__(self) -> Self:
        self._file.fileno()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- steps; the turn is ours in all of them

    def _check_reading(self) -> None:
        self._file._check_reading()

    def _take(self, size: int | None = None) -> str:
        """The next `size` decoded characters, or all there are."""
        end = len(self._decoded) if size is None else self._used + size
        text = self._decoded[self._used : end]
        self._used += len(text)
        return text

    def _set(self, text: str) -> None:
        self._decoded = text
        self._used = 0

    def _forget(self) -> None:
        self._set("")
        self._snapshot = None

    async def _read_chunk(self) -> bool:
        """Decode the next chunk in place of the present one; False at the end of the file."""
        flags: int
        pending: bytes
        pending, flags = self._decoder.getstate()
        chunk = await self._file.read1(CHUNK_SIZE)
        self._set(self._decoder.decode(chunk, final=not chunk))
        self._snapshot = (flags, pending + chunk)
        return bool(chunk or self._decoded)

    def _line_end(self, start: int) -> int:
        """Where the line that begins at `start` of the decoded text ends; 0 when its end is not there yet."""
        return _line_end_in(self._decoded, self._newline, start)

    async def _read_line(self, size: int) -> str:
        has_more = True
        while has_more and self._used == len(self._decoded):
            has_more = await self._read_chunk()
        if not has_more:
            self._forget()
            return ""
        text = self._take()
        scanned = 0
        while True:
            # A line that spans chunks is put together, and looked at from where its last piece began.
            end = _line_end_in(text, self._newline, scanned)
            if end or 0 <= size <= len(text):
                break
            scanned = max(0, len(text) - max(0, len(self._newline or "") - 1))  # an end may be cut in two
            if not await self._read_chunk():
                self._forget()
                return text
            text += self._take()
        keep = end or len(text)
        if 0 <= size < keep:
            keep = size
        # Characters not taken all come from the present chunk: an earlier one had no end of a line, and `size` was not
        # reached in it.
        self._used -= len(text) - keep
        return text[:keep]

    async def _tell(self) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation("underlying stream is not seekable")
        await self._file.flush()
        position = await self._file.tell()
        if self._decoder is None or self._snapshot is None:
            return position
        flags, chunk = self._snapshot
        start = position - len(chunk)
        if not self._used:
            return _Cookie(start, flags).pack()
        saved = self._decoder.getstate()
        try:
            return self._find(start, flags, chunk).pack()
        finally:
            self._decoder.setstate(saved)

    def _find(self, start: int, flags: int, chunk: bytes) -> _Cookie:
        """The cookie for the place behind the first `_used` characters of a chunk."""
        wanted = self._used

        def decode(length: int) -> tuple[int, bytes, int]:
            self._decoder.setstate((b"", flags))
            count = len(self._decoder.decode(chunk[:length]))
            return (count, *self._decoder.getstate())

        low, high = 1, len(chunk) + 1
        while low < high:
            middle = (low + high) // 2
            if decode(middle)[0] >= wanted:
                high = middle
            else:
                low = middle + 1
        needs_end = low > len(chunk)
        shortest = min(low, len(chunk))
        # The decoder can begin again where it holds no part of a character.
        for safe in range(shortest, 0, -1):
            count, pending, flags_there = decode(safe)
            if not pending and count <= wanted:
                break
        else:
            safe, count, flags_there = 0, 0, flags
        if count == wanted and not needs_end:
            return _Cookie(start + safe, flags_there)
        if needs_end:
            self._decoder.setstate((b"", flags))
            if len(self._decoder.decode(chunk, final=True)) < wanted:
                raise OSError("can't reconstruct logical file position")
        return _Cookie(start + safe, flags_there, shortest - safe, needs_end, wanted - count)

    async def _go(self, place: _Cookie, cookie: int) -> None:
        await self._file.seek(place.start)
        self._forget()
        if self._decoder is not None:
            if cookie == 0:
                self._decoder.reset()
            else:
                self._decoder.setstate((b"", place.flags))
                self._snapshot = (place.flags, b"")
        if place.to_skip:
            self._check_reading()
            data = await self._file.read(place.to_feed)
            self._set(self._decoder.decode(data, place.needs_end))
            self._snapshot = (place.flags, data)
            if len(self._decoded) < place.to_skip:
                raise OSError("can't restore logical file position")
            self._used = place.to_skip
        self._reset_encoder(cookie)

    def _reset_encoder(self, position: int) -> None:
        if self._encoder is not None:
            if position:
                self._encoder.setstate(0)
            else:
                self._encoder.reset()


def _line_end_in(text: str, newline: str | None, start: int) -> int:
    """Where the first line of `text` ends, looked for from `start` on; 0 when it does not."""
    if newline is None:
        return text.find("\n", start) + 1
    if newline:
        found = text.find(newline, start)
        return found + len(newline) if found >= 0 else 0
    # The decoder never ends a chunk between the two characters of "\r\n", unless the file ends there.
    feed, carriage = text.find("\n", start), text.find("\r", start)
    if carriage < 0 or 0 <= feed < carriage:
        return feed + 1
    return carriage + (2 if feed == carriage + 1 else 1)
