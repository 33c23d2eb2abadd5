"""The engines for where io_uring is forbidden: the pool of threads in C, and kernel AIO for O_DIRECT."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiovfs import aio
from aiovfs._loop.driver import driver_of_running_loop
from aiovfs.aio import select


@pytest.fixture(params=["pool", "linux"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the loops of this test use one of the two."""
    name: str = request.param
    monkeypatch.setattr(select, "_chosen", select.choose(name))
    return name


def current() -> Any:
    return aio.current()


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def run(script: str, cwd: Path, *prefix: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *prefix, *([sys.executable] if prefix else []), "-c", script],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.fixture
def direct_file() -> Iterator[int]:
    """A descriptor with O_DIRECT of a file of 64 KiB, on a file system that has it."""
    path = Path("/var/tmp", f"aiovfs-direct-{os.getpid()}")
    path.write_bytes(bytes(range(256)) * 256)
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    path.unlink()
    yield fd
    os.close(fd)


async def test_many_requests_of_one_tick_are_handed_over_in_few_batches(engine: str, tmp_path: Path) -> None:
    current().tries_in_place = False
    (tmp_path / "file").write_bytes(bytes(4096 * 64))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        before = current().handed_over
        operations = [current().read(fd, 4096, 4096 * index) for index in range(64)]
        for operation in operations:
            assert await operation == bytes(4096)
        assert current().handed_over - before <= 64 // 16 + 1
    finally:
        os.close(fd)


async def test_threads_are_started_when_they_are_needed_and_stay_few(engine: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(4096))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        current().tries_in_place = False
        for _ in range(30):
            for operation in [current().read(fd, 4096, 0) for _ in range(50)]:
                await operation
        assert 1 <= current().threads_started <= select.choose("pool")[1].features["threads"]  # type: ignore[operator]
    finally:
        os.close(fd)


async def test_reads_of_empty_pipes_keep_no_other_request_waiting(engine: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    pipes = [os.pipe() for _ in range(40)]
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    current().tries_in_place = False
    waiting = [current().read(reading, 5, -1) for reading, _ in pipes]
    try:
        assert await current().read(fd, 100, 0) == b"content"
        assert not any(operation.done() for operation in waiting)
        for _, writing in pipes:
            os.write(writing, b"hello")
        for operation in waiting:
            assert await operation == b"hello"
    finally:
        os.close(fd)
        for pair in pipes:
            os.close(pair[0])
            os.close(pair[1])


async def test_a_read_of_an_empty_pipe_can_be_cancelled(engine: str) -> None:
    reading, writing = os.pipe()
    try:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def wait() -> None:
                    buffer = bytearray(10)
                    await current().perform("readinto", reading, buffer, -1)

                group.start_soon(wait)
                while not current().in_flight:
                    await anyio.sleep(0)
                scope.cancel()
        assert scope.cancelled_caught
        while current().in_flight:
            await anyio.sleep(0.001)
    finally:
        os.close(reading)
        os.close(writing)


async def test_thousands_of_cancelled_reads_leave_nothing(engine: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(65536))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    current().tries_in_place = False
    await current().read(fd, 1, 0)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    try:
        for _ in range(40):
            operations = [current().read(fd, 65536, 0) for _ in range(100)]
            await anyio.sleep(0)
            for operation in operations:
                operation.cancel()
        while current().in_flight or current().pending:
            await anyio.sleep(0.001)
        assert len(os.listdir("/proc/self/fd")) <= before
        assert await current().read(fd, 10, 0) == bytes(10)
    finally:
        os.close(fd)


async def test_only_direct_files_go_to_kernel_aio(direct_file: int, tmp_path: Path) -> None:
    engine: Any = select.choose("linux")[0](driver_of_running_loop())
    engine.tries_in_place = False
    (tmp_path / "file").write_bytes(b"content")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        assert await engine.read(fd, 100, 0) == b"content"
        assert not engine.uses_kernel_aio
        memory = [mmap.mmap(-1, 4096) for _ in range(32)]
        operations = [engine.readinto(direct_file, page, 4096 * (n % 16)) for n, page in enumerate(memory)]
        for operation, page in zip(operations, memory, strict=True):
            assert await operation == 4096
            assert page[:256] == bytes(range(256))
        assert engine.uses_kernel_aio
        page = mmap.mmap(-1, 4096)
        page[:5] = b"fresh"
        assert await engine.write(direct_file, page, 8192) == 4096
        assert await engine.readinto(direct_file, memory[0], 8192) == 4096
        assert memory[0][:5] == b"fresh"
        with pytest.raises(OSError, match="Invalid argument") as refused:
            await engine.readinto(direct_file, memory[0], 1)
        assert refused.value.errno == errno.EINVAL
        # More at once than the kernel's context has room for: threads do the rest.
        many = [engine.readinto(direct_file, mmap.mmap(-1, 512), 512 * (n % 64)) for n in range(600)]
        assert [await operation for operation in many] == [512] * 600
    finally:
        os.close(fd)
        await engine.aclose()


async def test_closing_with_requests_in_flight_ends_them(engine: str, tmp_path: Path) -> None:
    other: Any = select.choose(engine)[0](driver_of_running_loop())
    other.tries_in_place = False
    reading, writing = os.pipe()
    (tmp_path / "file").write_bytes(bytes(4096))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        operations = [other.read(fd, 4096, 0) for _ in range(100)]
        operations.append(other.perform("readinto", reading, bytearray(5), -1))
        await anyio.sleep(0)
        await other.aclose()
        assert other.is_closed
        assert other.in_flight == other.pending == 0
        assert all(operation.done() for operation in operations)
        with pytest.raises(RuntimeError, match="closed"):
            other.read(fd, 1, 0)
    finally:
        for each in (fd, reading, writing):
            os.close(each)


FORK = """
import asyncio, os, sys
from aiovfs import aio

async def child(fd, parents):
    try:
        parents.read(fd, 1, 0)
    except RuntimeError:
        pass
    else:
        return 1
    engine = aio.current()
    engine.tries_in_place = False
    assert engine is not parents
    return 0 if [await engine.read(fd, 4, 0) for _ in range(20)] == [b"data"] * 20 else 2

async def main():
    fd = os.open("file", os.O_RDONLY)
    engine = aio.current()
    assert engine.name == sys.argv[1], engine.name
    engine.tries_in_place = False
    operations = [engine.read(fd, 4, 0) for _ in range(20)]
    await operations[0]
    pid = os.fork()
    if pid == 0:
        asyncio.events._set_running_loop(None)
        try:
            os._exit(asyncio.run(child(fd, engine)))
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(9)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, status
    assert [await operation for operation in operations] == [b"data"] * 20
    assert await engine.read(fd, 4, 0) == b"data"

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["pool", "linux"])
def test_a_forked_child_gets_threads_of_its_own_and_leaves_its_parents(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    done = run(FORK.replace("sys.argv[1]", repr(name)), tmp_path, AIOVFS_ENGINE=name, PYTHONWARNINGS="ignore")
    assert done.returncode == 0, done.stderr


CHOSEN = """
import asyncio, os
from aiovfs import aio

async def main():
    info = aio.engine_info()
    fd = os.open("file", os.O_RDONLY)
    assert await aio.current().read(fd, 4, 0) == b"data"
    assert await aio.current().perform("stat", "file")
    print(info.name, "|", info.others["uring"])

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_where_io_uring_is_forbidden_the_next_best_engine_is_taken_and_says_why(number: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    done = run(CHOSEN, tmp_path, "-m", "aiovfs.testing.forbidden", str(number))
    assert done.returncode == 0, done.stderr
    name, _, why = done.stdout.partition("|")
    assert name.strip() == "linux"
    assert os.strerror(number) in why


def test_where_kernel_aio_is_forbidden_too_the_pool_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    script = (
        "from aiovfs.testing.forbidden import IO_URING, KERNEL_AIO, forbid\nforbid(IO_URING + KERNEL_AIO, 38)\n"
        + CHOSEN
    )
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pool |")


@pytest.mark.parametrize("place", ["/proc/self/stat", "/sys/kernel/mm/transparent_hugepage/enabled", "/dev/zero"])
async def test_files_of_odd_file_systems_are_read(engine: str, place: str) -> None:
    if not os.path.exists(place):
        place = "/proc/self/stat"
    current().tries_in_place = False
    fd = os.open(place, os.O_RDONLY)
    try:
        assert await current().read(fd, 16, 0)
    finally:
        os.close(fd)
