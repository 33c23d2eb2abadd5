"""The reading part of the conformance kit over our HTTP file system, against nginx and its listings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from servers import Nginx

from aiovfs.fs.published_http import AioHTTPFileSystem
from aiovfs.testing.conformance import AllTests, Backend, Capabilities, MakeFS

pytestmark = pytest.mark.servers

READ_ONLY = "web servers are read"
numbers = itertools.count()


class Web(Backend):
    loops = ("asyncio",)
    capabilities = Capabilities(
        write=READ_ONLY,
        empty_directories=READ_ONLY,
        strict_directories=READ_ONLY,
        exclusive_create=READ_ONLY,
        append=READ_ONLY,
        open_async_write=READ_ONLY,
        atomic_writes=READ_ONLY,
        modified="there is no coroutine for it; info tells it",
        odd_names="paths are URLs: names are quoted in them",
    )
    known_failures: ClassVar = {
        f"test_glob_matches[asyncio-{pattern}]": "a pattern that ends in a slash finds no directory"
        for pattern in ("*/", "dir/s*/")
    }
    nginx: Nginx

    @pytest.fixture
    def root(self, nginx: Nginx) -> str:
        type(self).nginx = nginx
        name = f"conformance-{next(numbers)}"
        (nginx.files / name).mkdir()
        return f"{nginx.url.rstrip('/')}/{name}"

    @pytest.fixture
    def make_fs(self) -> MakeFS:
        return AioHTTPFileSystem

    async def fill(self, fs: Any, root: str, files: Mapping[str, bytes]) -> None:
        top = self.nginx.files / root.rpartition("/")[2]
        for name, content in files.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(content)

    async def close(self, fs: Any) -> None:
        await fs._close()


class TestWeb(Web, AllTests):
    pass
