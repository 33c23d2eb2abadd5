"""Mounts come and go: several in one process, many in a row, taken away under open files, killed, replaced."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import Place, Run, is_mounted, program, until
from servers import Proxy, S3Server

TWO_MOUNTS = """
import sys
from pathlib import Path
import aiovfs

one, two, first, second = map(Path, sys.argv[1:])
in_process = {in_process}
with (
    aiovfs.mount(f"file://{{one}}", first, in_process=in_process),
    aiovfs.mount(f"file://{{two}}", second, in_process=in_process),
):
    (first / "file").write_text("in the first")
    (second / "file").write_text("in the second")
    assert (first / "file").read_text() == "in the first"
    assert (second / "file").read_text() == "in the second"
assert (one / "file").read_text() == "in the first"
assert (two / "file").read_text() == "in the second"
"""

FIFTY_MOUNTS = """
import os, sys, threading
from pathlib import Path
import aiovfs

store, directory = map(Path, sys.argv[1:])
numbers = []
for number in range(50):
    with aiovfs.mount(f"file://{store}", directory, in_process=True):
        (directory / "file").write_text(str(number))
        assert (directory / "file").read_text() == str(number)
        assert os.listdir(directory) == ["file"]
    assert not os.path.ismount(directory)
    assert (store / "file").read_text() == str(number)
    numbers.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
print(numbers[4], numbers[-1])
assert numbers[-1][0] <= numbers[4][0], f"descriptors leak: {numbers}"
assert numbers[-1][1] <= numbers[4][1], f"threads leak: {numbers}"
"""


def python(run: Run, code: str, *arguments: Path) -> str:
    return program(sys.executable, "-c", code, *arguments, environment=run.environment())


@pytest.mark.parametrize("in_process", [True, False])
def test_two_mounts_of_one_process_do_not_mix(run: Run, in_process: bool) -> None:
    folders = [run.directory(kind) for kind in ("store", "store", "mnt", "mnt")]
    python(run, TWO_MOUNTS.format(in_process=in_process), *folders)
    assert not any(is_mounted(folder) for folder in folders)


def test_fifty_mounts_in_a_row_leave_nothing_behind(run: Run) -> None:
    python(run, FIFTY_MOUNTS, run.directory("store"), run.directory("mnt"))


def wait_for_end(pid: int) -> None:
    until(lambda: not Path(f"/proc/{pid}").exists(), f"process {pid} has ended")


def test_a_mount_with_open_files_is_busy(local: Place) -> None:
    with open(local.directory / "file", "w") as file:
        file.write("x")
        result = subprocess.run(["umount", local.directory], capture_output=True, text=True, check=False)
        assert result.returncode != 0
        assert "busy" in result.stderr
    assert (local.directory / "file").read_text() == "x"


def test_files_open_at_a_lazy_unmount_can_be_used_to_their_end(local: Place) -> None:
    assert local.backing is not None
    server = local.pid
    (local.directory / "old").write_text("old content")
    with open(local.directory / "old") as old, open(local.directory / "new", "w") as new:
        program("umount", "-l", local.directory)
        assert not is_mounted(local.directory)
        assert old.read() == "old content"
        new.write("new content")
    wait_for_end(server)
    assert (local.backing / "new").read_text() == "new content"


def test_the_server_ends_after_an_unmount_from_outside(s3: Place) -> None:
    assert s3.backing is not None
    server = s3.pid
    (s3.directory / "file").write_text("stored")
    program("umount", s3.directory)
    wait_for_end(server)
    assert (s3.backing / "file").read_text() == "stored"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts_and_keeps_what_was_written(s3: Place, number: signal.Signals) -> None:
    assert s3.backing is not None
    server = s3.pid
    (s3.directory / "file").write_text("stored")
    os.kill(server, number)
    wait_for_end(server)
    assert not is_mounted(s3.directory)
    assert (s3.backing / "file").read_text() == "stored"


def kill_server(place: Place) -> None:
    server = place.pid
    os.kill(server, signal.SIGKILL)
    wait_for_end(server)
    with pytest.raises(OSError, match="not connected") as caught:
        os.stat(place.directory)
    assert caught.value.errno == errno.ENOTCONN
    assert is_mounted(place.directory)


def test_a_dead_mount_is_cleaned_by_umount(local: Place) -> None:
    kill_server(local)
    local.aiovfs("umount", local.directory)
    assert not is_mounted(local.directory)
    assert os.listdir(local.directory) == []


def test_the_umount_of_a_dead_mount_says_where_unsaved_files_are(s3: Place) -> None:
    fd = os.open(s3.directory / "unsaved", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"precious")
    kill_server(s3)
    with contextlib.suppress(OSError):
        os.close(fd)
    command = [sys.executable, "-m", "aiovfs", "umount", s3.directory]
    done = subprocess.run(command, env=s3.environment, capture_output=True, text=True, check=True)
    folder = Path(done.stderr.splitlines()[-1].partition("uploaded: ")[2])
    assert [path.read_bytes() for path in folder.iterdir()] == [b"precious"]


def test_a_dead_mount_is_not_mounted_over(local: Place) -> None:
    kill_server(local)
    with pytest.raises(AssertionError, match="--replace"):
        local.mount()


def test_a_dead_mount_is_replaced_on_request(local: Place) -> None:
    (local.directory / "file").write_text("still here")
    kill_server(local)
    local.mount("--replace")
    assert (local.directory / "file").read_text() == "still here"


def test_a_mounted_directory_is_not_mounted_again(local: Place) -> None:
    with pytest.raises(AssertionError, match="aiovfs: "):
        local.mount()
    (local.directory / "file").write_text("undisturbed")
    assert (local.directory / "file").read_text() == "undisturbed"


@pytest.fixture
def distant(run: Run, s3_server: S3Server, proxied: Callable[[int], Proxy]) -> Iterator[tuple[Place, Proxy]]:
    """A mounted bucket with one file of 3 MB, and the weather between it and its server."""
    proxy, bucket = proxied(s3_server.port), s3_server.new_bucket()
    s3_server.path(bucket, "file").write_bytes(bytes(3_000_000))
    environment = {**s3_server.env, "AWS_ENDPOINT_URL": proxy.url, "AWS_ALLOW_HTTP": "true"}
    place = Place(run, f"s3://{bucket}", environment=environment)
    place.mount()
    pid = place.pid
    yield place, proxy
    proxy.fair()
    if os.path.exists(f"/proc/{pid}"):
        # umount(2) waits for pages that a request was to fill which fell into the black hole.
        os.kill(pid, signal.SIGKILL)
        place.umount()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_reader_can_be_killed_while_the_server_is_silent(
    distant: tuple[Place, Proxy], number: signal.Signals
) -> None:
    place, proxy = distant
    os.stat(place.directory / "file")
    proxy.reset()
    proxy.black_hole()
    reader = subprocess.Popen(["sha256sum", place.directory / "file"], stdout=subprocess.DEVNULL)
    until(lambda: proxy.requests > 0, "the reader waits for the server")
    os.kill(reader.pid, number)
    until(lambda: reader.poll() is not None, "the reader is gone", seconds=5)


@pytest.mark.parametrize("way", ["umount", "signal"])
def test_the_end_does_not_wait_for_a_silent_server(distant: tuple[Place, Proxy], way: str) -> None:
    place, proxy = distant
    pid = place.pid
    os.stat(place.directory / "file")
    proxy.reset()
    proxy.black_hole()
    reader = subprocess.Popen(["sha256sum", place.directory / "file"], stdout=subprocess.DEVNULL)
    until(lambda: proxy.requests > 0, "the reader waits for the server")
    if way == "umount":
        reader.kill()
        reader.wait()
        program("umount", place.directory)
    else:
        os.kill(pid, signal.SIGTERM)
    # A request alone would wait 30 s for its answer.
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the server has ended", seconds=15)
    reader.wait(5)


def test_a_reader_waits_for_a_server_that_is_away_for_a_moment(distant: tuple[Place, Proxy]) -> None:
    place, proxy = distant
    os.stat(place.directory / "file")
    proxy.refuse()
    reader = subprocess.Popen(["sha256sum", place.directory / "file"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    proxy.fair()
    output, _ = reader.communicate(timeout=30)
    assert output.split()[0] == hashlib.sha256(bytes(3_000_000)).hexdigest()
