"""Every example runs, as its first lines say, on both loops where it takes one."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiovfs.fuse import mountpoint

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED = {
    "backend_fs.py",
    "demo.py",
    "disk_files.py",
    "hello_fuse.py",
    "live_tasks.py",
    "mount_from_python.py",
    "open_files.py",
    "passthrough_fuse.py",
    "read_async.py",
    "restart_fuse.py",
}


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED


@pytest.mark.parametrize("loop", [(), ("aiomemory://example", "--trio")], ids=["asyncio", "trio"])
def test_files_are_opened_read_anywhere_and_changed_in_one_step(loop: tuple[str, ...]) -> None:
    output = run("open_files.py", *loop)
    assert "at 8000: 1000\n" in output
    assert "lines: 5000\nstill whole: 40000\n" in output
    assert output.endswith("after it: ['new', 'numbers.gz']\n")


@pytest.mark.parametrize("loop", [(), ("--trio",)], ids=["asyncio", "trio"])
def test_files_on_disk_are_written_read_and_gone(loop: tuple[str, ...]) -> None:
    output = run("disk_files.py", *loop)
    assert (
        "settings: colour = red\nlines: 100\nends: 00010203 fcfdfeff\nin place: 8 6465666768696a6b\ndirect: " in output
    )
    assert output.endswith("sizes: {'data': 65536, 'log': 8890, 'settings': 13}\ngone: True\n")


@pytest.mark.mounted
def test_the_demo_mounts_an_archive_and_a_memory_store() -> None:
    output = run("demo.py")
    assert "sea.txt:1:I must go down to the seas again" in output
    assert "100,10000" in output
    assert "first line\nsecond line\n" in output


@contextmanager
def served(mountpoint_path: Path, name: str, *arguments: str) -> Iterator[None]:
    """An example that serves a mount until it is unmounted, and then ends well."""
    path = str(mountpoint_path)
    server = subprocess.Popen([sys.executable, str(EXAMPLES / name), *arguments])
    try:
        deadline = time.monotonic() + 20
        while not mountpoint.is_mounted(path):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
        mountpoint.unmount(path)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
        if mountpoint.is_mounted(path):
            mountpoint.unmount(path, lazy=True)


@pytest.mark.mounted
@pytest.mark.parametrize("options", [[], ["passthrough"]], ids=["by handlers", "by the kernel"])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_passthrough_shows_and_changes_another_directory(tmp_path: Path, loop: str, options: list[str]) -> None:
    source, mnt = tmp_path / "source", tmp_path / "mnt"
    source.mkdir()
    mnt.mkdir()
    (source / "there").write_text("before\n")
    with served(mnt, "passthrough_fuse.py", str(source), str(mnt), loop, *options):
        assert os.statvfs(mnt).f_blocks == os.statvfs(source).f_blocks
        assert (mnt / "there").read_text() == "before\n"
        (mnt / "folder").mkdir()
        (mnt / "folder" / "made").write_bytes(b"x" * 300_000)
        (mnt / "folder" / "made").rename(mnt / "moved")
        (mnt / "link").symlink_to("moved")
        assert (mnt / "link").read_bytes() == b"x" * 300_000
        (mnt / "moved").chmod(0o600)
        (mnt / "folder").rmdir()
        with (mnt / "there").open("r+") as there:
            os.link(mnt / "there", mnt / "again")
            assert os.stat(mnt / "there").st_ino == os.stat(mnt / "again").st_ino
            (mnt / "again").unlink()
            (mnt / "there").unlink()
            assert there.read() == "before\n"  # the file has no name any more
            there.truncate(3)
            os.posix_fallocate(there.fileno(), 0, 10)
            assert os.fstat(there.fileno()).st_size == 10
            with (mnt / "moved").open("r+b") as moved:
                assert os.copy_file_range(there.fileno(), moved.fileno(), 3, 0, 5) == 3
        assert (mnt / "moved").read_bytes()[:10] == b"xxxxxbefxx"
        os.utime(mnt / "link", ns=(1, 2), follow_symlinks=False)
        assert os.lstat(source / "link").st_mtime_ns == 2
        os.setxattr(mnt / "moved", "user.colour", b"blue")
        assert os.listxattr(mnt / "moved") == ["user.colour"]
        assert os.getxattr(source / "moved", "user.colour") == b"blue"
        os.mkfifo(mnt / "fifo")
        assert stat.S_ISFIFO((source / "fifo").stat().st_mode)
        (mnt / "fifo").unlink()
        assert sorted(path.name for path in mnt.iterdir()) == ["link", "moved"]
    assert sorted(path.name for path in source.iterdir()) == ["link", "moved"]
    assert (source / "moved").stat().st_mode & 0o777 == 0o600


@pytest.mark.mounted
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_live_tasks_shows_where_tasks_wait(tmp_path: Path, loop: str) -> None:
    with served(tmp_path, "live_tasks.py", str(tmp_path), loop):
        workers = [path for path in tmp_path.iterdir() if path.name.startswith("worker")]
        assert len(workers) == 3
        assert "live_tasks.py" in workers[0].read_text()
        assert "in worker" in workers[0].read_text()


@pytest.mark.mounted
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_hello_fuse_shows_one_file_until_it_is_unmounted(tmp_path: Path, loop: str) -> None:
    assert len((EXAMPLES / "hello_fuse.py").read_text().splitlines()) < 25
    with served(tmp_path, "hello_fuse.py", str(tmp_path), loop):
        assert [path.name for path in tmp_path.iterdir()] == ["hello"]
        assert (tmp_path / "hello").read_text() == "Hello from Python!\n"


@pytest.mark.mounted
def test_mount_from_python_writes_through_the_mount(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "mnt").mkdir()
    output = run("mount_from_python.py", (tmp_path / "store").as_uri(), str(tmp_path / "mnt"))
    assert "unmounted" in output
    assert (tmp_path / "store" / "from-python.txt").read_text() == "written through the mount\n"


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_read_async_lists_sizes(tmp_path: Path, loop: str) -> None:
    (tmp_path / "a.txt").write_text("12345")
    (tmp_path / "b.txt").write_text("1")
    assert run("read_async.py", str(tmp_path), loop).split() == ["5", "a.txt", "1", "b.txt"]


@pytest.mark.mounted
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_server_is_restarted_and_killed_while_a_program_has_a_note_open(tmp_path: Path, loop: str) -> None:
    command = [sys.executable, "-m", "aiovfs.fuse", "keep", sys.executable, str(EXAMPLES / "restart_fuse.py")]
    keeper = subprocess.Popen([*command, str(tmp_path), loop])
    try:
        while not mountpoint.is_mounted(str(tmp_path)):
            assert keeper.poll() is None
            time.sleep(0.02)
        with (tmp_path / "note").open("w+") as note:
            servers = [int((tmp_path / "server").read_text())]
            for number in (signal.SIGHUP, signal.SIGKILL, signal.SIGHUP):
                note.write(f"before {number.name}\n")
                note.flush()
                (tmp_path / "other").write_text("closing a note saves all of them")
                os.kill(servers[-1], number)
                while int((tmp_path / "server").read_text()) == servers[-1]:
                    time.sleep(0.02)
                servers.append(int((tmp_path / "server").read_text()))
            note.seek(0)
            assert note.read() == "before SIGHUP\nbefore SIGKILL\nbefore SIGHUP\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["note", "other", "server"]
        assert len(set(servers)) == 4
        mountpoint.unmount(str(tmp_path))
        assert keeper.wait(20) == 0
    finally:
        keeper.kill()
        keeper.wait()
        if mountpoint.is_mounted(str(tmp_path)):
            mountpoint.unmount(str(tmp_path), lazy=True)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_backend_of_ones_own_has_everything_from_its_base(loop: str) -> None:
    lines = run("backend_fs.py", loop).splitlines()
    assert lines == [
        "['notes/a.txt', 'notes/deep/b.txt']",
        "first and more",
        "['moved/a.txt', 'moved/deep/b.txt', 'other']",
    ]
