"""The conformance kit over the file systems that need no server, and over fsspec's own through the wrapper."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem as FsspecLocal
from fsspec.implementations.memory import MemoryFileSystem as FsspecMemory

from aiovfs.fs.local import LocalFileSystem
from aiovfs.fs.memory import MemoryFileSystem
from aiovfs.fs.wrapper import AsyncFileSystemWrapper
from aiovfs.testing.conformance import AllTests, Backend, Capabilities, MakeFS

EVERY_LOOP = ("asyncio", "uvloop", "trio")


class Memory(Backend):
    loops = EVERY_LOOP

    @pytest.fixture
    def make_fs(self, tmp_path: Path) -> MakeFS:
        return partial(MemoryFileSystem, tree=str(tmp_path))


class Local(Backend):
    loops = EVERY_LOOP

    @pytest.fixture
    def make_fs(self) -> MakeFS:
        return partial(LocalFileSystem, auto_mkdir=True)

    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        return str(tmp_path / "remote")


class WrappedLocal(Local):
    loops = ("asyncio", "trio")

    @pytest.fixture
    def make_fs(self) -> MakeFS:
        return partial(AsyncFileSystemWrapper, target_protocol="file", target_options={"auto_mkdir": True})


class WrappedMemory(Backend):

    @pytest.fixture
    def make_fs(self) -> Any:
        backend = FsspecMemory(skip_instance_cache=True)
        yield partial(AsyncFileSystemWrapper, target_protocol="memory")
        backend.store.clear()
        backend.pseudo_dirs[:] = [""]


class TestMemory(Memory, AllTests):
    pass


class TestLocal(Local, AllTests):
    pass


class TestWrappedLocal(WrappedLocal, AllTests):
    pass


class TestWrappedMemory(WrappedMemory, AllTests):
    pass
