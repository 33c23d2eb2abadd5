"""What is wrong with caio 0.12.10, one test for each defect: ours does not have it."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aiovfs.compat import caio


def short(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


@pytest.fixture(params=caio.variants, ids=short)
def variant(request: pytest.FixtureRequest) -> Any:
    """A module of low-level contexts."""
    return request.param


@pytest.fixture(params=caio.variants_asyncio, ids=short)
def variant_asyncio(request: pytest.FixtureRequest) -> Any:
    """A module of asyncio contexts."""
    return request.param


@pytest.fixture
def direct_file() -> Iterator[int]:
    """A descriptor with O_DIRECT of a file of 20000 bytes, on a file system that has it."""
    path = Path("/var/tmp", f"aiovfs-caio-{os.getpid()}")
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    path.unlink()
    yield fd
    os.close(fd)


CONTENT = bytes(range(250)) * 80


def finish(context: Any, operation: Any) -> Any:
    """Have a low-level context do one operation."""
    done = threading.Event()
    operation.set_callback(lambda _: done.set())
    assert context.submit(operation) == 1
    while not done.wait(0.002):
        for pump in ("flush", "process_events"):
            if hasattr(context, pump):
                getattr(context, pump)()
    return operation.get_value()


def run(script: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=cwd, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr


# 1: a child that touched an inherited ring made its parent segfault.

FORKED = """
import importlib, os, sys
module = importlib.import_module("{module}")
fd = os.open("file", os.O_RDONLY)
context = module.Context(max_requests=64)
mine = [module.Operation.read(4, fd, 0) for _ in range(40)]
context.submit(*mine)
pid = os.fork()
if pid == 0:
    refused = 0
    for call in (
        lambda: context.submit(*[module.Operation.read(4, fd, 0) for _ in range(40)]),
        lambda: context.flush() if hasattr(context, "flush") else context.submit(module.Operation.fsync(fd)),
        lambda: context.process_events() if hasattr(context, "poll") else context.submit(module.Operation.fsync(fd)),
    ):
        try:
            call()
        except RuntimeError:
            refused += 1
    own = module.Context(max_requests=8)
    own.submit(module.Operation.read(4, fd, 0))
    if hasattr(own, "flush"):
        own.flush()
    os._exit(0 if refused == 3 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
if hasattr(context, "flush"):
    context.flush()
while not all(ended(operation) for operation in mine):
    if hasattr(context, "process_events"):
        context.process_events()
assert [operation.get_value() for operation in mine] == [b"data"] * 40
"""

ENDED = """
def ended(operation):
    try:
        operation.get_value()
    except RuntimeError:
        return False
    return True
"""


@pytest.mark.parametrize("name", ["linux_uring", "linux_aio", "thread_aio"])
def test_a_forked_child_is_refused_and_its_parent_is_not_harmed(name: str, tmp_path: Path) -> None:
    module = getattr(caio, name)
    if module is None:
        pytest.skip(f"{name} cannot be used here")
    (tmp_path / "file").write_bytes(b"data")
    run(ENDED + FORKED.replace("{module}", module.__name__), tmp_path)


# 2: a kernel thread that polls burnt a core.


async def reads(context: Any, fd: int, count: int) -> None:
    for _ in range(count):
        assert await context.read(4, fd, 0) == CONTENT[:4]


def descriptors() -> list[str]:
    """What this process has open."""
    gc.collect()
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass  # the one that the directory was read with
    return sorted(names)


def polling_threads() -> list[str]:
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            names.append(Path(f"/proc/self/task/{task}/comm").read_text().strip())
        except OSError:
            pass  # it has just ended
    return [name for name in names if name.startswith("iou-sqp")]


@pytest.mark.parametrize("options", [{}, {"sqpoll": True}], ids=["default", "sqpoll"])
def test_no_kernel_thread_polls_for_an_asyncio_context(options: dict[str, bool], tmp_path: Path) -> None:
    if caio.linux_uring_asyncio is None:
        pytest.skip("io_uring cannot be used here")
    (tmp_path / "file").write_bytes(CONTENT)
    module: Any = caio.linux_uring_asyncio
    before = len(polling_threads())

    async def main() -> None:
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        async with module.AsyncioContext(**options) as context:
            await reads(context, fd, 20)
            assert len(polling_threads()) <= before
        os.close(fd)

    asyncio.run(main())


# 3: tasks that hit the cache kept all others from running.


def test_other_tasks_run_while_one_reads_what_is_cached(variant_asyncio: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    turns = 0

    async def main() -> None:
        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        fd = os.open(tmp_path / "file", os.O_RDONLY)
        task = asyncio.create_task(other())
        async with variant_asyncio.AsyncioContext() as context:
            await reads(context, fd, 2000)
        task.cancel()
        os.close(fd)

    asyncio.run(main())
    assert turns >= 10


# 4: contexts that were closed with operations in flight stayed for ever.


def test_contexts_closed_with_operations_in_flight_leave_nothing(variant_asyncio: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))

    async def main() -> None:
        fd = os.open(path, os.O_RDONLY)
        for _ in range(4):
            context = variant_asyncio.AsyncioContext(max_requests=64)
            tasks = [asyncio.create_task(context.read(4096, fd, 4096 * index)) for index in range(64)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            context.close()
            await asyncio.gather(*tasks, return_exceptions=True)
        os.close(fd)

    asyncio.run(main())
    before = descriptors(), len(threading.enumerate())
    for _ in range(3):
        asyncio.run(main())
    # multiprocessing's pool, which `python` stands on, ends its threads some time after it was closed.
    for thread in threading.enumerate():
        if thread.name.startswith("Thread-") and variant_asyncio is caio.python_aio_asyncio:
            thread.join(20)
    after = descriptors()
    assert len(after) <= len(before[0]), (before[0], after)
    assert len(threading.enumerate()) <= before[1]
    assert not polling_threads()


# 5: files opened with O_DIRECT could not be read nor written.


def test_low_level_operations_on_direct_files_work(variant: Any, direct_file: int) -> None:
    context = variant.Context(max_requests=8)
    assert finish(context, variant.Operation.read(4096, direct_file, 4096)) == CONTENT[4096:8192]
    assert finish(context, variant.Operation.read(100, direct_file, 33)) == CONTENT[33:133]
    assert finish(context, variant.Operation.read(9000, direct_file, 15000)) == CONTENT[15000:]
    assert finish(context, variant.Operation.write(b"x" * 4096, direct_file, 4096)) == 4096
    assert finish(context, variant.Operation.read(4098, direct_file, 4095)) == (
        CONTENT[4095:4096] + b"x" * 4096 + CONTENT[8192:8193]
    )


def test_asyncio_contexts_read_and_write_direct_files(variant_asyncio: Any, direct_file: int) -> None:
    async def main() -> None:
        async with variant_asyncio.AsyncioContext() as context:
            assert await context.read(100, direct_file, 33) == CONTENT[33:133]
            assert await context.read(9000, direct_file, 15000) == CONTENT[15000:]
            assert await context.write(b"y" * 4096, direct_file, 4096) == 4096
            assert await context.read(4096, direct_file, 4096) == b"y" * 4096
            with pytest.raises(SystemError) as refused:
                await context.write(b"odd", direct_file, 1)
            assert isinstance(refused.value, OSError)

    asyncio.run(main())


# 6: kernel AIO did the read inside io_submit(2), with the GIL held.

SUBMITTED = """
import os, threading
from aiovfs.compat.caio import linux_aio
reading, writing = os.pipe()
context = linux_aio.Context(max_requests=4)
operation = linux_aio.Operation.read(5, reading, 0)
thread = threading.Thread(target=context.submit, args=(operation,))
thread.start()      # waits inside io_submit(2) until there is something in the pipe
os.write(writing, b"hello")
thread.join()
while True:
    context.process_events()
    try:
        assert operation.get_value() == b"hello"
        break
    except RuntimeError:
        pass
"""


def test_submitting_to_kernel_aio_leaves_the_interpreter_free(tmp_path: Path) -> None:
    if caio.linux_aio is None:
        pytest.skip("kernel AIO cannot be used here")
    run(SUBMITTED, tmp_path)


def test_kernel_aio_is_not_given_buffered_files_where_it_would_block_the_loop(tmp_path: Path) -> None:
    if caio.linux_aio_asyncio is None:
        pytest.skip("kernel AIO cannot be used here")
    (tmp_path / "file").write_bytes(CONTENT)
    module: Any = caio.linux_aio_asyncio

    async def main() -> None:
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        async with module.AsyncioContext() as context:
            await reads(context, fd, 100)
            assert context._engine.name == "linux"
            assert not context._engine.uses_kernel_aio
        os.close(fd)

    asyncio.run(main())


# 7: every buffer was filled with zeros first.


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_read_buffers_are_not_filled_with_zeros_first(variant: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    context = variant.Context(max_requests=4)
    finish(context, variant.Operation.read(10, fd, 0))
    before = resident()
    operation = variant.Operation.read(256 << 20, fd, 0)
    if variant is not caio.python_aio:  # os.pread makes its own buffer, and cuts it
        assert finish(context, operation) == CONTENT
        assert resident() - before < 64 << 20
        assert operation.payload[: len(CONTENT) + 10] == CONTENT + bytes(10)
    os.close(fd)


# A program that ended while a thread waited for a pipe never ended.

LEFT = """
import os
from aiovfs.compat import caio
reading, writing = os.pipe()
contexts = []
for module in (caio.linux_uring, caio.thread_aio):
    if module is not None:
        context = module.Context()
        context.submit(module.Operation.read(1, reading, 0xFFFFFFFFFFFFFFFF))
        if hasattr(context, "flush"):
            context.flush()
        contexts.append(context)
"""


def test_a_program_ends_although_operations_wait_for_a_pipe(tmp_path: Path) -> None:
    run(LEFT, tmp_path)


# Errors had no errno.


def test_errors_of_operations_have_their_errno(variant: Any) -> None:
    context = variant.Context(max_requests=4)
    with pytest.raises(SystemError) as failed:
        finish(context, variant.Operation.read(1, 1 << 20, 0))
    assert isinstance(failed.value, OSError)
    assert failed.value.errno == 9
    assert "Bad file descriptor" in str(failed.value)
