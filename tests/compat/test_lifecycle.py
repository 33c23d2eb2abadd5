"""init, main, terminate, close: real mounts, on every loop."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from pyfuse3_sample import Sample, is_mounted, serving, use

from aiovfs.compat import pyfuse3
from aiovfs.compat.pyfuse3 import state


async def test_a_file_is_served_between_init_and_close(mountpoint: Path, fs: Sample) -> None:
    assert pyfuse3.trio_token is None
    pyfuse3.init(fs, str(mountpoint))
    async with serving():
        assert await use((mountpoint / "hello").read_bytes) == b"hello world"
        assert await use(os.listdir, mountpoint) == ["hello"]
        assert pyfuse3.trio_token is not None
    assert pyfuse3.trio_token is None
    assert is_mounted(mountpoint)
    pyfuse3.close()
    assert not is_mounted(mountpoint)
    pyfuse3.close()


async def test_init_starts_no_thread_and_answers_nothing(mountpoint: Path, fs: Sample) -> None:
    threads = threading.active_count()
    pyfuse3.init(fs, str(mountpoint))
    assert threading.active_count() == threads
    assert fs.calls == []


async def test_main_needs_init(fs: Sample) -> None:
    with pytest.raises(RuntimeError, match=r"Need to call init\(\) before main\(\)"):
        await pyfuse3.main()
    assert inspect.iscoroutinefunction(pyfuse3.main)


@pytest.mark.parametrize("mountpoint_given", [b"/mnt", Path("/mnt"), 5, None])
def test_a_mountpoint_that_is_no_str_is_a_type_error(mountpoint_given: Any) -> None:
    with pytest.raises(TypeError, match="mountpoint must be str"):
        pyfuse3.init(pyfuse3.Operations(), mountpoint_given)


def test_a_mountpoint_that_is_not_there_is_a_runtime_error(can_mount: None, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"fuse_session_mount failed.*No such file"):
        pyfuse3.init(pyfuse3.Operations(), str(tmp_path / "absent"))
    pyfuse3.close()


async def test_mounts_follow_each_other_in_one_process(mountpoint: Path, fs: Sample) -> None:
    for round_ in range(3):
        fs.data = b"round %d" % round_
        pyfuse3.init(fs, str(mountpoint))
        async with serving():
            assert await use((mountpoint / "hello").read_bytes) == fs.data
        pyfuse3.close()


async def test_a_relative_mountpoint_is_found_after_chdir(
    mountpoint: Path, fs: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mountpoint.parent)
    pyfuse3.init(fs, "mnt")
    monkeypatch.chdir("/")
    async with serving():
        assert await use((mountpoint / "hello").read_bytes) == b"hello world"
    pyfuse3.close()
    assert not is_mounted(mountpoint)


async def test_a_regular_file_can_be_the_mountpoint(mountpoint: Path, fs: Sample) -> None:
    place = mountpoint / "file"
    place.write_text("underneath")
    root = fs.attributes(2)
    root.st_ino = 1
    fs.answers["getattr"] = lambda *_: anyio_value(root)
    pyfuse3.init(fs, str(place))
    async with serving():
        assert await use(place.read_bytes) == b"hello world"
    pyfuse3.close()
    assert place.read_text() == "underneath"


async def anyio_value(value: Any) -> Any:
    return value


async def test_a_directory_with_entries_can_be_the_mountpoint(mountpoint: Path, fs: Sample) -> None:
    (mountpoint / "below").touch()
    pyfuse3.init(fs, str(mountpoint))
    async with serving():
        assert await use(os.listdir, mountpoint) == ["hello"]
    pyfuse3.close()
    assert os.listdir(mountpoint) == ["below"]


async def test_main_ends_when_somebody_unmounts(mountpoint: Path, fs: Sample) -> None:
    pyfuse3.init(fs, str(mountpoint))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(pyfuse3.main)
            await use(os.listdir, mountpoint)
            await use(subprocess.check_call, ["umount", str(mountpoint)])
    pyfuse3.close()


async def test_main_ends_when_it_was_unmounted_before(mountpoint: Path, fs: Sample) -> None:
    pyfuse3.init(fs, str(mountpoint))
    await use(subprocess.check_call, ["umount", "-l", str(mountpoint)])
    with anyio.fail_after(10):
        await pyfuse3.main()
    pyfuse3.close()


async def test_a_pending_handler_finishes_before_main_ends(mountpoint: Path, fs: Sample) -> None:
    is_there, go_on = anyio.Event(), anyio.Event()

    async def waits(*arguments: Any) -> bytes:
        is_there.set()
        await go_on.wait()
        return b"hello world"

    fs.answers["read"] = waits
    pyfuse3.init(fs, str(mountpoint))
    contents: list[bytes] = []

    async def read() -> None:
        contents.append(await use((mountpoint / "hello").read_bytes))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            async with anyio.create_task_group() as served:
                served.start_soon(pyfuse3.main)
                group.start_soon(read)
                await is_there.wait()
                pyfuse3.terminate()
                pyfuse3.terminate()
                await anyio.sleep(0.05)
                assert pyfuse3.trio_token is not None
                go_on.set()
            # The reader goes on to ask more, which nobody answers until the mount is let go.
            pyfuse3.close()
            group.cancel_scope.cancel()


async def test_terminate_from_a_handler(mountpoint: Path, fs: Sample) -> None:
    async def ends(*arguments: Any) -> None:
        pyfuse3.terminate()

    fs.answers["readdir"] = ends
    pyfuse3.init(fs, str(mountpoint))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(use, list_quietly, mountpoint)
            await pyfuse3.main()
            pyfuse3.close()


def list_quietly(directory: Path) -> None:
    try:
        os.listdir(directory)
    except OSError:
        pass  # the mount ended meanwhile


async def test_terminate_from_another_thread(mountpoint: Path, fs: Sample) -> None:
    pyfuse3.init(fs, str(mountpoint))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(pyfuse3.main)
            await use(os.listdir, mountpoint)
            await use(pyfuse3.terminate)
    assert is_mounted(mountpoint)


async def test_terminate_before_main_makes_it_return_at_once(mountpoint: Path, fs: Sample) -> None:
    pyfuse3.init(fs, str(mountpoint))
    pyfuse3.terminate()
    with anyio.fail_after(10):
        await pyfuse3.main()
    assert fs.calls == []


def test_terminate_and_close_without_a_mount_do_nothing() -> None:
    pyfuse3.terminate()
    pyfuse3.close()
    pyfuse3.close(unmount=False)


async def test_close_without_unmounting_leaves_a_dead_mountpoint(mountpoint: Path, fs: Sample) -> None:
    pyfuse3.init(fs, str(mountpoint))
    async with serving():
        await use(os.listdir, mountpoint)
    pyfuse3.close(unmount=False)
    assert is_mounted(mountpoint)
    with pytest.raises(OSError, match="not connected"):
        os.stat(mountpoint)


async def test_close_leaves_what_is_mounted_there_since_alone(mountpoint: Path, fs: Sample) -> None:
    pyfuse3.init(fs, str(mountpoint))
    await use(subprocess.check_call, ["umount", "-l", str(mountpoint)])
    await use(subprocess.check_call, ["mount", "-t", "tmpfs", "tmpfs", str(mountpoint)])
    pyfuse3.close()
    assert is_mounted(mountpoint)


async def test_a_second_init_lets_the_first_mount_go_instead_of_hanging_it(
    mountpoint: Path, tmp_path: Path, fs: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    pyfuse3.init(Sample(), str(other))
    pyfuse3.init(fs, str(mountpoint))
    try:
        with pytest.raises(OSError, match="not connected"):
            os.stat(other)
        async with serving():
            assert await use(os.listdir, mountpoint) == ["hello"]
    finally:
        subprocess.check_call(["umount", "-l", str(other)])
    assert "again before close()" in caplog.text


async def test_two_mounts_are_served_at_a_time_when_each_main_runs_before_the_next_init(
    mountpoint: Path, tmp_path: Path, fs: Sample
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    second = Sample()
    second.data = b"the second"
    async with anyio.create_task_group() as group:
        pyfuse3.init(fs, str(mountpoint))
        group.start_soon(pyfuse3.main)
        await use(os.listdir, mountpoint)
        pyfuse3.init(second, str(other))
        group.start_soon(pyfuse3.main)
        assert await use((other / "hello").read_bytes) == b"the second"
        assert await use((mountpoint / "hello").read_bytes) == b"hello world"
        await use(subprocess.check_call, ["umount", str(mountpoint)])
        await use(subprocess.check_call, ["umount", str(other)])


async def test_a_connection_that_is_mounted_already_is_taken_over(mountpoint: Path, fs: Sample) -> None:
    pyfuse3.init(Sample(), str(mountpoint))
    before = state.replace(None)
    assert before is not None
    pyfuse3.init(fs, f"/dev/fd/{before.fd}")
    async with serving():
        assert await use((mountpoint / "hello").read_bytes) == b"hello world"
    pyfuse3.close()
    assert is_mounted(mountpoint)
    before.close(unmount=True)
    assert not is_mounted(mountpoint)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_main_may_run_in_another_thread_than_init(mountpoint: Path, fs: Sample, loop: str) -> None:
    pyfuse3.init(fs, str(mountpoint))

    def serve() -> None:
        if loop == "trio":
            trio.run(pyfuse3.main)
        else:
            asyncio.run(pyfuse3.main())

    thread = threading.Thread(target=serve)
    thread.start()
    assert (mountpoint / "hello").read_bytes() == b"hello world"
    if loop == "trio":
        trio.from_thread.run_sync(pyfuse3.terminate, trio_token=pyfuse3.trio_token)
    else:
        assert pyfuse3.trio_token == "asyncio"
        pyfuse3.terminate()
    thread.join(10)
    assert not thread.is_alive()


PREAMBLE = """
import asyncio, os, signal, stat, sys, errno
import trio
from aiovfs.compat import pyfuse3

class FS(pyfuse3.Operations):
    async def getattr(self, inode, ctx):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o755
        return entry
    async def lookup(self, parent, name, ctx):
        if name == b"wait":
            await (trio if loop == "trio" else asyncio).sleep(60)
        raise pyfuse3.FUSEError(errno.ENOENT)
    async def opendir(self, inode, ctx):
        return inode
    async def readdir(self, fh, start, token):
        return

mountpoint, loop = sys.argv[1:]

def run(main=pyfuse3.main):
    if loop == "trio":
        return trio.run(main)
    if loop == "uvloop":
        import uvloop
        return uvloop.run(main())
    return asyncio.run(main())

"""


def start(program: str, mountpoint: Path, loop: str) -> subprocess.Popen[str]:
    """Run a program and return when its file system answers."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(program), str(mountpoint), loop],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(500):
        if is_mounted(mountpoint):
            os.listdir(mountpoint)
            return process
        if process.poll() is not None:
            break
        threading.Event().wait(0.02)
    process.kill()
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_terminate_in_a_signal_handler(mountpoint: Path, loop: str, number: int) -> None:
    process = start(
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: pyfuse3.terminate())
        pyfuse3.init(FS(), mountpoint)
        run()
        pyfuse3.close()
        print("ended well")
        """,
        mountpoint,
        loop,
    )
    process.send_signal(number)
    assert process.communicate(timeout=10) == ("ended well\n", "")
    assert not is_mounted(mountpoint)


def test_ctrl_c_comes_out_of_main_as_it_does_from_a_trio_nursery(mountpoint: Path) -> None:
    process = start(
        """
        pyfuse3.init(FS(), mountpoint)
        try:
            run()
        except* KeyboardInterrupt as group:
            print(group.message)
        finally:
            pyfuse3.close()
        """,
        mountpoint,
        "trio",
    )
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == ("Exceptions from Trio nursery\n", "")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_ctrl_c_is_a_keyboard_interrupt_on_asyncio(mountpoint: Path, loop: str) -> None:
    process = start(
        """
        pyfuse3.init(FS(), mountpoint)
        try:
            run()
        except KeyboardInterrupt:
            print("interrupted", pyfuse3.trio_token)
        finally:
            pyfuse3.close()
        """,
        mountpoint,
        loop,
    )
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == ("interrupted None\n", "")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_a_daemon_may_fork_between_init_and_main(mountpoint: Path, loop: str) -> None:
    process = start(
        """
        pyfuse3.init(FS(), mountpoint)
        if os.fork():
            os._exit(0)
        os.setsid()
        run()
        pyfuse3.close()
        """,
        mountpoint,
        loop,
    )
    assert process.wait(10) == 0
    assert os.listdir(mountpoint) == []
    subprocess.check_call(["umount", str(mountpoint)])
    assert process.communicate(timeout=10) == ("", "")


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_child_forked_while_main_runs_does_not_keep_the_mount_alive(mountpoint: Path, loop: str) -> None:
    process = start(
        """
        class Forking(FS):
            async def lookup(self, parent, name, ctx):
                child = os.fork()
                if child == 0:
                    signal.pause()
                print(child, flush=True)
                raise pyfuse3.FUSEError(errno.ENOENT)
        pyfuse3.init(Forking(), mountpoint)
        run()
        """,
        mountpoint,
        loop,
    )
    assert not (mountpoint / "any").exists()
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait(10)
        # Aborted while it waits, where the child has not yet come to closing its copy.
        with pytest.raises(OSError, match=r"not connected|connection abort"):
            os.listdir(mountpoint)
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()
