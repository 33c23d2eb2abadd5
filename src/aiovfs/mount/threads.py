"""Serving a mount in the caller's own process: a thread of its own, with an event loop of its own.

The loop is asyncio (uvloop when installed), whatever the caller runs: backends of fsspec are asyncio's. What this
way of serving may do to the process is told at `embedding.mount`.
"""

from __future__ import annotations

import os
import threading

from aiovfs.errors import MountError
from aiovfs.mount import serving
from aiovfs.mount.frames import single_leaf
from aiovfs.mount.spec import MountSpec

__all__ = ["ThreadServer"]


class ThreadServer:
    """One thread that serves one mount; the same methods as `spawning.ChildServer`."""

    def __init__(self, spec: MountSpec) -> None:
        self.spec = spec
        self.url = spec.display_url
        self.error: Exception | None = None
        self._mounted: serving.Serving | None = None
        self._ready = threading.Event()
        self._draining = threading.Event()
        self._ended = threading.Event()
        # A daemon: otherwise a mount that nobody ended would keep the interpreter from ending.
        self._thread = threading.Thread(target=self._run, name=f"aiovfs {spec.directory}", daemon=True)

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def is_alive(self) -> bool:
        return self._mounted is not None and not self._draining.is_set() and not self._ended.is_set()

    def start(self) -> None:
        """Mount; returns when the file system answers. Raises what went wrong."""
        self._thread.start()
        self._ready.wait()
        if self._mounted is None:
            self._thread.join()
            raise self.error or MountError(f"{self.spec.directory}: mounting was stopped")

    def request_stop(self) -> None:
        if self._mounted is not None:
            self._mounted.terminate()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False when it did not come within `timeout` seconds. Raises the drain's error."""
        if not self._ended.wait(timeout):
            return False
        if self.error is not None:
            raise self.error
        return True

    def _run(self) -> None:
        try:
            serving.run(serving.serve, self.spec, self._on_ready, self._on_draining)
        except BaseException as error:
            leaf = single_leaf(error)
            self.error = leaf if isinstance(leaf, Exception) else MountError(f"serving ended with {leaf!r}")
        finally:
            self._ended.set()
            self._ready.set()

    def _on_draining(self, files: int) -> None:
        self._draining.set()

    def _on_ready(self, mounted: serving.Serving) -> None:
        self.url = mounted.url
        self._mounted = mounted
        self._ready.set()
