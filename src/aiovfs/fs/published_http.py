"""`aiohttp://` and `aiohttps://` for fsspec's users; see `published`. Import it only where aiohttp is installed."""

from __future__ import annotations

from typing import ClassVar

from aiovfs.fs.http import HTTPFileSystem
from aiovfs.fs.published import Renamed

__all__ = ["AioHTTPFileSystem"]


class AioHTTPFileSystem(Renamed, HTTPFileSystem):
    """See `HTTPFileSystem`. Paths are full URLs with the server's own scheme, http or https."""

    protocol = ("aiohttp", "aiohttps")
    schemes: ClassVar = {"aiohttp": "http", "aiohttps": "https"}

    def unstrip_protocol(self, name: str) -> str:
        """The URL under our scheme."""
        stripped: str = self._strip_protocol(name)
        return f"aio{stripped}"
