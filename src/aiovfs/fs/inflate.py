"""Positioned reads of compressed content, in one direction cheaply.

An `Inflater` decodes from the start on and keeps the last few MiB it has decoded, so that reading in order, also a
little out of order as a kernel's readahead does, decodes every byte once. Going further back starts anew.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

import anyio
from anyio.to_thread import run_sync

from aiovfs.fs.store import Reader

__all__ = ["DECODERS", "Decoder", "Inflater"]

FIRST_FETCH = 64 * 1024
LARGEST_FETCH = 1024 * 1024
"""Compressed bytes fetched at once: little at first, for whoever wants only the head of a file; then doubling."""

KEPT_BEHIND = 4 * 1024 * 1024
"""Decoded bytes kept behind the position."""

STEP = 1024 * 1024
"""Bytes decoded at once, at most: a bomb costs no more memory than a file."""


class Decoder(Protocol):
    """What bz2's and lzma's decompressors have in common, and `Zlib` too."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class Zlib:
    """zlib's decompressor, with the interface of the others."""

    def __init__(self, wbits: int) -> None:
        self._decoder = zlib.decompressobj(wbits)
        self._tail = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        decoded = self._decoder.decompress(self._tail + data, max_length)
        self._tail = self._decoder.unconsumed_tail
        self.needs_input = not self._tail and len(decoded) < max_length
        return decoded


DECODERS: dict[str, Callable[[], Decoder]] = {
    "deflate": lambda: Zlib(-zlib.MAX_WBITS),
    "gzip": lambda: Zlib(zlib.MAX_WBITS | 16),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


class Inflater:
    """The decoded content of bytes `start` to `end` of what `source` reads. Errors of the decoder are `EOFError`,
    `OSError` without errno, `zlib.error` and `lzma.LZMAError`."""

    def __init__(self, source: Reader, start: int, end: int, method: str) -> None:
        self._source = source
        self._start = start
        self._end = end
        self._new_decoder = DECODERS[method]
        self._lock = anyio.Lock()
        self._restart()

    def _restart(self) -> None:
        self._decoder = self._new_decoder()
        self._at = self._start
        self._fetch = FIRST_FETCH
        self._spare = b""
        self._decoded = bytearray()
        self._base = 0  # offset of the first byte in `_decoded`
        self._is_over = False

    async def read(self, offset: int, size: int) -> bytes:
        """`size` decoded bytes at `offset`; fewer only at the end."""
        async with self._lock:
            if offset < self._base:
                self._restart()
            try:
                while self._base + len(self._decoded) < offset + size and not self._is_over:
                    # What is only passed by is not collected.
                    self._forget(min(offset, self._base + len(self._decoded)) - KEPT_BEHIND)
                    await self._decode_more()
            except BaseException:
                # The decoder may have taken bytes that were lost with the exception.
                self._restart()
                raise
            begin = offset - self._base
            return bytes(self._decoded[begin : begin + size])

    def _forget(self, before: int) -> None:
        surplus = before - self._base
        if surplus > 0:
            del self._decoded[:surplus]
            self._base += surplus

    async def _decode_more(self) -> None:
        if self._decoder.eof:
            self._spare = self._decoder.unused_data + self._spare
            if not self._spare and self._at >= self._end:
                self._is_over = True
                return
            if not self._spare.strip(b"\0") and self._at >= self._end:
                self._is_over = True  # padding, as tape archives have
                return
            self._decoder = self._new_decoder()
        data = b""
        if self._decoder.needs_input:
            data, self._spare = self._spare, b""
            if not data:
                data = await self._source.read(self._at, min(self._fetch, self._end - self._at))
                if not data:
                    raise EOFError("the compressed data ends too soon")
                self._at += len(data)
                self._fetch = min(self._fetch * 2, LARGEST_FETCH)
        self._decoded += await run_sync(self._decoder.decompress, data, STEP)
