"""Many clients, large directories, servers that are killed, unmounted or starved while they work."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiovfs.errors import MountError
from aiovfs.fuse import mountpoint

pytestmark = [pytest.mark.mounted, pytest.mark.parametrize("loop", ["asyncio", "trio"])]

SERVER = Path(__file__).parent / "loaded_server.py"

# Threads that use the mount until it is gone. One line is printed when each has had an answer, and what ended them.
CLIENTS = """
import collections, json, os, sys, threading
directory, count = sys.argv[1], int(sys.argv[2])
answered = threading.Semaphore(0)
ends = collections.Counter()

def use(number):
    is_first = True
    try:
        while True:
            os.stat(f"{directory}/many/n{number}")
            fd = os.open(f"{directory}/file", os.O_RDONLY)
            try:
                os.pread(fd, 65536, number * 4096)
            finally:
                os.close(fd)
            os.listdir(directory)
            if is_first:
                is_first = False
                answered.release()
    except OSError as error:
        ends[error.errno] += 1

threads = [threading.Thread(target=use, args=(number,)) for number in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    answered.acquire()
print("all answered", flush=True)
for thread in threads:
    thread.join()
print(json.dumps(ends), flush=True)
"""
GATE = """
import os, sys, threading
directory, count = sys.argv[1], int(sys.argv[2])
threading.stack_size(1 << 18)
done = []

def read():
    fd = os.open(f"{directory}/gate", os.O_RDONLY)
    done.append(len(os.pread(fd, 10, count)))
    os.close(fd)

threads = [threading.Thread(target=read) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(done))
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    with contextlib.suppress(MountError):
        mountpoint.unmount(str(path), lazy=True)


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def served(directory: Path, loop: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    with started(str(SERVER), str(directory), loop, *words) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "serving\n"
        yield server


def ended_well(server: subprocess.Popen[str]) -> None:
    output, errors = server.communicate(timeout=50)
    assert (output, server.returncode) == ("ended\n", 0), errors


def lazily_unmounted(server: subprocess.Popen[str], directory: Path) -> None:
    mountpoint.unmount(str(directory), lazy=True)


def killed(server: subprocess.Popen[str], directory: Path) -> None:
    server.kill()
    server.wait()


def aborted(server: subprocess.Popen[str], directory: Path) -> None:
    device = mountpoint.device_at(str(directory))
    assert device is not None
    control = Path("/sys/fs/fuse/connections")
    if not control.is_mount():  # systemd mounts it; in a container nobody has
        subprocess.run(["mount", "-t", "fusectl", "none", str(control)], check=True)
    (control / device.partition(":")[2] / "abort").write_text("1")


@pytest.mark.parametrize("end", [lazily_unmounted, killed, aborted])
def test_the_end_of_a_mount_under_load_leaves_nobody_waiting(
    directory: Path, loop: str, end: Callable[[subprocess.Popen[str], Path], None]
) -> None:
    with (
        served(directory, loop) as server,
        started("-c", CLIENTS, str(directory), "16") as clients,
    ):
        assert clients.stdout is not None
        assert clients.stdout.readline() == "all answered\n"
        end(server, directory)
        said, errors = clients.communicate(timeout=50)
        assert clients.returncode == 0, errors
        ends = {int(number): count for number, count in json.loads(said).items()}
        assert sum(ends.values()) == 16
        # After an unmount the directory below is seen, where these names are not.
        assert set(ends) <= {errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT, errno.EIO}
        if end is killed:
            mountpoint.unmount(str(directory), lazy=True)
        else:
            ended_well(server)
    assert not mountpoint.is_mounted(str(directory))
    with served(directory, loop) as server:
        assert sorted(os.listdir(directory)) == ["file", "gate", "many", "never", "opened"]
        mountpoint.unmount(str(directory))
        ended_well(server)


@pytest.mark.parametrize("max_tasks", [2000, 99])
def test_a_thousand_clients_wait_at_a_time(directory: Path, loop: str, max_tasks: int) -> None:
    """With fewer tasks than clients those that are too many queue; here the first ones let them in."""
    waiting = min(max_tasks, 1000)
    with served(directory, loop, f"max_tasks={max_tasks}") as server:
        program = GATE.replace("count)))", f"{waiting})))")
        done = subprocess.run(
            [sys.executable, "-c", program, str(directory), "1000"],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.stdout == "10000\n", done.stderr
        mountpoint.unmount(str(directory))
        ended_well(server)


def test_a_directory_of_a_million_names_is_listed_without_keeping_them(directory: Path, loop: str) -> None:
    def resident_kib() -> int:
        status = Path(f"/proc/{server.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    with served(directory, loop) as server:
        os.listdir(directory)
        before = resident_kib()
        with os.scandir(directory / "many") as names:
            count = sum(1 for _ in names)
        assert count == 1_000_000
        assert resident_kib() - before < 20_000
        assert os.stat(directory / "many" / "n999999").st_ino == 1000 + 999_999
        mountpoint.unmount(str(directory))
        ended_well(server)


def test_a_server_without_descriptors_answers_what_needs_none_and_ends_in_order(directory: Path, loop: str) -> None:
    with served(directory, loop, "scarce") as server:
        assert (directory / "file").stat().st_size == 1 << 20
        for _ in range(3):
            with pytest.raises(OSError, match="Too many open files") as caught:
                os.open(directory / "opened", os.O_RDONLY)
            assert caught.value.errno == errno.EMFILE
            assert (directory / "file").read_bytes() == bytes(1 << 20)
        mountpoint.unmount(str(directory))
        ended_well(server)


def test_a_handler_that_never_returns_holds_up_neither_others_nor_the_end(directory: Path, loop: str) -> None:
    with served(directory, loop, "grace=1") as server:
        with started("-c", f"open('{directory}/never').read()") as client:
            for _ in range(100):
                assert (directory / "file").stat().st_size == 1 << 20
            client.kill()
            client.wait(50)
        program = f"file = open('{directory}/never'); print('open', flush=True); file.read()"
        with started("-c", program) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == "open\n"
            server.terminate()
            ended_well(server)
            _, errors = client.communicate(timeout=50)
            assert "[Errno " in errors
