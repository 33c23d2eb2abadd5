"""The conformance kit over the file systems that need no server, and over fsspec's own through the wrapper."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem as FsspecMemory

from aiovfs.fs.local import LocalFileSystem
from aiovfs.fs.memory import MemoryFileSystem
from aiovfs.fs.wrapper import AsyncFileSystemWrapper
from aiovfs.testing.conformance import AllTests, Backend, Capabilities, MakeFS


class Memory(Backend):
    loops = ("uvloop", "trio")

    @pytest.fixture
    def make_fs(self, tmp_path: Path) -> MakeFS:
        return partial(MemoryFileSystem, tree=str(tmp_path))


class Local(Backend):
    capabilities = Capabilities(atomic_files="files are written in place, as the disk does")

    @pytest.fixture
    def make_fs(self) -> MakeFS:
        return partial(LocalFileSystem, auto_mkdir=True)

    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        return str(tmp_path / "remote")


class WrappedLocal(Local):
    capabilities = Capabilities(
        open_async="a file that is read when its task is cancelled is left open by the thread that reads it",
        atomic_files="fsspec writes files in place",
        atomic_writes="fsspec writes files in place",
        timeouts="synchronous calls are made in place, and cannot be ended",
    )
    known_failures: ClassVar = {
        "test_progress_is_told_for_each_file_and_for_their_bytes": "fsspec's local get_file moves no callback",
        "test_uploading_over_what_exists_is_refused_when_asked": "fsspec's local put_file ignores mode",
        "test_rm_takes_lists_and_patterns": "fsspec's local rm takes no patterns",
    }

    @pytest.fixture
    def make_fs(self) -> MakeFS:
        return partial(AsyncFileSystemWrapper, target_protocol="file", target_options={"auto_mkdir": True})


class WrappedMemory(Backend):
    loops = ("asyncio",)
    capabilities = Capabilities(
        atomic_files="fsspec's memory files are open in the store itself",
        timeouts="synchronous calls are made in place, and cannot be ended",
    )
    known_failures: ClassVar = {
        "test_open_reads_and_seeks": "a file opened for reading says that it can be written",
        "test_two_files_on_one_name_have_a_position_each": "fsspec's memory file system has one position a file",
        "test_a_closed_file_refuses": "fsspec's memory files are the stored content, and never closed",
    }

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
