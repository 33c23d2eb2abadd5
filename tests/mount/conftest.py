"""A VFS over each kind of store: one that takes whole files only, and those that work in place."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from aiovfs.fs import open_store
from aiovfs.fs.store import Store
from aiovfs.mount.inode import Inode
from aiovfs.mount.options import MountOptions
from aiovfs.mount.vfs import VFS
from aiovfs.testing.fake_store import FakeStore

_numbers = count()


class Harness(VFS):
    """A VFS whose caller remembers what it looked up, as the kernel does, and shorthands for whole files."""

    async def find(self, path: str) -> Inode:
        """Look a path up, step by step."""
        inode = self.root
        for name in path.encode().split(b"/") if path else []:
            inode = await self.lookup(inode, name)
            inode.is_known = True
        return inode

    async def parent(self, path: str) -> tuple[Inode, bytes]:
        directory, _, name = path.rpartition("/")
        return await self.find(directory), name.encode()

    async def open_path(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o644) -> Any:
        if flags & os.O_CREAT:
            directory, name = await self.parent(path)
            inode, file = await self.create(directory, name, flags, mode)
            inode.is_known = True
            return file
        return await self.open(await self.find(path), flags)

    async def write_path(self, path: str, data: bytes, flags: int = os.O_CREAT | os.O_TRUNC) -> None:
        file = await self.open_path(path, os.O_WRONLY | flags)
        try:
            await file.write(0, data)
            await file.flush()
        finally:
            await file.release()

    async def read_path(self, path: str) -> bytes:
        file = await self.open_path(path)
        try:
            data = b""
            while piece := await file.read(len(data), 1 << 20):
                data += piece
            return data
        finally:
            await file.release()

    async def names(self, path: str = "") -> list[str]:
        return sorted(entry.name.decode() for entry in await self.list(await self.find(path)))

    async def unlink_path(self, path: str) -> None:
        await self.unlink(*await self.parent(path))

    async def rename_path(self, old: str, new: str, flags: int = 0) -> None:
        await self.rename(*await self.parent(old), *await self.parent(new), flags)

    async def mkdir_path(self, path: str) -> Inode:
        inode = await self.mkdir(*await self.parent(path))
        inode.is_known = True
        return inode


MakeVFS = Callable[..., Any]


@pytest.fixture
def harness() -> type[Harness]:
    """The class itself, for tests that run their own loops."""
    return Harness


@pytest.fixture
def make_vfs(tmp_path: Path) -> MakeVFS:
    """`async with make_vfs(store, **options) as vfs`."""

    @asynccontextmanager
    async def make(store: Store, **options: Any) -> AsyncIterator[Harness]:
        options.setdefault("cache_dir", str(tmp_path / "cache"))
        async with Harness(store, MountOptions.build(options)) as vfs:
            yield vfs

    return make


@pytest.fixture(params=["whole files", "memory", "local"])
async def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    if request.param == "whole files":
        yield FakeStore()
        return
    (tmp_path / "root").mkdir()
    url = f"memory://mount-tests-{next(_numbers)}" if request.param == "memory" else str(tmp_path / "root")
    async with await open_store(url) as store:
        yield store


@pytest.fixture
async def memory_store() -> AsyncIterator[Store]:
    """An empty store that works in place, keeps attributes, and costs nothing to ask."""
    async with await open_store(f"memory://mount-tests-{next(_numbers)}") as store:
        yield store


@pytest.fixture
def staged_files(tmp_path: Path) -> Callable[[], list[Path]]:
    """The files that wait for their upload, or were left behind."""

    def find() -> list[Path]:
        return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]

    return find
