"""A store mounted for real: what the kernel and ordinary programs make of it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiovfs.errors import StoreError
from aiovfs.fs.store import Store
from aiovfs.mount.options import MountOptions
from aiovfs.mount.session import serve_store
from aiovfs.testing.fake_store import FakeStore

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(not os.access("/dev/fuse", os.W_OK), reason="/dev/fuse is missing or not ours to open"),
]


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., MountOptions]:
    def build(**values: Any) -> MountOptions:
        return MountOptions.build({"cache_dir": str(tmp_path / "cache"), **values})

    return build


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "mountpoint"
    path.mkdir()
    return path


async def off_loop(function: Callable[..., Any], *args: Any) -> Any:
    """The mount is served by this thread's loop: nothing may touch it from here."""
    return await anyio.to_thread.run_sync(function, *args)


async def test_programs_work_on_a_mounted_store(any_store: Store, directory: Path, options: Any) -> None:
    script = """
        set -e; cd "$1"
        mkdir -p d/e; echo one > d/e/f; echo two >> d/e/f; cp d/e/f g; mv d n; ln g h 2>/dev/null && exit 9
        dd if=/dev/zero of=big bs=64k count=20 status=none
        printf x | dd of=big bs=1 seek=100000 conv=notrunc status=none
        truncate -s 200000 big; touch -d @1000000000 g; stat -c %Y g; cat n/e/f g; ls; stat -c %s big
        cmp -n 100000 big /dev/zero; rm -r n; ls
    """
    async with serve_store(any_store, directory, options()):
        result = await anyio.run_process(["bash", "-c", script, "bash", str(directory)], check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.split() == b"1000000000 one two one two big g n 200000 big g".split()


async def test_mapped_memory_is_read_and_written(any_store: Store, directory: Path, options: Any) -> None:
    """States W9."""

    # In another process: a page fault on a mapped file holds the GIL of the process that serves it, for ever.
    script = """
import mmap, sys
path = sys.argv[1]
open(path, "wb").write(b"." * 100_000)
with open(path, "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
mapped[50_000:50_005] = b"hello"
mapped.close()
print(open(path, "rb").read()[49_999:50_006].decode())
"""
    async with serve_store(any_store, directory, options()):
        result = await anyio.run_process([sys.executable, "-c", script, str(directory / "f")])
        assert result.stdout == b".hello.\n"
    reader = await any_store.open_reader("f", await any_store.info("f"))
    assert await reader.read(49_999, 7) == b".hello."
    await reader.aclose()


async def test_a_new_version_is_read_whole_though_the_kernel_knew_the_old_size(directory: Path, options: Any) -> None:
    """States R5."""
    store = FakeStore({"f": b"short"})
    async with serve_store(store, directory, options(preset="shared", attr_timeout=60)):
        assert await off_loop((directory / "f").read_bytes) == b"short"
        store.put("f", b"much longer than before")
        assert await off_loop((directory / "f").read_bytes) == b"much longer than before"


async def test_readers_of_an_old_version_never_see_the_new_one(directory: Path, options: Any) -> None:
    """States R4."""
    old, new = b"a" * 300_000, b"b" * 300_000
    store = FakeStore({"f": old})
    async with serve_store(store, directory, options(preset="shared", attr_timeout=0, readahead=0)):

        def begin() -> Any:
            file = (directory / "f").open("rb", buffering=0)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            assert file.read(10) == b"a" * 10
            return file

        def finish(file: Any) -> bytes:
            assert (directory / "f").read_bytes() == new
            with file:
                try:
                    return bytes(os.pread(file.fileno(), 1000, 250_000))
                except OSError as exception:
                    assert exception.errno == errno.ESTALE  # noqa: PT017 (the bytes are as good an answer)
                    return b""

        file = await off_loop(begin)
        store.put("f", new)
        assert set(await off_loop(finish, file)) <= set(b"a")


async def test_what_is_dirty_at_the_unmount_is_uploaded(directory: Path, options: Any) -> None:
    """States W7."""
    store = FakeStore()
    async with serve_store(store, directory, options()) as session:
        fd = await off_loop(os.open, directory / "f", os.O_CREAT | os.O_WRONLY)
        await off_loop(os.write, fd, b"in a hurry")
        assert session.dirty == ["f"]
        await off_loop(lambda: subprocess.run(["umount", "-l", str(directory)], check=True))
    assert session.report is not None
    assert store.contents() == {"f": b"in a hurry"}
    try:
        await off_loop(os.close, fd)
    except OSError as exception:
        assert exception.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)  # noqa: PT017 (or it succeeds)


async def test_what_cannot_be_uploaded_at_the_unmount_is_an_error_that_says_where_it_is(
    directory: Path, options: Any, tmp_path: Path
) -> None:
    """States W7."""
    store = FakeStore()
    store.faults.fail("upload", *[OSError(errno.EIO, "no") for _ in range(20)])

    async def mount_and_write() -> None:
        async with serve_store(store, directory, options(drain_timeout=5)):
            with pytest.raises(OSError, match="Input/output error"):
                await off_loop((directory / "f").write_bytes, b"precious")

    with pytest.raises(StoreError, match=r"'f' was not uploaded: .*no.*the content is kept in") as caught:
        await mount_and_write()
    (kept,) = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept.read_bytes() == b"precious"
    assert str(kept.parent) in str(caught.value)


async def test_a_cancelled_mount_drains_too(directory: Path, options: Any) -> None:
    """States W7."""
    store = FakeStore()
    store.faults.fail("upload", OSError(errno.EIO, "no"), OSError(errno.EIO, "no"))

    def write() -> None:
        with pytest.raises(OSError, match="Input/output error"):
            (directory / "f").write_bytes(b"precious")

    async with anyio.create_task_group() as tasks, serve_store(store, directory, options()):
        await off_loop(write)
        tasks.cancel_scope.cancel()
    assert store.contents() == {"f": b"precious"}


async def test_a_read_only_mount_is_read_only_to_the_kernel(directory: Path, options: Any) -> None:
    """States P1."""
    async with serve_store(FakeStore({"f": b"x"}), directory, options(read_only=True)):
        with pytest.raises(OSError, match="Read-only file system"):
            await off_loop((directory / "g").write_bytes, b"x")
        assert await off_loop((directory / "f").read_bytes) == b"x"


async def test_a_file_of_unknown_size_is_read_whole(directory: Path, options: Any) -> None:
    """States R6."""
    store = FakeStore({"f": b"abc" * 100_000})
    store.hides_sizes = True
    async with serve_store(store, directory, options()):
        result = await anyio.run_process(["cat", str(directory / "f")])
    assert result.stdout == b"abc" * 100_000


async def test_git_works_on_a_store_of_whole_files(directory: Path, options: Any) -> None:
    script = """
        set -e; cd "$1"; git init -q .; echo hello > f; git add f
        git -c user.name=a -c user.email=a@b commit -qm one; echo more >> f; git -c core.checkStat=minimal diff --stat
        git fsck --strict 2>&1; git status --short
    """
    env = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(directory.parent)}
    async with serve_store(FakeStore(), directory, options()):
        result = await anyio.run_process(["bash", "-c", script, "bash", str(directory)], check=False, env=env)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"1 insertion" in result.stdout
    assert b" M f" in result.stdout
