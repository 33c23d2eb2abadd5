"""Directories mounted by the command line, for tests, and the processes behind them."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Place", "Run", "is_mounted", "program", "script", "until", "write_tree"]

MARK = "AIOVFS_TEST_RUN"
"""Environment variable that marks every process of a run, and what those start."""

MOUNT_TIMEOUT = 30.0
COMMAND_TIMEOUT = 40.0


def program(*command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; returns what it printed, raises with what it complained about."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=COMMAND_TIMEOUT,
        check=False,
    )
    if result.returncode:
        shown = " ".join(str(part) for part in command)[:300]
        raise AssertionError(
            f"`{shown}` ended with {result.returncode}:\n{result.stdout[-2000:]}{result.stderr[-4000:]}"
        )
    return result.stdout


def script(code: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run Python code in a process of its own: a page fault on a mount must not hold our GIL."""
    return program(sys.executable, "-c", code, *arguments, cwd=cwd)


def until(condition: Callable[[], bool], what: str, *, seconds: float = 15.0) -> None:
    """Return when `condition` holds; raises when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.01)


def unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field)


def mountpoints() -> list[str]:
    """What is mounted, without touching it."""
    return [unescape(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def is_mounted(directory: Path) -> bool:
    """Whether something is mounted on `directory`, dead or alive."""
    return str(directory) in mountpoints()


def detach(directory: str) -> None:
    """Take a mount away whatever state it is in."""
    command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
    subprocess.run([*command, directory], capture_output=True, check=False)


def marked_processes(mark: str) -> list[int]:
    """Processes that inherited the mark, without this one."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = Path(entry.path, "environ").read_bytes()
            except OSError:
                continue  # ended, or somebody else's
            if wanted in environment.split(b"\0"):
                found.append(int(entry.name))
    return found


def kill_marked(mark: str) -> None:
    for pid in marked_processes(mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def clean_up(base: str) -> None:
    """Kill what the run started, then take away what it mounted."""
    kill_marked(base)
    for directory in reversed(mountpoints()):
        if directory.startswith(base + "/"):
            detach(directory)


def reap() -> None:
    """The reaper's whole life: wait until the run has ended or died, then clean up."""
    base = sys.argv[1]
    sys.stdin.buffer.read()
    clean_up(base)


class Run:
    """Everything one test run started and mounted, below one directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._count = 0
        # Its standard input is a pipe from this process: it ends when we do, however that happens.
        self._reaper = subprocess.Popen(
            [sys.executable, __file__, str(base)], stdin=subprocess.PIPE, start_new_session=True
        )

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """For our processes: marked, with a cache of its own, and nothing of the machine's AWS configuration."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC_"))}
        ours = {
            MARK: str(self.base),
            "XDG_CACHE_HOME": str(self.base / "cache"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
        return {**kept, **ours, **(more or {})}

    def directory(self, kind: str) -> Path:
        """A new, empty directory."""
        self._count += 1
        path = self.base / f"{kind}-{self._count}"
        path.mkdir()
        return path

    def kill(self) -> None:
        """Kill every server; what waits for one gets an error."""
        kill_marked(str(self.base))

    def end(self) -> None:
        """Let the reaper do its work, and wait for it."""
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
        self._reaper.wait(20)


class Place:
    """A store and the directory it is mounted on by `aiovfs mount`."""

    def __init__(
        self,
        run: Run,
        url: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        in_foreground: bool = False,
        backing: Path | None = None,
    ) -> None:
        self.run = run
        self.url = url
        self.arguments = arguments
        self.environment = run.environment(environment)
        self.in_foreground = in_foreground
        self.backing = backing
        """The directory on disk behind the store, if it has one."""
        self.directory = run.directory("mnt")
        self._process: subprocess.Popen[str] | None = None
        self._count = 0

    def aiovfs(self, *arguments: str | Path) -> str:
        """Run one command of `aiovfs`."""
        return program(sys.executable, "-m", "aiovfs", *arguments, environment=self.environment)

    def mount(self, *arguments: str) -> None:
        """Mount, and return when the file system answers."""
        command = ["mount", self.url, str(self.directory), *self.arguments, *arguments]
        if not self.in_foreground:
            self.aiovfs(*command, "--background")
            return
        # Its output goes to a file: a pipe that nobody reads would stop it one day.
        with open(self.run.base / "foreground.log", "a+") as log:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "aiovfs", *command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )

        def is_ready() -> bool:
            if process.poll() is not None:
                said = (self.run.base / "foreground.log").read_text()
                raise AssertionError(f"aiovfs mount ended with {process.returncode}: {said[-2000:]}")
            return is_mounted(self.directory)

        until(is_ready, f"{self.url} is mounted", seconds=MOUNT_TIMEOUT)

    def umount(self) -> None:
        """Unmount with `aiovfs umount`: returns when everything is in the store."""
        if is_mounted(self.directory):
            self.aiovfs("umount", str(self.directory))
        if self._process is not None:
            assert self._process.wait(COMMAND_TIMEOUT) == 0
            self._process = None

    def remount(self) -> None:
        """Unmount and mount again: nothing cached in memory or in the kernel is left."""
        self.umount()
        self.mount()

    def ensure_mounted(self) -> None:
        """Bring the mount back if a test broke it."""
        try:
            os.stat(self.directory)
            if is_mounted(self.directory):
                return
        except OSError:
            detach(str(self.directory))
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.mount()

    def new_directory(self, name: str) -> Path:
        """A new directory inside of the mount."""
        self._count += 1
        path = self.directory / f"{self._count:02}-{re.sub('[^a-z0-9]+', '-', name)[:40]}"
        path.mkdir()
        return path

    @property
    def pid(self) -> int:
        """The process that serves the mount, as recorded by it."""
        from aiovfs.mount.registry import find_mount, find_record

        row = find_mount(self.directory)
        assert row is not None, f"{self.directory} is not mounted"
        record = find_record(row)
        assert record is not None, f"nobody recorded that they serve {self.directory}"
        return record.pid


def write_tree(root: Path, *, odd: bool = True) -> Path:
    """A small source tree with an empty file and a larger one; if `odd`, with awkward names and an empty directory."""
    rng = random.Random(1)
    for folder in ("", "package", "package/sub", "docs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(5):
            (root / folder / f"module{number}.py").write_bytes(b"x = 1\n" * rng.randint(1, 800))
    (root / "empty").touch()
    (root / "data.bin").write_bytes(rng.randbytes(300_001))
    if odd:
        (root / "docs" / "a name with spaces, ümlauts & 100%.txt").write_text("odd\n")
        (root / "nothing in it").mkdir()
    return root


if __name__ == "__main__":
    reap()
