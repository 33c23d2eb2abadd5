"""Mounting from Python: `aiovfs.mount`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

import aiovfs
import aiovfs.fs.memory
from aiovfs.mount import registry

pytestmark = pytest.mark.mounted


class LivingFileSystem(LocalFileSystem):
    """Holds something that no other process can have."""

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle '_thread.lock' object")


def test_block_mounts_and_leaving_it_unmounts_with_everything_stored(shell: Any, store: Path, mnt: Path) -> None:
    with aiovfs.mount(str(store), mnt) as mounted:
        assert mounted.is_alive
        assert mounted.directory == mnt
        assert os.fspath(mounted) == str(mnt)
        assert mounted.url == f"file://{store}"
        assert (mnt / "hello.txt").read_bytes() == b"hello\n"
        (mnt / "new").write_bytes(b"x" * 100_000)
    assert not mounted.is_alive
    assert not shell.is_mounted(mnt)
    assert (store / "new").read_bytes() == b"x" * 100_000


async def test_async_block_mounts_and_unmounts_on_every_loop(shell: Any, store: Path, mnt: Path) -> None:
    async with aiovfs.mount(str(store), mnt) as mounted:
        assert mounted.is_alive
        assert await anyio.to_thread.run_sync((mnt / "hello.txt").read_bytes) == b"hello\n"
    assert not shell.is_mounted(mnt)


async def test_await_mounts_too_and_aunmount_ends_it(shell: Any, store: Path, mnt: Path) -> None:
    mounted = await aiovfs.mount(str(store), mnt)
    assert await anyio.to_thread.run_sync(os.listdir, mnt)
    await mounted.aunmount()
    assert not shell.is_mounted(mnt)


async def test_mount_inside_of_a_loop_blocks_nothing_before_it_is_awaited(shell: Any, store: Path, mnt: Path) -> None:
    mounted = aiovfs.mount(str(store), mnt)
    assert not mounted.is_alive
    assert not shell.is_mounted(mnt)
    assert "not mounted yet" in repr(mounted)
    with pytest.raises(aiovfs.MountError, match="not mounted yet"):
        mounted.unmount()


async def test_cancelled_block_is_unmounted(shell: Any, store: Path, mnt: Path) -> None:
    with anyio.CancelScope() as scope:
        async with aiovfs.mount(str(store), mnt):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not shell.is_mounted(mnt)


def test_error_of_the_block_passes_and_the_mount_ends(shell: Any, store: Path, mnt: Path) -> None:
    with pytest.raises(KeyError), aiovfs.mount(str(store), mnt):
        raise KeyError
    assert not shell.is_mounted(mnt)


def test_by_default_another_process_serves(store: Path, mnt: Path) -> None:
    with aiovfs.mount(str(store), mnt) as mounted:
        assert not mounted.in_process
        assert mounted.pid not in (None, os.getpid())


def test_memory_of_this_process_is_served_by_this_process(mnt: Path) -> None:
    fs = aiovfs.fs.memory.MemoryFileSystem()
    fs.pipe_file("/embedding/seen", b"by both")
    with aiovfs.mount("memory://embedding", mnt) as mounted:
        assert mounted.in_process
        assert mounted.pid == os.getpid()
        assert (mnt / "seen").read_bytes() == b"by both"
        (mnt / "back").write_bytes(b"again")
    assert fs.cat_file("/embedding/back") == b"again"
    fs.rm("/embedding", recursive=True)


def test_memory_object_of_fsspec_is_served_by_this_process(mnt: Path) -> None:
    fs = MemoryFileSystem()
    fs.pipe_file("/theirs/seen", b"x")
    with aiovfs.mount(fs, mnt, root="/theirs") as mounted:
        assert mounted.in_process
        assert (mnt / "seen").read_bytes() == b"x"
    fs.rm("/theirs", recursive=True)


def test_file_system_object_travels_to_the_child(store: Path, mnt: Path) -> None:
    with aiovfs.mount(LocalFileSystem(), mnt, root=str(store)) as mounted:
        assert not mounted.in_process
        assert (mnt / "hello.txt").read_bytes() == b"hello\n"


def test_object_that_cannot_be_pickled_is_served_by_this_process(store: Path, mnt: Path) -> None:
    with aiovfs.mount(LivingFileSystem(), mnt, root=str(store)) as mounted:
        assert mounted.in_process
        assert (mnt / "hello.txt").read_bytes() == b"hello\n"


def test_object_that_cannot_be_pickled_is_refused_where_a_child_was_demanded(
    shell: Any, store: Path, mnt: Path
) -> None:
    with pytest.raises(aiovfs.MountError, match="in_process=True"):
        aiovfs.mount(LivingFileSystem(), mnt, root=str(store), in_process=False)
    assert not shell.is_mounted(mnt)


def test_class_of_the_main_program_is_served_by_that_program(shell: Any, store: Path, mnt: Path) -> None:
    code = """
import pathlib, sys, aiovfs
from fsspec.implementations.local import LocalFileSystem
class Mine(LocalFileSystem):
    pass
with aiovfs.mount(Mine(), sys.argv[2], root=sys.argv[1]) as mounted:
    print(mounted.in_process, pathlib.Path(sys.argv[2], "hello.txt").read_text())
"""
    out, complaint = shell.python(code, store, mnt).communicate(timeout=30)
    assert out == "True hello\n\n", complaint


def test_in_process_mount_can_be_chosen(shell: Any, store: Path, mnt: Path) -> None:
    with aiovfs.mount(str(store), mnt, in_process=True) as mounted:
        assert mounted.in_process
        assert (mnt / "hello.txt").read_bytes() == b"hello\n"
    assert not shell.is_mounted(mnt)


async def test_in_process_mount_serves_a_caller_that_runs_any_loop(store: Path, mnt: Path) -> None:
    async with aiovfs.mount(str(store), mnt, in_process=True):
        # Even the loop's own thread may block on it: another thread answers.
        assert (mnt / "hello.txt").read_bytes() == b"hello\n"


@pytest.mark.parametrize("in_process", [False, True])
def test_open_files_do_not_prevent_leaving_the_block(shell: Any, store: Path, mnt: Path, in_process: bool) -> None:
    with aiovfs.mount(str(store), mnt, in_process=in_process):
        file = (mnt / "hello.txt").open("rb")
    assert not shell.is_mounted(mnt)
    with pytest.raises(OSError, match="not connected"):
        file.close()


@pytest.mark.parametrize("in_process", [False, True])
def test_unmount_from_outside_ends_the_mount(shell: Any, store: Path, mnt: Path, in_process: bool) -> None:
    mounted = aiovfs.mount(str(store), mnt, in_process=in_process)
    assert not mounted.wait(timeout=0)
    shell("umount", mnt)
    assert mounted.wait(timeout=20)
    assert not mounted.is_alive
    mounted.unmount()


def test_death_of_the_child_is_an_error_that_says_how_it_died(mnt: Path, store: Path) -> None:
    mounted = aiovfs.mount(str(store), mnt)
    assert mounted.pid is not None
    os.kill(mounted.pid, signal.SIGKILL)
    with pytest.raises(aiovfs.MountError, match="SIGKILL"):
        mounted.wait(timeout=20)
    assert not mounted.is_alive


@pytest.mark.parametrize("in_process", [False, True])
def test_failure_of_the_store_is_raised_where_it_is_mounted(
    shell: Any, mnt: Path, tmp_path: Path, in_process: bool
) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        aiovfs.mount(str(tmp_path / "nowhere"), mnt, in_process=in_process)
    assert not shell.is_mounted(mnt)


@pytest.mark.parametrize("in_process", [False, True])
def test_unknown_protocol_keeps_its_type_on_the_way_from_the_child(mnt: Path, in_process: bool) -> None:
    with pytest.raises(aiovfs.UnknownProtocolError) as caught:
        aiovfs.mount("ss3://bucket", mnt, in_process=in_process)
    assert "s3" in str(caught.value.hint)


def test_unknown_option_is_refused_at_once(store: Path, mnt: Path) -> None:
    with pytest.raises(aiovfs.OptionError, match="cache_size"):
        aiovfs.mount(str(store), mnt, cache_sise="1GiB")


def test_storage_options_beside_an_object_are_refused(store: Path, mnt: Path) -> None:
    with pytest.raises(aiovfs.OptionError, match="storage_options"):
        aiovfs.mount(LocalFileSystem(), mnt, storage_options={"anon": True})


def test_dead_mount_is_replaced_when_the_caller_says_so(store: Path, mnt: Path) -> None:
    first = aiovfs.mount(str(store), mnt)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(aiovfs.MountError):
        first.wait(timeout=20)
    with pytest.raises(aiovfs.MountError, match="replace"):
        aiovfs.mount(str(store), mnt)
    with aiovfs.mount(str(store), mnt, replace=True):
        assert (mnt / "hello.txt").read_bytes() == b"hello\n"


PARENT = """
import sys, aiovfs
mounted = aiovfs.mount(sys.argv[1], sys.argv[2])
with open(sys.argv[2] + "/new", "w") as file:
    file.write("written")
print(mounted.pid, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["killed", "killed, its socket held open by a fork", "ended"])
def test_end_of_the_parent_ends_and_unmounts_the_child(shell: Any, store: Path, mnt: Path, how: str) -> None:
    code = PARENT
    if "fork" in how:
        code = code.replace("print(", "import os, time\nif os.fork() == 0: time.sleep(8); os._exit(0)\nprint(")
    parent = shell.python(code, store, mnt)
    child = int(parent.stdout.readline())
    started = registry.process_start(child)
    if how == "ended":
        parent.stdin.write("\n")
        parent.stdin.flush()
    else:
        parent.kill()
    shell.wait_until(lambda: registry.process_start(child) != started, "the end of the child")
    assert not shell.is_mounted(mnt)
    assert (store / "new").read_text() == "written"


@pytest.mark.parametrize("scheme", ["memory://atexit", "local"])
def test_in_process_mount_that_nobody_ended_is_ended_with_the_interpreter(
    shell: Any, store: Path, mnt: Path, scheme: str
) -> None:
    code = (
        "import pathlib, sys, aiovfs\naiovfs.mount(sys.argv[1], sys.argv[2], in_process=True)\n"
        "pathlib.Path(sys.argv[2], 'new').write_text('x')"
    )
    program = shell.python(code, store if scheme == "local" else scheme, mnt)
    _, complaint = program.communicate(timeout=30)
    assert program.returncode == 0, complaint
    assert complaint == ""
    assert not shell.is_mounted(mnt)


def test_ctrl_c_in_the_terminal_does_not_reach_the_child(store: Path, mnt: Path) -> None:
    with aiovfs.mount(str(store), mnt) as mounted:
        assert mounted.pid is not None
        assert os.getpgid(mounted.pid) != os.getpgid(0)


def test_two_mounts_are_served_at_a_time(shell: Any, store: Path, mnt: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with aiovfs.mount(str(store), mnt, in_process=True), aiovfs.mount(str(store), other):
        (mnt / "new").write_text("x")
        assert (store / "new").read_text() == "x"
        assert (other / "new").read_text() == "x"
    assert not shell.is_mounted(mnt)
    assert not shell.is_mounted(other)


def test_waiting_from_several_threads_ends_for_all(store: Path, mnt: Path) -> None:
    mounted = aiovfs.mount(str(store), mnt)
    ends: list[bool] = []
    threads = [threading.Thread(target=lambda: ends.append(mounted.wait(20))) for _ in range(3)]
    for thread in threads:
        thread.start()
    mounted.unmount()
    for thread in threads:
        thread.join()
    assert ends == [True] * 3


def test_name_is_function_and_package() -> None:
    import aiovfs.mount.options

    assert callable(aiovfs.mount)
    assert aiovfs.mount.options is sys.modules["aiovfs.mount.options"]
    assert aiovfs.mount.Mount is aiovfs.Mount


def test_every_public_name_exists() -> None:
    assert [name for name in aiovfs.__all__ if not hasattr(aiovfs, name)] == []
    with pytest.raises(AttributeError, match="frobnicate"):
        aiovfs.frobnicate  # noqa: B018


def test_url_of_a_chain_with_memory_in_it_is_recognised() -> None:
    from aiovfs.mount.embedding import lives_here
    from aiovfs.mount.spec import MountSpec

    assert lives_here(MountSpec("dir::memory://a", "/mnt"))
    assert lives_here(MountSpec("memory://", "/mnt"))
    assert lives_here(MountSpec(DirFileSystem(path="/a", fs=MemoryFileSystem()), "/mnt"))
    assert not lives_here(MountSpec("s3://memory/a", "/mnt"))
    assert not lives_here(MountSpec(fsspec.filesystem("file"), "/mnt"))
