"""Mounting as somebody who is not root: through fusermount3.

It happens in a mount name space of its own, where /dev/fuse is open to everybody as distributions have it (not every
container does), the user has a name, and fuse.conf says what the test wants; its end takes every mount along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

UID = 54322
BECOME = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
ENTER = (
    "mount --bind {home}/fuse /dev/fuse && mount --bind {home}/passwd /etc/passwd && touch /etc/fuse.conf && "
    "mount --bind {home}/fuse.conf /etc/fuse.conf && echo ready && exec sleep infinity"
)
SERVE = """
import sys
import anyio, os
from aiovfs import fuse
from aiovfs.errors import AiovfsError

async def main(loop):
    options = fuse.parse_option_string(sys.argv[2])
    try:
        async with fuse.mount(fuse.DictTree({"hello": "Hello!"}), sys.argv[1], **options) as session:
            %s
    except AiovfsError as exc:
        print("refused:", exc)

for backend in ("asyncio", "trio"):
    try:
        __import__(backend)
    except ImportError:
        continue
    anyio.run(main, backend, backend=backend)
"""
LOOK = """
            print(await anyio.to_thread.run_sync(os.listdir, sys.argv[1]))
            line, = [line for line in open("/proc/self/mounts") if f" {sys.argv[1]} " in line]
            print(line.split()[3])
"""


class User:
    """Runs programs as somebody who is not root and owns `mnt`."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="aiovfs-user"))
        self.home.chmod(0o755)
        self.mnt = self.home / "mnt"
        self.mnt.mkdir()
        os.chown(self.mnt, UID, UID)
        device = self.home / "fuse"
        os.mknod(device, 0o666 | 0o020000, os.makedev(10, 229))
        device.chmod(0o666)
        passwd = Path("/etc/passwd").read_text() + f"aiovfs-fuse-test:x:{UID}:{UID}::{self.home}:/bin/sh\n"
        (self.home / "passwd").write_text(passwd)
        (self.home / "fuse.conf").write_text("")
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER.format(home=self.home)]
        self._space = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._space.stdout is not None
        assert self._space.stdout.readline() == "ready\n"
        self._interpreter = self._find_interpreter()

    def _find_interpreter(self) -> str:
        # A program that starts itself: the first start still has the capabilities of root.
        probe = "import subprocess, sys, aiovfs.fuse; subprocess.run([sys.executable, '-c', ''], check=True)"
        for interpreter in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
            if shutil.which(interpreter):
                attempt = self._start(interpreter, probe)
                attempt.communicate()
                if attempt.returncode == 0:
                    return interpreter
        self.close()
        pytest.skip("no interpreter of this version that ordinary users can start")

    def allow_other(self) -> None:
        (self.home / "fuse.conf").write_text("user_allow_other\n")

    def _start(self, interpreter: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["nsenter", f"--mount=/proc/{self._space.pid}/ns/mnt", *BECOME, interpreter, "-P", "-c", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": str(self.home)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def serve(self, options: str = "", inside: str = LOOK) -> subprocess.Popen[str]:
        """Mount a small tree and run `inside` while it is served."""
        return self._start(self._interpreter, SERVE % inside.strip(), str(self.mnt), options)

    def output(self, options: str = "") -> str:
        program = self.serve(options)
        output, _ = program.communicate(timeout=30)
        assert program.returncode == 0, output
        return output

    def is_mounted(self) -> bool:
        return f" {self.mnt} " in Path(f"/proc/{self._space.pid}/mounts").read_text()

    def close(self) -> None:
        self._space.kill()
        self._space.communicate()
        shutil.rmtree(self.home)


@pytest.fixture
def user() -> Iterator[User]:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for tool in ("setpriv", "unshare", "nsenter", "fusermount3"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    user = User()
    yield user
    user.close()


def test_an_ordinary_user_mounts_and_unmounts(user: User) -> None:
    output = user.output("ro,noexec,noatime,max_read=65536")
    assert "['hello']" in output
    words = set(output.splitlines()[1].split(","))
    assert {"ro", "noexec", "noatime", "nosuid", "nodev", "max_read=65536", f"user_id={UID}"} <= words
    assert not user.is_mounted()


@pytest.mark.parametrize("option", ["allow_other", "allow_root"])
def test_letting_others_in_needs_the_leave_of_fuse_conf(user: User, option: str) -> None:
    refused = user.output(option)
    assert "refused: cannot mount" in refused
    assert "/etc/fuse.conf" in refused
    user.allow_other()
    assert "allow_other" in user.output(option)


def test_auto_unmount_works_for_ordinary_users_who_let_root_in(user: User) -> None:
    """The helper looks as root whether the mount is dead: without allow_root it is told EACCES, and leaves it."""
    user.allow_other()
    program = user.serve("auto_unmount,allow_root", "print('serving', flush=True); await anyio.sleep_forever()")
    assert program.stdout is not None
    assert program.stdout.readline() == "serving\n"
    assert user.is_mounted()
    program.kill()
    program.communicate()
    for _ in range(500):
        if not user.is_mounted():
            break
        subprocess.run(["sleep", "0.02"], check=True)
    assert not user.is_mounted()


def test_what_only_root_may_do_is_refused_or_left_as_it_is(user: User) -> None:
    assert "refused: the option context needs" in user.output("context=system_u:object_r:x:s0")
    assert "128 KiB stay" in user.output("readahead=1048576")
