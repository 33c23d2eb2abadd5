"""fcntl and flock locks that the file system keeps."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import anyio
import pytest
from ramfs import RamFS, client, outside, serving

from aiovfs import fuse


class Locking(RamFS):
    def __init__(self) -> None:
        self.locks = fuse.LockTable()
        self.is_waiting = anyio.Event()
        super().__init__()

    async def getlk(self, request: fuse.Getlk) -> fuse.Lock | None:
        return self.locks.find(request.nodeid, request)

    async def setlk(self, request: fuse.Setlk) -> None:
        self.locks.take(request.nodeid, request)

    async def setlkw(self, request: fuse.Setlkw) -> None:
        self.is_waiting.set()
        await self.locks.wait(request.nodeid, request)

    async def flock(self, request: fuse.Setlk | fuse.Setlkw) -> None:
        if isinstance(request, fuse.Setlkw):
            await self.setlkw(request)
        else:
            await self.setlk(request)

    async def flush(self, request: fuse.Flush) -> None:
        self.locks.release(request.nodeid, request.lock_owner)

    async def release(self, request: fuse.Release) -> None:
        if request.release_flags & fuse.ReleaseFlags.FLOCK_UNLOCK:
            self.locks.release(request.nodeid, request.lock_owner, flock=True)


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
{lock}
print("held", flush=True)
sys.stdin.read()
"""
POSIX = HOLD.format(lock="fcntl.lockf(file, fcntl.LOCK_EX, 10, 100)")
FLOCK = HOLD.format(lock="fcntl.flock(file, fcntl.LOCK_EX)")


class Holder:
    """A process that holds a lock until it is told to go."""

    def __init__(self, code: str, path: Path) -> None:
        command = [sys.executable, "-I", "-S", "-c", code, str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    async def __aenter__(self) -> Self:
        assert self.process.stdout is not None
        assert await outside(self.process.stdout.readline) == "held\n"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.process.kill()
        with anyio.CancelScope(shield=True):
            await outside(self.process.communicate)


async def test_locks_are_left_to_the_kernel_when_there_is_no_handler(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory) as session, Holder(POSIX, directory / "file"):
        assert fuse.InitFlags.POSIX_LOCKS not in session.features
        assert fuse.InitFlags.FLOCK_LOCKS not in session.features


async def test_a_posix_lock_arrives_with_its_range_and_owner(directory: Path) -> None:
    operations = Locking()
    async with serving(operations, directory) as session, Holder(POSIX, directory / "file") as holder:
        assert fuse.InitFlags.POSIX_LOCKS in session.features
        (request,) = operations.saw(fuse.Setlkw)
        assert (request.start, request.end, request.lock_pid) == (100, 109, holder.process.pid)
        assert request.owner
        assert not request.lk_flags & fuse.LockFlags.FLOCK


async def test_a_lock_in_the_way_is_eagain_and_getlk_tells_who_holds_it(directory: Path) -> None:
    code = """
import fcntl, struct, sys
file = open(sys.argv[1], "r+b")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 105)
except BlockingIOError as exc:
    print(exc.errno)
wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
kind, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, wanted))
print(kind == fcntl.F_WRLCK, start, length, pid)
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 110)
kind, *_ = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 1, 0)))
print(kind == fcntl.F_UNLCK)
"""
    async with serving(Locking(), directory), Holder(POSIX, directory / "file") as holder:
        output = await client(code, directory / "file")
    assert output.split("\n") == [str(errno.EAGAIN), f"True 100 10 {holder.process.pid}", "True"]


async def test_closing_any_descriptor_releases_a_process_posix_locks(directory: Path) -> None:
    operations = Locking()
    code = """
import fcntl, sys
first, second = open(sys.argv[1], "r+b"), open(sys.argv[1], "r+b")
fcntl.lockf(first, fcntl.LOCK_EX)
second.close()
input()
"""
    async with serving(operations, directory):
        await client(code, directory / "file", expected=1)  # no input: EOFError ends it
        assert len(operations.locks) == 0
        (lock,) = operations.saw(fuse.Setlkw)
        assert lock.owner in [flush.lock_owner for flush in operations.saw(fuse.Flush)]


async def test_a_waiting_lock_is_granted_when_the_holder_goes(directory: Path) -> None:
    operations = Locking()
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX); print('granted')"
    async with serving(operations, directory):
        async with Holder(POSIX, directory / "file"):
            operations.is_waiting = anyio.Event()
            async with anyio.create_task_group() as group:
                outputs: list[str] = []

                async def wait_for_lock() -> None:
                    outputs.append(await client(code, directory / "file"))

                group.start_soon(wait_for_lock)
                await operations.is_waiting.wait()
                assert not outputs
                group.start_soon(release_soon, operations)
        assert outputs == ["granted"]


async def release_soon(operations: Locking) -> None:
    """What an administrator may do: take a lock away."""
    request = operations.saw(fuse.Setlkw)[0]
    operations.locks.release(request.nodeid, request.owner)


@pytest.mark.parametrize("restart", [False, True])
async def test_an_alarm_ends_the_wait_for_a_lock_unless_the_call_restarts(directory: Path, restart: bool) -> None:
    operations = Locking()
    program = f"""
import ctypes, fcntl, os, signal, sys
file = open(sys.argv[1], "r+b")
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, {not restart})
libc = ctypes.CDLL(None, use_errno=True)
flock = (ctypes.c_char * 32)()
ctypes.memmove(flock, bytes([fcntl.F_WRLCK]), 1)
print("ready", flush=True)
signal.setitimer(signal.ITIMER_REAL, 0.3)
result = libc.fcntl(file.fileno(), fcntl.F_SETLKW, flock)
print(result, ctypes.get_errno())
"""
    async with serving(operations, directory), Holder(POSIX, directory / "file"):
        operations.is_waiting = anyio.Event()
        command = [sys.executable, "-I", "-S", "-c", program, str(directory / "file")]
        waiter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            await operations.is_waiting.wait()
            if restart:
                while len(operations.saw(fuse.Setlkw)) < 3:  # the holder's, ours, and ours again
                    await anyio.sleep(0.01)
                await release_soon(operations)
            output, _ = await outside(waiter.communicate)
        finally:
            waiter.kill()
    assert output.split("\n")[1] == ("0 0" if restart else f"-1 {errno.EINTR}")


async def test_ctrl_c_ends_the_wait_for_a_flock(directory: Path) -> None:
    operations = Locking()
    async with serving(operations, directory), Holder(FLOCK, directory / "file"):
        operations.is_waiting = anyio.Event()
        command = [sys.executable, "-I", "-S", "-c", FLOCK, str(directory / "file")]
        waiter = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        await operations.is_waiting.wait()
        waiter.send_signal(signal.SIGINT)
        _, complaint = await outside(waiter.communicate)
        assert b"KeyboardInterrupt" in complaint


async def test_a_flock_is_of_the_open_file_and_goes_with_it(directory: Path) -> None:
    operations = Locking()
    code = """
import fcntl, os, sys
first, second = open(sys.argv[1], "r+b"), open(sys.argv[1], "r+b")
fcntl.flock(first, fcntl.LOCK_EX)
try:
    fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
except BlockingIOError:
    print("refused")
copy = os.dup(first.fileno())
first.close()
try:
    fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
except BlockingIOError:
    print("still refused")
os.close(copy)
fcntl.flock(second, fcntl.LOCK_SH)
print("granted")
"""
    async with serving(operations, directory) as session:
        assert fuse.InitFlags.FLOCK_LOCKS in session.features
        assert await client(code, directory / "file") == "refused\nstill refused\ngranted"
        request, *_ = operations.saw(fuse.Setlkw)
        assert request.lk_flags & fuse.LockFlags.FLOCK
    assert len(operations.locks) == 0


async def test_two_programs_that_wait_for_each_other_are_told(directory: Path) -> None:
    code = """
import fcntl, os, sys
file = open(sys.argv[1], "r+b")
to_parent, to_child = os.pipe(), os.pipe()
child = os.fork()
mine, other = (0, 1) if child else (1, 0)
fcntl.lockf(file, fcntl.LOCK_EX, 1, mine)
os.write(to_child[1] if child else to_parent[1], b"x")
os.read(to_parent[0] if child else to_child[0], 1)
try:
    fcntl.lockf(file, fcntl.LOCK_EX, 1, other)
    print("granted", flush=True)
except OSError as exc:
    print(exc.errno, flush=True)
file.close()
if child:
    os.waitpid(child, 0)
"""
    async with serving(Locking(), directory):
        output = await client(code, directory / "file")
    assert sorted(output.split()) == [str(errno.EDEADLK), "granted"]
