"""A pool of threads that make blocking calls, for what no kernel interface does without blocking.

Threads are started when needed, at most `limit`, and end when idle. They are daemons: a call that never returns (a dead
network mount) must not keep the process from ending. Whoever needs a call's end waits for it (`Threads.drain`).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["LIMIT", "Threads"]

LIMIT = 64
"""Calls at any time, per engine."""

IDLE = 5.0
"""Seconds after which a thread without work ends."""

Job = Callable[[], object]


class Threads:
    """Runs jobs in order of arrival, up to `limit` at a time. A job never raises."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.pid = os.getpid()
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._idle = 0
        self._count = 0
        self._running = 0
        self._is_closed = False

    def put(self, job: Job) -> None:
        with self._changed:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
                return
            if self._count >= self.limit:
                return
            self._count += 1
        try:
            threading.Thread(target=self._work, name="aiovfs-aio", daemon=True).start()
        except BaseException:
            with self._changed:
                self._count -= 1
                if self._count == 0 and self._jobs and self._jobs[-1] is job:
                    self._jobs.pop()
                    raise

    def take_back(self, job: Job) -> bool:
        """Remove a job that has not begun; False when it has."""
        with self._changed:
            try:
                self._jobs.remove(job)
            except ValueError:
                return False
        return True

    def close(self) -> None:
        """Let the threads end when the jobs are done. What is put later is still done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait in place until no job is left."""
        with self._changed:
            while self._jobs or self._running:
                self._changed.wait()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    if self._is_closed:
                        self._count -= 1
                        return
                    self._idle += 1
                    has_more = self._changed.wait(IDLE)
                    self._idle -= 1
                    if not has_more and not self._jobs:
                        self._count -= 1
                        return
                job = self._jobs.popleft()
                self._running += 1
            job()
            del job
            with self._changed:
                self._running -= 1
                if not self._running and not self._jobs:
                    self._changed.notify_all()
