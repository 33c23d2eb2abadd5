"""A tree of files against a dictionary: whatever is done in whatever order, the VFS says what the model says.

Files may stay open across operations, be removed or renamed while open, and uploads may fail.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiovfs.fs import open_store
from aiovfs.fs.store import Store
from aiovfs.mount.options import MountOptions
from aiovfs.testing.fake_store import FakeStore

NAMES = ["a", "b", "c"]
PATHS = [*NAMES, *(f"{x}/{y}" for x in NAMES for y in NAMES), "a/a/a", "a/b/c"]

paths = st.sampled_from(PATHS)
handles = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("mkdir"), paths),
    st.tuples(st.just("rmdir"), paths),
    st.tuples(st.just("unlink"), paths),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("put"), paths, st.binary(max_size=20)),
    st.tuples(st.just("truncate"), paths, st.integers(0, 30)),
    st.tuples(st.just("open"), paths, handles, st.sampled_from([0, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_TRUNC])),
    st.tuples(st.just("write"), handles, st.integers(0, 30), st.binary(min_size=1, max_size=10)),
    st.tuples(st.just("close"), handles),
    st.tuples(st.just("fail"), st.sampled_from(["upload", "info", "list", "read", "remove", "rename"])),
    st.tuples(st.just("forget")),
)


class File:
    """A file of the model. Its name is wherever the tree has it."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, offset: int, data: bytes) -> None:
        self.data = self.data[:offset].ljust(offset, b"\0") + data + self.data[offset + len(data) :]


class Model:
    """The tree as POSIX wants it: path → File, or None for a directory. Every method raises the errno of the call."""

    def __init__(self) -> None:
        self.tree: dict[str, File | None] = {"": None}

    def parent(self, path: str) -> None:
        directory = path.rpartition("/")[0]
        for end in range(directory.count("/") + 1 if directory else 0):
            step = "/".join(directory.split("/")[: end + 1])
            if step not in self.tree:
                raise OSError(errno.ENOENT, step)
            if self.tree[step] is not None:
                raise OSError(errno.ENOTDIR, step)

    def existing(self, path: str) -> File | None:
        self.parent(path)
        if path not in self.tree:
            raise OSError(errno.ENOENT, path)
        return self.tree[path]

    def below(self, path: str) -> list[str]:
        return [other for other in self.tree if other.startswith(f"{path}/")]

    def mkdir(self, path: str) -> None:
        self.parent(path)
        if path in self.tree:
            raise OSError(errno.EEXIST, path)
        self.tree[path] = None

    def rmdir(self, path: str) -> None:
        if self.existing(path) is not None:
            raise OSError(errno.ENOTDIR, path)
        if self.below(path):
            raise OSError(errno.ENOTEMPTY, path)
        del self.tree[path]

    def unlink(self, path: str) -> None:
        if self.existing(path) is None:
            raise OSError(errno.EISDIR, path)
        del self.tree[path]

    def rename(self, old: str, new: str) -> None:
        self.parent(old)
        self.parent(new)
        source = self.existing(old)
        if source is None and (new.startswith(f"{old}/")):
            raise OSError(errno.EINVAL, new)
        if old == new:
            return
        if new in self.tree:
            if source is None and self.tree[new] is not None:
                raise OSError(errno.ENOTDIR, new)
            if source is None and self.below(new):
                raise OSError(errno.ENOTEMPTY, new)
            if source is not None and self.tree[new] is None:
                raise OSError(errno.EISDIR, new)
        moved = {new + path[len(old) :]: self.tree.pop(path) for path in [old, *self.below(old)]}
        self.tree.update(moved)

    def open(self, path: str, flags: int) -> File:
        self.parent(path)
        if path in self.tree:
            file = self.tree[path]
            if flags & os.O_EXCL:
                raise OSError(errno.EEXIST, path)
            if file is None:
                raise OSError(errno.EISDIR, path)
        elif flags & os.O_CREAT:
            file = self.tree[path] = File()
        else:
            raise OSError(errno.ENOENT, path)
        if flags & os.O_TRUNC:
            file.data = b""
        return file


async def insist(call: Callable[[], Any]) -> Any:
    """Repeat a call until no armed fault hits it. A call that failed must have had no effect."""
    while True:
        try:
            return await call()
        except TimeoutError:
            pass


class Runner:
    """Does each step in the VFS and in the model, and compares."""

    def __init__(self, vfs: Any, store: Store) -> None:
        self.vfs = vfs
        self.store = store
        self.model = Model()
        self.files: dict[int, tuple[Any, File]] = {}
        self.armed: str | None = None

    async def both(self, real: Callable[[], Any], modelled: Callable[[], Any]) -> Any:
        """Run both. The errno has to be the same."""
        before = dict(self.model.tree)
        try:
            wanted, number = modelled(), None
        except OSError as exception:
            wanted, number = None, exception.errno
        try:
            result = await insist(real)
        except OSError as exception:
            # With two paths, either may be resolved first, so it is not said which of the two errors comes.
            unresolved = {errno.ENOENT, errno.ENOTDIR}
            same = exception.errno == number or {exception.errno, number} == unresolved
            assert same, (exception, number, before)  # noqa: PT017 (both may fail, or neither)
            return None
        assert number is None, (number, before)
        return (result, wanted)

    async def step(self, kind: str, *args: Any) -> None:
        await getattr(self, f"do_{kind}")(*args)
        if isinstance(self.store, FakeStore) and kind != "fail":
            self.store.faults.reset()

    async def do_fail(self, operation: str) -> None:
        if isinstance(self.store, FakeStore):
            self.store.faults.fail(operation, TimeoutError("on purpose"))

    async def do_mkdir(self, path: str) -> None:
        async def real() -> None:
            await self.vfs.mkdir_path(path)

        await self.both(real, partial(self.model.mkdir, path))

    async def do_rmdir(self, path: str) -> None:
        async def real() -> None:
            await self.vfs.rmdir(*await self.vfs.parent(path))

        await self.both(real, partial(self.model.rmdir, path))

    async def do_unlink(self, path: str) -> None:
        await self.both(partial(self.vfs.unlink_path, path), partial(self.model.unlink, path))

    async def do_rename(self, old: str, new: str) -> None:
        await self.both(partial(self.vfs.rename_path, old, new), partial(self.model.rename, old, new))

    async def do_put(self, path: str, data: bytes) -> None:
        def modelled() -> None:
            file = self.model.open(path, os.O_CREAT | os.O_TRUNC)
            file.data = data

        await self.both(partial(self.vfs.write_path, path, data), modelled)

    async def do_truncate(self, path: str, size: int) -> None:
        async def real() -> None:
            await self.vfs.set_attributes(await self.vfs.find(path), size=size)

        def modelled() -> None:
            file = self.model.open(path, 0)
            file.data = file.data[:size].ljust(size, b"\0")

        await self.both(real, modelled)

    async def do_open(self, path: str, handle: int, flags: int) -> None:
        await self.do_close(handle)
        opened = await self.both(
            partial(self.vfs.open_path, path, os.O_RDWR | flags), partial(self.model.open, path, flags)
        )
        if opened is not None:
            self.files[handle] = opened

    async def do_write(self, handle: int, offset: int, data: bytes) -> None:
        if handle not in self.files:
            return
        file, modelled = self.files[handle]
        await insist(partial(file.write, offset, data))
        modelled.write(offset, data)
        assert await file.read(0, 1000) == modelled.data

    async def do_close(self, handle: int) -> None:
        if handle in self.files:
            file, _ = self.files.pop(handle)
            try:
                await file.flush()
            except TimeoutError:
                pass  # it stays dirty; release tries again
            await file.release()

    async def do_forget(self) -> None:
        for inode in self.vfs.tree.below(self.vfs.root):
            self.vfs.forget(inode)

    async def compare(self) -> None:
        for path, file in self.model.tree.items():
            if file is None:
                depth = path.count("/") + 1 if path else 0
                children = [p for p in self.model.tree if p and p.count("/") == depth]
                names = [p.rpartition("/")[2] for p in children if not path or p.startswith(f"{path}/")]
                assert await self.vfs.names(path) == sorted(names), path
            else:
                inode = await self.vfs.find(path)
                assert await self.vfs.read_path(path) == file.data, path
                assert (await self.vfs.refresh(inode)).size == len(file.data)
        for file, modelled in self.files.values():
            assert await file.read(0, 1000) == modelled.data

    async def compare_store(self) -> None:
        """In the end the store itself has what the model has."""
        for handle in list(self.files):
            await self.do_close(handle)
        if isinstance(self.store, FakeStore):
            self.store.faults.reset()
        assert (await self.vfs.drain()).failed == {}
        found: dict[str, bytes | None] = {"": None}
        pending = [""]
        while pending:
            directory = pending.pop()
            for info in await self.store.list(directory):
                path = f"{directory}/{info.name}" if directory else info.name
                if info.is_directory:
                    found[path] = None
                    pending.append(path)
                else:
                    reader = await self.store.open_reader(path, info)
                    found[path] = await reader.read(0, 1000)
                    await reader.aclose()
        assert found == {path: None if file is None else file.data for path, file in self.model.tree.items()}


@pytest.fixture(params=["whole files", "memory", "local"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("preset", ["default", "shared", "solo"])
def test_any_sequence_of_calls_does_what_posix_says(harness: type[Any], kind: str, loop: str, preset: str) -> None:
    """States P2."""
    numbers = iter(range(1_000_000))

    async def run(sequence: list[tuple[Any, ...]]) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            os.mkdir(f"{scratch}/root")
            if kind == "whole files":
                store: Store = FakeStore()
            else:
                url = f"memory://model-{loop}-{preset}-{next(numbers)}" if kind == "memory" else f"{scratch}/root"
                store = await open_store(url)
            options = MountOptions.build(preset=preset, cache_dir=f"{scratch}/cache")
            async with store, harness(store, options) as vfs:
                runner = Runner(vfs, store)
                for step in sequence:
                    await runner.step(*step)
                    if step[0] != "fail":
                        await runner.compare()
                await runner.compare_store()

    @settings(
        max_examples=40 if kind == "whole files" else 15,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(steps, max_size=25))
    def check(sequence: list[tuple[Any, ...]]) -> None:
        anyio.run(run, sequence, backend=loop)

    check()
