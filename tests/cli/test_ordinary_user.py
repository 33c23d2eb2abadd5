"""Mounting as somebody who is not root: through fusermount3.

It happens in a mount name space of its own, where /dev/fuse is open to everybody as distributions have it (not every
container does) and the user has a name, and whose end takes every mount along.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiovfs.mount import registry

pytestmark = pytest.mark.mounted

UID = 54321
BECOME = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
ENTER = (
    "mount --bind {home}/fuse /dev/fuse && mount --bind {home}/passwd /etc/passwd && echo ready && exec sleep infinity"
)


class OrdinaryUser:
    """Runs `aiovfs` as somebody who is not root and owns what is below `home`."""

    def __init__(self, shell: Any, home: Path) -> None:
        self.home = home
        self.mnt = home / "mnt"
        self.store = home / "store"
        self._environment = {**shell.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._environment["HOME"] = str(home)
        device = home / "fuse"
        os.mknod(device, 0o666 | 0o020000, os.makedev(10, 229))
        device.chmod(0o666)
        passwd = Path("/etc/passwd").read_text() + f"aiovfs-test:x:{UID}:{UID}::{home}:/bin/sh\n"
        (home / "passwd").write_text(passwd)
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER.format(home=home)]
        self._space = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._space.stdout is not None
        assert self._space.stdout.readline() == "ready\n"
        self._interpreter = self._find_interpreter()

    def _find_interpreter(self) -> str:
        """The interpreter of a virtual environment may well lie in root's home, where others cannot start it."""
        # A program that starts itself: the first start still has the capabilities of root.
        probe = "import subprocess, sys, aiovfs.mount.child; subprocess.run([sys.executable, '-c', ''], check=True)"
        for interpreter in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
            if self.run(*BECOME, interpreter, "-P", "-c", probe).returncode == 0:
                return interpreter
        self.close()
        pytest.skip("no interpreter of this version that ordinary users can start")

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """As root, inside."""
        return subprocess.run(
            ["nsenter", f"--mount=/proc/{self._space.pid}/ns/mnt", *map(str, command)],
            env=self._environment, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def become(self, *command: object) -> subprocess.CompletedProcess[str]:
        return self.run(*BECOME, *command)

    def aiovfs(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.become(self._interpreter, "-m", "aiovfs", *arguments)

    def root_aiovfs(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "aiovfs", *arguments)

    def mount(self, *arguments: object) -> registry.Record:
        done = self.aiovfs("mount", self.store, self.mnt, "-b", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        pid = json.loads(done.stdout)["pid"]
        records = [registry._read(path, uid=UID) for path in registry.record_directory(UID).glob("*.json")]
        return next(record for record in records if record is not None and record.pid == pid)

    @property
    def is_mounted(self) -> bool:
        return f" {self.mnt} " in Path(f"/proc/{self._space.pid}/mountinfo").read_text()

    def close(self) -> None:
        self._space.kill()
        self._space.communicate()


@pytest.fixture
def user(shell: Any) -> Iterator[OrdinaryUser]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("/dev/fuse does not exist")
    # Not tmp_path: its parents are closed to others.
    home = Path(tempfile.mkdtemp(prefix="aiovfs-user-", dir="/tmp"))
    (home / "mnt").mkdir()
    (home / "store").mkdir()
    (home / "store/hello.txt").write_text("hello\n")
    for path in (home, *home.rglob("*")):
        os.chown(path, UID, UID)
    user = OrdinaryUser(shell, home)
    yield user
    user.close()
    folder = registry.record_directory(UID)
    for path in folder.glob("*.json"):
        record = registry._read(path, uid=UID)
        assert record is not None
        if record.is_alive:
            os.kill(record.pid, signal.SIGKILL)
        path.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(home)


def test_ordinary_user_mounts_and_unmounts_through_the_helper(user: OrdinaryUser) -> None:
    user.mount()
    seen = user.become("cat", user.mnt / "hello.txt")
    assert seen.stdout == "hello\n", seen.stderr
    user.become("cp", user.mnt / "hello.txt", user.mnt / "copy")
    unmounted = user.aiovfs("umount", user.mnt)
    assert unmounted.returncode == 0, unmounted.stderr
    assert unmounted.stderr == ""
    assert not user.is_mounted
    assert (user.store / "copy").read_text() == "hello\n"


def test_root_unmounts_the_mount_of_a_user_and_waits_for_its_end(user: OrdinaryUser) -> None:
    record = user.mount()
    assert record.uid == UID
    done = user.root_aiovfs("umount", user.mnt)
    assert (done.returncode, done.stderr) == (0, "")
    assert registry.reread(record) is None


@pytest.mark.parametrize("who", ["the user", "root"])
def test_dead_mount_of_an_ordinary_user_is_cleared_away(user: OrdinaryUser, who: str) -> None:
    record = user.mount()
    os.kill(record.pid, signal.SIGKILL)
    done = (user.aiovfs if who == "the user" else user.root_aiovfs)("umount", user.mnt)
    assert done.returncode == 0, done.stderr
    assert "dead mount" in done.stderr
    assert not user.is_mounted


def test_dead_mount_of_an_ordinary_user_is_replaced(user: OrdinaryUser) -> None:
    record = user.mount()
    os.kill(record.pid, signal.SIGKILL)
    assert user.mount("--replace").pid != record.pid
    assert user.become("cat", user.mnt / "hello.txt").stdout == "hello\n"


def test_busy_mount_of_an_ordinary_user_is_not_unmounted(user: OrdinaryUser) -> None:
    user.mount()
    script = f"cd {user.mnt}; echo in; exec sleep 20"
    command = ["nsenter", f"--mount=/proc/{user._space.pid}/ns/mnt", *BECOME, "sh", "-c", script]
    sleeper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "in\n"
    done = user.aiovfs("umount", user.mnt)
    sleeper.kill()
    sleeper.communicate()
    assert done.returncode == 1
    assert "is in use" in done.stderr
    assert done.stderr.count("\n") == 1
    assert user.is_mounted


def test_ordinary_user_cannot_mount_on_the_directory_of_another(user: OrdinaryUser) -> None:
    os.chown(user.mnt, 0, 0)
    done = user.aiovfs("mount", user.store, user.mnt, "-b")
    assert done.returncode == 1
    assert "belongs to another user" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not user.is_mounted


def test_allow_other_that_is_not_allowed_says_where_to_allow_it(user: OrdinaryUser) -> None:
    configuration = Path("/etc/fuse.conf")
    if configuration.exists() and "\nuser_allow_other" in configuration.read_text():
        pytest.skip("/etc/fuse.conf of this machine allows it")
    done = user.aiovfs("mount", user.store, user.mnt, "-b", "--allow-other")
    assert done.returncode == 1
    assert "user_allow_other" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not user.is_mounted
