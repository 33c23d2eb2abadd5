"""The asker's side of a serving child: start it, hand it the spec, hear what became of it. Blocking; no loop needed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import IO, Any

from aiovfs.errors import MountError
from aiovfs.mount.child import BOOTSTRAP
from aiovfs.mount.frames import UNMOUNT, encode, rebuild_error, receive
from aiovfs.mount.spec import MountSpec, UnpicklableError

__all__ = ["ChildServer"]

START_TIMEOUT = 120.0  # seconds; opening a store has deadlines of its own, far below
FAREWELL_TIMEOUT = 10.0  # seconds from the child's last word to its end


class ChildServer:
    """One child process that serves one mount.

    `start` returns when the file system answers. `wait` returns when the mount has ended and everything is in the
    store, and raises what the drain raised. Methods may be called from several threads.
    """

    def __init__(self, spec: MountSpec, *, log: IO[bytes] | None = None) -> None:
        self.spec = spec
        self.url = spec.display_url
        self.error: Exception | None = None
        self._log = log
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._draining = threading.Event()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the file system is mounted and served."""
        if self._process is None or self._draining.is_set() or self._ended.is_set():
            return False
        return self._process.poll() is None

    def start(self) -> None:
        """Mount. Raises what went wrong in the child, and `UnpicklableError` when the spec could not travel."""
        payload = self.spec.pickled()
        ours, theirs = socket.socketpair()
        try:
            # URL and directory are arguments for people who read `ps`; the child takes its orders from the socket.
            process = self._process = subprocess.Popen(
                [sys.executable, "-c", BOOTSTRAP, str(theirs.fileno()), self.url, self.spec.directory],
                stdin=subprocess.DEVNULL,
                stdout=self._log or subprocess.DEVNULL,
                stderr=self._log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise MountError(
                f"no process can be started to serve {self.spec.directory}: {sys.executable}: {error.strerror}",
                mountpoint=self.spec.directory,
            ) from error
        finally:
            theirs.close()
        self._control = ours
        try:
            ours.settimeout(START_TIMEOUT)
            search_path = [entry or os.getcwd() for entry in sys.path]
            try:
                ours.sendall(encode(json.dumps(search_path).encode()) + encode(payload))
                report = self._receive()
            except BrokenPipeError:
                report = None
            except TimeoutError:
                raise MountError(
                    f"{self.spec.directory}: the serving process did not answer within {START_TIMEOUT:g} s",
                    mountpoint=self.spec.directory,
                ) from None
            self._check_started(report)
        except BaseException:
            self._abandon()
            raise
        ours.settimeout(None)
        if self.spec.attached:
            threading.Thread(target=self._listen, name=f"aiovfs {self.spec.directory}", daemon=True).start()
        else:
            ours.close()
            # From now on nobody's child; otherwise Popen complains that it still runs when we end.
            process.returncode = 0

    def request_stop(self) -> None:
        """Ask the child to unmount and to drain."""
        control = self._control
        if control is not None and not self._ended.is_set():
            try:
                control.sendall(encode(UNMOUNT))
            except OSError:
                pass  # it has ended meanwhile; `wait` tells how

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False when it did not come within `timeout` seconds. Raises the drain's error."""
        if not self._ended.wait(timeout):
            return False
        if self.error is not None:
            raise self.error
        return True

    def kill(self) -> None:
        """End the child at once. What it had not stored yet stays unstored."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _receive(self) -> dict[str, Any] | None:
        assert self._control is not None
        frame = receive(self._control)
        if frame is None:
            return None
        report: dict[str, Any] = json.loads(frame)
        return report

    def _check_started(self, report: dict[str, Any] | None) -> None:
        if report is None:
            raise self._death("before the file system answered")
        if report["event"] == "unpicklable":
            raise UnpicklableError(report["message"])
        if report["event"] == "failed":
            raise rebuild_error(report["error"])
        if report["event"] != "mounted":
            raise MountError(f"{self.spec.directory}: mounting was stopped", mountpoint=self.spec.directory)
        self.url = report["url"]

    def _listen(self) -> None:
        """Until the child's end. Runs in a thread of its own."""
        last: dict[str, Any] | None = None
        try:
            while (report := self._receive()) is not None:
                last = report
                if report["event"] == "draining":
                    self._draining.set()
            assert self._process is not None
            if last is not None and last["event"] == "failed":
                self.error = rebuild_error(last["error"])
                self._process.wait()
            elif last is None or last["event"] != "ended":
                self.error = self._death("while it served")
            else:
                self._process.wait()
        except Exception as error:
            self.error = error
        finally:
            assert self._control is not None
            self._control.close()
            self._ended.set()

    def _death(self, when: str) -> MountError:
        assert self._process is not None
        try:
            code = self._process.wait(FAREWELL_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return MountError(
            f"{self.spec.directory}: the serving process (pid {self._process.pid}) {how} {when}",
            mountpoint=self.spec.directory,
            hint=f"its log is {self.spec.log_file}" if self.spec.log_file else None,
        )

    def _abandon(self) -> None:
        """Give up a start: the child sees the end of the socket and unmounts what it may have mounted."""
        assert self._control is not None
        assert self._process is not None
        self._control.close()
        self._ended.set()
        try:
            self._process.wait(FAREWELL_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
