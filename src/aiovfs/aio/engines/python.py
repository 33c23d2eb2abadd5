"""The engine that always works: each operation is a blocking call in a thread. The reference for the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiovfs._loop.driver import Driver
from aiovfs.aio.engine import Engine
from aiovfs.aio.operation import Operation
from aiovfs.aio.threads import LIMIT, Threads

__all__ = ["PythonEngine", "make", "probe"]


def probe() -> dict[str, object]:
    """It always works."""
    return {"threads": LIMIT}


class PythonEngine(Engine):
    """Threads; nothing native."""

    name = "python"

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._threads = Threads()
        self._jobs: dict[Operation[Any], Callable[[], object]] = {}
        driver.close_with_loop(self)

    def submit(self, operation: Operation[Any]) -> None:
        def job() -> None:
            error: BaseException | None = None
            value = None
            try:
                value = operation.kind.blocking(*operation.args)
            except BaseException as exc:
                error = exc
            if not self.driver.call_threadsafe(self._ended, operation, value, error):
                self._jobs.pop(operation, None)  # the loop is gone, and all who waited with it

        self._jobs[operation] = job
        self.in_flight += 1
        try:
            self._threads.put(job)
        except BaseException:
            del self._jobs[operation]
            self.in_flight -= 1
            raise

    def _ended(self, operation: Operation[Any], value: Any, error: BaseException | None) -> None:
        if self._jobs.pop(operation, None) is not None:
            self.in_flight -= 1
            operation.complete(value, error)

    def cancel(self, operation: Operation[Any]) -> bool:
        """A job that waits for its thread is taken back; one that runs is waited for, as it uses the descriptor."""
        job = self._jobs.get(operation)
        if job is None or not self._threads.take_back(job):
            return False
        del self._jobs[operation]
        self.in_flight -= 1
        return True

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._threads.close()
        self._threads.drain()

    async def aclose(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._threads.close()
        for operation in list(self._jobs):
            operation.cancel()
        for operation in list(self._jobs):
            try:
                await operation
            except Exception:
                pass  # whoever started it has it too


def make(driver: Driver) -> Engine:
    """The engine for the loop of `driver`."""
    return PythonEngine(driver)
