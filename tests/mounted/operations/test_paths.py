"""The bases for authors: file systems that are asked by path, and a tree from a dict."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ramfs import client, outside, serving

from aiovfs import fuse


async def test_a_dict_becomes_a_tree(directory: Path) -> None:
    tree: dict[str, Any] = {"hello": "Hällo\n", "more": {"bytes": bytes(300_000), "empty": {}}}
    async with serving(fuse.DictTree(tree), directory):
        assert sorted(await outside(os.listdir, directory)) == ["hello", "more"]
        assert await outside((directory / "hello").read_text) == "Hällo\n"
        assert await outside((directory / "more" / "bytes").read_bytes) == bytes(300_000)
        assert await outside(os.listdir, directory / "more" / "empty") == []
        assert stat.S_IMODE((await outside(os.stat, directory / "hello")).st_mode) == 0o444
        found = await outside(lambda: [(entry.name, entry.is_dir()) for entry in os.scandir(directory)])
        assert found == [("hello", False), ("more", True)]


async def test_a_dict_that_changes_is_seen(directory: Path) -> None:
    tree = {"a": "1"}
    async with serving(fuse.DictTree(tree), directory, entry_timeout=0, attr_timeout=0, negative_timeout=0):
        tree["b"] = "two"
        tree["a"] = "one"
        assert await outside((directory / "b").read_text) == "two"
        assert await outside((directory / "a").read_text) == "one"
        del tree["a"]
        assert await outside(os.listdir, directory) == ["b"]
        assert not await outside(os.path.exists, directory / "a")


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("open(path + '/new', 'w')", errno.EROFS),
        ("open(path + '/file', 'w')", errno.EROFS),
        ("os.mkdir(path + '/new')", errno.EROFS),
        ("os.unlink(path + '/file')", errno.EROFS),
        ("os.rename(path + '/file', path + '/new')", errno.EROFS),
        ("os.chmod(path + '/file', 0)", errno.EPERM),
        ("os.stat(path + '/nowhere')", errno.ENOENT),
        ("os.stat(path + '/file/below')", errno.ENOTDIR),
        ("os.link(path + '/file', path + '/new')", errno.EPERM),
    ],
)
async def test_what_a_tree_cannot_do_is_refused_as_on_a_read_only_disk(directory: Path, call: str, number: int) -> None:
    code = f"import os, sys\npath = sys.argv[1]\ntry:\n    {call}\nexcept OSError as exc:\n    print(exc.errno)"
    async with serving(fuse.DictTree({"file": "x"}), directory):
        assert await client(code, directory) == str(number)


class Flat(fuse.PathOperations):
    """Paths to bytes; None is a directory."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[bytes, bytearray | None] = {b"": None}

    def find(self, path: bytes) -> bytearray | None:
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "not there")
        return self.files[path]

    async def stat(self, path: bytes) -> fuse.Attributes:
        data = self.find(path)
        mode = stat.S_IFDIR | 0o755 if data is None else stat.S_IFREG | 0o644
        return fuse.Attributes(0, mode, len(data or b""), timeout=0.0)

    async def list(self, path: bytes) -> list[bytes]:
        start = path + b"/" if path else b""
        below = (name.removeprefix(start) for name in self.files if name.startswith(start) and name != path)
        return [name for name in below if b"/" not in name and name]

    async def read_at(self, path: bytes, offset: int, size: int) -> bytes:
        return bytes(self.find(path) or b"")[offset : offset + size]

    async def write_at(self, path: bytes, offset: int, data: bytes) -> int:
        content = self.find(path)
        assert content is not None
        content[offset : offset + len(data)] = data
        return len(data)

    async def truncate(self, path: bytes, size: int) -> None:
        self.files[path] = bytearray((self.find(path) or b"")[:size].ljust(size, b"\0"))

    async def make_file(self, path: bytes, mode: int) -> None:
        self.files[path] = bytearray()

    async def make_directory(self, path: bytes, mode: int) -> None:
        self.files[path] = None

    async def remove(self, path: bytes) -> None:
        del self.files[path]

    async def move(self, old: bytes, new: bytes, *, replace: bool) -> None:
        if not replace and new in self.files:
            raise FileExistsError(errno.EEXIST, "there")
        moved = {name: data for name, data in self.files.items() if name == old or name.startswith(old + b"/")}
        for name, data in moved.items():
            del self.files[name]
            self.files[new + name.removeprefix(old)] = data


async def test_an_open_file_follows_the_renames_of_its_directories(directory: Path) -> None:
    operations = Flat()
    code = """
import os, sys
os.chdir(sys.argv[1])
os.makedirs("a/b")
file = open("a/b/file", "w+b", buffering=0)
file.write(b"one ")
os.rename("a", "z")
file.write(b"two")
os.rename("z/b/file", "z/moved")
print(os.pread(file.fileno(), 99, 0), os.listdir("z"), open("z/moved").read())
"""
    async with serving(operations, directory):
        assert await client(code, directory) == "b'one two' ['b', 'moved'] one two"
    assert operations.files == {b"": None, b"z": None, b"z/b": None, b"z/moved": bytearray(b"one two")}


async def test_a_removed_name_can_be_made_again_and_the_old_file_is_stale(directory: Path) -> None:
    code = f"""
import os, sys
os.chdir(sys.argv[1])
old = open("file", "w+b", buffering=0)
old.write(b"old")
os.unlink("file")
open("file", "w").write("new")
try:
    os.fstat(old.fileno())
except OSError as exc:
    print(exc.errno == {errno.ESTALE}, open("file").read())
"""
    async with serving(Flat(), directory):
        assert await client(code, directory) == "True new"


async def test_nodes_are_dropped_when_the_kernel_forgets_them(directory: Path) -> None:
    operations = Flat()
    operations.files.update({b"d": None, **{b"d/%d" % number: bytearray() for number in range(50)}})
    async with serving(operations, directory) as session:
        for number in range(50):
            await outside(os.stat, directory / "d" / str(number))
        assert len(operations.inodes) == 52
        await session.notifier.invalidate_entry(1, b"d")
        for _ in range(500):
            if len(operations.inodes) == 1:
                break
            await outside(os.stat, directory)
    assert len(operations.inodes) == 1
