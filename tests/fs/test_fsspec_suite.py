"""fsspec's own conformance suite, on our file systems. What is known to fail is listed by name, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import fsspec.tests.abstract as suite
import pytest
from fsspec.implementations.local import LocalFileSystem as FsspecLocal
from fsspec.implementations.memory import MemoryFileSystem as FsspecMemory

from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.local import LocalFileSystem
from aiovfs.fs.memory import MemoryFileSystem
from aiovfs.fs.wrapper import AsyncFileSystemWrapper


class Memory(suite.AbstractFixtures):
    @pytest.fixture
    def fs(self, tmp_path: Path) -> AsyncFileSystem:
        return MemoryFileSystem(tree=str(tmp_path), skip_instance_cache=True)

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def fs_path(self) -> str:
        return "/suite"


class Local(suite.AbstractFixtures):
    @pytest.fixture
    def fs(self) -> AsyncFileSystem:
        return LocalFileSystem(auto_mkdir=True, skip_instance_cache=True)

    @pytest.fixture
    def fs_path(self, tmp_path: Path) -> str:
        return str(tmp_path / "remote")


class WrappedLocal(Local):
    @pytest.fixture
    def fs(self) -> AsyncFileSystem:
        return AsyncFileSystemWrapper(FsspecLocal(auto_mkdir=True, skip_instance_cache=True), asynchronous=False)


class WrappedMemory(Memory):
    @pytest.fixture
    def fs(self) -> Any:
        backend = FsspecMemory(skip_instance_cache=True)
        yield AsyncFileSystemWrapper(backend, asynchronous=False)
        backend.store.clear()
        backend.pseudo_dirs[:] = [""]


class TestCopyMemory(suite.AbstractCopyTests, Memory):
    pass


class TestGetMemory(suite.AbstractGetTests, Memory):
    pass


class TestPutMemory(suite.AbstractPutTests, Memory):
    pass


class TestPipeMemory(suite.AbstractPipeTests, Memory):
    pass


class TestOpenMemory(suite.AbstractOpenTests, Memory):
    pass


class TestCopyLocal(suite.AbstractCopyTests, Local):
    pass


class TestGetLocal(suite.AbstractGetTests, Local):
    pass


class TestPutLocal(suite.AbstractPutTests, Local):
    pass


class TestPipeLocal(suite.AbstractPipeTests, Local):
    pass


class TestOpenLocal(suite.AbstractOpenTests, Local):
    pass


class TestCopyWrappedLocal(suite.AbstractCopyTests, WrappedLocal):
    pass


class TestGetWrappedLocal(suite.AbstractGetTests, WrappedLocal):
    pass


class TestPutWrappedLocal(suite.AbstractPutTests, WrappedLocal):
    pass


class TestPipeWrappedLocal(suite.AbstractPipeTests, WrappedLocal):
    pass


class TestOpenWrappedLocal(suite.AbstractOpenTests, WrappedLocal):
    pass


class TestCopyWrappedMemory(suite.AbstractCopyTests, WrappedMemory):
    pass


class TestGetWrappedMemory(suite.AbstractGetTests, WrappedMemory):
    pass


class TestPutWrappedMemory(suite.AbstractPutTests, WrappedMemory):
    pass


class TestPipeWrappedMemory(suite.AbstractPipeTests, WrappedMemory):
    pass


class TestOpenWrappedMemory(suite.AbstractOpenTests, WrappedMemory):
    pass


def test_all_of_them_are_file_systems_of_fsspec() -> None:
    for cls in (MemoryFileSystem, LocalFileSystem, AsyncFileSystemWrapper):
        assert issubclass(cls, fsspec.asyn.AsyncFileSystem)
