"""Programs as pyfuse3's documentation writes them, but for the mountpoint, under pyfuse3's own module names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from pyfuse3_sample import is_mounted

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join([str(ROOT / "src"), str(ROOT / "packaging" / "pyfuse3-shim" / "src")])


def start(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def mounted(program: str, mountpoint: Path) -> subprocess.Popen[str]:
    """Start a program and return when its file system answers."""
    process = start(program, mountpoint)
    for _ in range(500):
        if is_mounted(mountpoint):
            assert os.listdir(mountpoint) == []
            return process
        if process.poll() is not None:
            break
        threading.Event().wait(0.02)
    process.kill()
    raise AssertionError(process.communicate())


def wait_until_idle(process: subprocess.Popen[str]) -> None:
    """Return when the loop waits for events: a signal while a task runs makes trio.from_thread refuse."""
    for _ in range(500):
        if Path(f"/proc/{process.pid}/wchan").read_text().startswith(("ep_poll", "do_epoll_wait")):
            return
        threading.Event().wait(0.01)
    raise AssertionError("the process did not come to wait for events")


ASYNCIO = """
import asyncio
import errno, os, signal, stat, sys
import pyfuse3
import pyfuse3.asyncio

pyfuse3.asyncio.enable()
"""
TRIO = """
import errno, os, signal, stat, sys
import trio
import trio.from_thread
import pyfuse3
"""
FILE_SYSTEM = """
class FS(pyfuse3.Operations):
    def __init__(self):
        super().__init__()

    async def getattr(self, inode, ctx):
        entry = pyfuse3.EntryAttributes()
        if inode == pyfuse3.ROOT_INODE:
            entry.st_mode = stat.S_IFDIR | 0o755
            entry.st_size = 0
        else:
            raise pyfuse3.FUSEError(errno.ENOENT)
        entry.st_ino = inode
        entry.st_uid = os.getuid()
        entry.st_gid = os.getgid()
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = 0
        return entry

    async def lookup(self, parent_inode, name, ctx):
        raise pyfuse3.FUSEError(errno.ENOENT)

    async def opendir(self, inode, ctx):
        if inode != pyfuse3.ROOT_INODE:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return inode

    async def readdir(self, fh, start_id, token):
        return

    async def statfs(self, ctx):
        return pyfuse3.StatvfsData()

"""
LOCK = "pyfuse3.asyncio.Lock()"


def test_a_complete_file_system_on_asyncio(mountpoint: Path) -> None:
    program = f"""{ASYNCIO}{FILE_SYSTEM}
async def run_filesystem():
    fs = FS()
    options = set(pyfuse3.default_options)
    pyfuse3.init(fs, sys.argv[1], options)
    try:
        await pyfuse3.main()
    finally:
        pyfuse3.close()
    print("done")

asyncio.run(run_filesystem())
"""
    process = mounted(program, mountpoint)
    assert not (mountpoint / "x").exists()
    subprocess.check_call(["umount", str(mountpoint)])
    assert process.communicate(timeout=10) == ("done\n", "")


def test_enabling_asyncio_before_the_main_module_is_imported(mountpoint: Path) -> None:
    program = f"""
import pyfuse3.asyncio
pyfuse3.asyncio.enable()
import pyfuse3
import asyncio, errno, os, stat, sys
{FILE_SYSTEM}
pyfuse3.init(FS(), sys.argv[1])
asyncio.run(pyfuse3.main(min_tasks=5, max_tasks=50))
pyfuse3.close(unmount=True)
"""
    process = mounted(program, mountpoint)
    subprocess.check_call(["umount", str(mountpoint)])
    assert process.communicate(timeout=10) == ("", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_complete_file_system_on_trio_that_ends_by_a_signal(mountpoint: Path, number: int) -> None:
    program = f"""{TRIO}
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
logger = logging.getLogger(__name__)
{FILE_SYSTEM}
async def run_filesystem():
    fs = FS()

    def signal_handler(signum, frame):
        logger.info("Received signal %d, initiating shutdown...", signum)
        trio.from_thread.run_sync(pyfuse3.terminate, trio_token=pyfuse3.trio_token)

    signal.signal(signal.SIGINT, signal_handler)
    signal.signal(signal.SIGTERM, signal_handler)

    options = set(pyfuse3.default_options)
    options.add('allow_other')
    options.add('fsname=myfs')
    try:
        pyfuse3.init(fs, sys.argv[1], options)
    except RuntimeError as e:
        logger.error("Failed to mount: %s", e)
        return 1
    try:
        await pyfuse3.main(min_tasks=5, max_tasks=50)
        logger.info("Main loop terminated")
    except Exception as e:
        logger.error("Error in main loop: %s", e, exc_info=True)
        return 1
    finally:
        pyfuse3.close()
        logger.info("Filesystem unmounted")
    return 0

sys.exit(trio.run(run_filesystem))
"""
    process = mounted(program, mountpoint)
    wait_until_idle(process)
    process.send_signal(number)
    said, complained = process.communicate(timeout=10)
    assert said.splitlines() == [
        f"Received signal {number:d}, initiating shutdown...",
        "Main loop terminated",
        "Filesystem unmounted",
    ]
    assert (complained, process.returncode) == ("", 0)
    assert not is_mounted(mountpoint)


def test_a_signal_handler_on_asyncio_that_calls_terminate_thread_safely(mountpoint: Path) -> None:
    program = f"""{ASYNCIO}{FILE_SYSTEM}
async def run_filesystem():
    fs = FS()

    def signal_handler(signum, frame):
        loop = asyncio.get_event_loop()
        loop.call_soon_threadsafe(pyfuse3.terminate)

    signal.signal(signal.SIGINT, signal_handler)
    signal.signal(signal.SIGTERM, signal_handler)
    pyfuse3.init(fs, sys.argv[1])
    await pyfuse3.main()
    pyfuse3.close()

asyncio.run(run_filesystem())
"""
    process = mounted(program, mountpoint)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("", "")
    assert not is_mounted(mountpoint)


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_what_the_documentation_calls_wrong_works_as_well(mountpoint: Path, library: str) -> None:
    run = "trio.run(pyfuse3.main)" if library == "trio" else "asyncio.run(pyfuse3.main())"
    program = f"""{TRIO if library == "trio" else ASYNCIO}{FILE_SYSTEM}
def signal_handler(signum, frame):
    pyfuse3.terminate()

signal.signal(signal.SIGTERM, signal_handler)
pyfuse3.init(FS(), sys.argv[1])
{run}
pyfuse3.close()
"""
    process = mounted(program, mountpoint)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("", "")


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_writes_under_locks_of_the_library(mountpoint: Path, library: str) -> None:
    lock = "trio.Lock()" if library == "trio" else LOCK
    run = "trio.run(pyfuse3.main)" if library == "trio" else "asyncio.run(pyfuse3.main())"
    program = f"""{TRIO if library == "trio" else ASYNCIO}{FILE_SYSTEM}
class ThreadSafeFS(FS):
    def __init__(self):
        super().__init__()
        self.inode_locks = {{}}
        self.data = b''

    async def getattr(self, inode, ctx):
        if inode == 2:
            entry = pyfuse3.EntryAttributes()
            entry.st_ino = 2
            entry.st_mode = stat.S_IFREG | 0o644
            entry.st_size = len(self.data)
            return entry
        return await super().getattr(inode, ctx)

    async def lookup(self, parent_inode, name, ctx):
        if name == b'file':
            return await self.getattr(2, ctx)
        return await super().lookup(parent_inode, name, ctx)

    async def open(self, inode, flags, ctx):
        return pyfuse3.FileInfo(fh=inode, direct_io=True)

    async def read(self, fh, off, size):
        return self.data[off:off + size]

    async def write(self, fh, offset, buf):
        if not self.inode_locks:
            self.inode_locks[fh] = {lock}
        async with self.inode_locks[fh]:
            await {library}.sleep(0.001)
            self.data = self.data[:offset] + buf + self.data[offset + len(buf):]
        return len(buf)

    async def flush(self, fh):
        pass

    async def fsync(self, fh, datasync):
        pass

pyfuse3.init(ThreadSafeFS(), sys.argv[1])
{run}
"""
    process = mounted(program, mountpoint)
    with open(mountpoint / "file", "r+b", buffering=0) as file:
        file.writelines(b"%d" % number for number in range(10))
        os.fsync(file.fileno())
        file.seek(0)
        assert file.read() == b"0123456789"
    subprocess.check_call(["umount", str(mountpoint)])
    assert process.communicate(timeout=10) == ("", "")


def test_mounts_that_follow_each_other_quickly_and_recovery_in_init(mountpoint: Path) -> None:
    program = f"""{TRIO}{FILE_SYSTEM}
class RecoverableFS(FS):
    started = 0

    def init(self):
        RecoverableFS.started += 1

async def rapid_mount_unmount():
    for i in range(10):
        async with trio.open_nursery() as nursery:
            try:
                pyfuse3.init(RecoverableFS(), sys.argv[1], pyfuse3.default_options)
                nursery.start_soon(pyfuse3.main)
                await trio.to_thread.run_sync(os.listdir, sys.argv[1])
                pyfuse3.terminate()
            finally:
                pass
        pyfuse3.close()
    print(RecoverableFS.started)

trio.run(rapid_mount_unmount)
"""
    assert start(program, mountpoint).communicate(timeout=20) == ("10\n", "")


def test_options_and_errors_of_init(mountpoint: Path) -> None:
    (mountpoint / "below").touch()
    program = f"""{ASYNCIO}{FILE_SYSTEM}
for mountpoint, option in (('/does/not/exist', 'ro'), (sys.argv[1], 'no_such_option')):
    try:
        pyfuse3.init(FS(), mountpoint, {{option}})
    except RuntimeError as e:
        print('Failed to mount:', e)

options = set(pyfuse3.default_options)
for option in (
    'allow_other', 'ro', 'nonempty', 'fsname=myfs', 'subtype=mine', 'debug', 'use_ino', 'readdir_ino', 'direct_io',
    'kernel_cache', 'auto_cache', 'umask=022', 'uid=0', 'gid=0', 'entry_timeout=60', 'attr_timeout=60',
    'ac_attr_timeout=5', 'negative_timeout=1', 'noforget', 'intr', 'intr_signal=10',
):
    options.add(option)
options.discard('debug')
pyfuse3.init(FS(), sys.argv[1], options)
asyncio.run(pyfuse3.main())
"""
    process = mounted(program, mountpoint)
    subprocess.check_call(["umount", str(mountpoint)])
    said, complained = process.communicate(timeout=10)
    assert [line.split(": ")[:2] for line in said.splitlines()] == [
        ["Failed to mount", "fuse_session_mount failed"],
        ["Failed to mount", "fuse_session_new() failed"],
    ]
    assert complained == ""


def test_debug_is_verbose_on_stderr(mountpoint: Path) -> None:
    program = f"""{ASYNCIO}{FILE_SYSTEM}
pyfuse3.init(FS(), sys.argv[1], {{'debug'}})
asyncio.run(pyfuse3.main())
"""
    process = mounted(program, mountpoint)
    subprocess.check_call(["umount", str(mountpoint)])
    said, complained = process.communicate(timeout=10)
    assert said == ""
    assert "opendir" in complained


def test_waiting_for_a_descriptor_and_a_nursery_of_workers() -> None:
    program = f"""{ASYNCIO}
async def read_when_ready(fd):
    await pyfuse3.asyncio.wait_readable(fd)
    return os.read(fd, 4096)

async def worker(n):
    print(f"Worker {{n}} starting")
    await asyncio.sleep(0.01 * n)
    print(f"Worker {{n}} done")

async def main():
    r, w = os.pipe()
    os.write(w, b'data')
    print(await read_when_ready(r))
    async with pyfuse3.asyncio.open_nursery() as nursery:
        nursery.start_soon(worker, 1)
        nursery.start_soon(worker, 2)
    print("All done")
    task = asyncio.ensure_future(pyfuse3.asyncio.wait_readable(r))
    await asyncio.sleep(0.01)
    pyfuse3.asyncio.notify_closing(r)
    try:
        await task
    except pyfuse3.asyncio.ClosedResourceError:
        print("File descriptor was closed while waiting")

asyncio.run(main())
"""
    said, complained = start(program).communicate(timeout=10)
    assert complained == ""
    assert said.splitlines() == [
        "b'data'",
        "Worker 1 starting",
        "Worker 2 starting",
        "Worker 1 done",
        "Worker 2 done",
        "All done",
        "File descriptor was closed while waiting",
    ]
