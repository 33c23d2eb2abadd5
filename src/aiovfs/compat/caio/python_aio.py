"""caio's `python` implementation: a pool of Python threads. Needs nothing native."""

from __future__ import annotations

import errno
import operator
import os
import sys
import threading
from collections.abc import Callable
from enum import IntEnum, unique
from multiprocessing.pool import ThreadPool
from typing import Any

from aiovfs.compat.caio import direct
from aiovfs.compat.caio.abstract import AbstractContext, AbstractOperation
from aiovfs.compat.caio.errors import operation_error

__all__ = ["Context", "ContextState", "OpCode", "Operation", "fdsync"]

fdsync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


@unique
class OpCode(IntEnum):
    """What an operation does."""

    READ = 0
    WRITE = 1
    FSYNC = 2
    FDSYNC = 3
    NOOP = -1


@unique
class ContextState(IntEnum):
    """Where a context is in its life."""

    OPEN = 0
    CLOSING = 1
    CLOSED = 2


class Operation(AbstractOperation):
    """python aio operation implementation"""

    def __init__(
        self,
        fd: int,
        nbytes: int | None,
        offset: int | None,
        opcode: OpCode,
        payload: bytes | None = None,
        priority: int | None = None,
    ) -> None:
        self._fileno = operator.index(fd)
        self._nbytes = 0 if nbytes is None else operator.index(nbytes)
        self._offset = 0 if offset is None else operator.index(offset)
        self._priority = 0 if priority is None else operator.index(priority)
        if opcode is OpCode.WRITE and not isinstance(payload, bytes):
            raise ValueError(f"payload_bytes must be bytes, not {type(payload).__name__}")
        self.opcode = opcode
        self.buffer = payload or b""
        self.callback: Callable[[int], Any] | None = None
        self.in_progress = False
        self.exception: BaseException | None = None
        self.written = 0
        self._lock = threading.Lock()

    @classmethod
    def read(cls, nbytes: int, fd: int, offset: int, priority: int = 0) -> Operation:
        """A new operation that reads `nbytes` bytes at `offset`."""
        return cls(fd, nbytes, offset, OpCode.READ, priority=priority)

    @classmethod
    def write(cls, payload_bytes: bytes, fd: int, offset: int, priority: int = 0) -> Operation:
        """A new operation that writes `payload_bytes` at `offset`."""
        return cls(fd, len(payload_bytes), offset, OpCode.WRITE, payload=payload_bytes, priority=priority)

    @classmethod
    def fsync(cls, fd: int, priority: int = 0) -> Operation:
        """A new operation that brings content and attributes to stable storage."""
        return cls(fd, None, None, OpCode.FSYNC, priority=priority)

    @classmethod
    def fdsync(cls, fd: int, priority: int = 0) -> Operation:
        """A new operation that brings content to stable storage."""
        return cls(fd, None, None, OpCode.FDSYNC, priority=priority)

    def get_value(self) -> bytes | int | None:
        """The bytes that were read, how many were written, or None. Raises what the operation failed with."""
        if self.exception is not None:
            raise self.exception
        if self.opcode is OpCode.WRITE:
            return self.written
        return self.buffer if self.opcode is OpCode.READ else None

    @property
    def fileno(self) -> int:
        """The descriptor."""
        return self._fileno

    @property
    def offset(self) -> int:
        """Where in the file."""
        return self._offset

    @property
    def nbytes(self) -> int:
        """How many bytes were asked for."""
        return self._nbytes

    @property
    def payload(self) -> memoryview:
        """The bytes that are written, or that were read."""
        return memoryview(self.buffer)

    def set_callback(self, callback: Callable[[int], Any]) -> bool:
        """Have `callback(result)` called at the end: a count, or None when the operation failed."""
        if not callable(callback):
            raise ValueError(f"callback must be callable, not {callback!r}")
        with self._lock:
            self.callback = callback
        return True

    def execute(self) -> int | None:
        """Do it, here and now."""
        try:
            return self._execute(os.pread, os.pwrite)
        except OSError as exc:
            failed = exc
        if failed.errno == errno.EINVAL and direct.is_direct(self._fileno):
            try:
                return self._execute(direct.read_in_place, direct.write_in_place)
            except OSError as exc:
                failed = exc
        raise operation_error(failed.errno or 0, f"{self.opcode.name.lower()} of descriptor {self._fileno}")

    def _execute(self, read: Callable[[int, int, int], bytes], write: Callable[[int, bytes, int], int]) -> int | None:
        if self.opcode is OpCode.READ:
            self.buffer = read(self._fileno, self._nbytes, self._offset)
            return len(self.buffer)
        if self.opcode is OpCode.WRITE:
            return write(self._fileno, self.buffer, self._offset)
        if self.opcode is OpCode.FSYNC:
            os.fsync(self._fileno)
        elif self.opcode is OpCode.FDSYNC:
            fdsync(self._fileno)
        return None


class Context(AbstractContext):
    """python aio context implementation"""

    MAX_POOL_SIZE = 128

    def __init__(self, max_requests: int = 32, pool_size: int = 8) -> None:
        self._state = ContextState.CLOSED
        if not 0 < pool_size < self.MAX_POOL_SIZE:
            raise ValueError(f"pool_size={pool_size} must be between 1 and {self.MAX_POOL_SIZE - 1}")
        if max_requests <= 0:
            raise ValueError(f"max_requests={max_requests} must be positive")
        self._max_requests = max_requests
        self._lock = threading.Lock()
        self._in_progress = 0
        self.pool = ThreadPool(pool_size)
        self._state = ContextState.OPEN

    @property
    def max_requests(self) -> int:
        """How many operations may be in flight."""
        return self._max_requests

    def submit(self, *aio_operations: Operation) -> int:
        """Have threads do operations. Returns how many; one that was begun before is skipped.

        `ValueError` for what is no operation of this implementation, `RuntimeError` when the context is closed or full.
        """
        for operation in aio_operations:
            if not isinstance(operation, Operation):
                raise ValueError(f"not an Operation of this implementation: {operation!r}")
        return sum(self._begin(operation) for operation in aio_operations)

    def _begin(self, operation: Operation) -> bool:
        # The operation's lock is what two contexts share when both are given it.
        with operation._lock, self._lock:
            if operation.in_progress:
                return False
            if self._state is not ContextState.OPEN:
                raise RuntimeError("this context is closed")
            if self._in_progress >= self._max_requests:
                raise RuntimeError(f"{self._in_progress} operations are in flight, max_requests={self._max_requests}")
            operation.in_progress = True
            self._in_progress += 1

        def end(result: int | None) -> None:
            with self._lock:
                self._in_progress -= 1
            operation.written = result or 0
            _call_back(operation, result)

        def fail(exc: BaseException) -> None:
            operation.exception = exc
            end(None)

        try:
            self.pool.apply_async(operation.execute, callback=end, error_callback=fail)
        except BaseException:
            with operation._lock, self._lock:
                operation.in_progress = False
                self._in_progress -= 1
            raise
        return True

    def cancel(self, *aio_operations: Operation) -> int:
        """Threads do not stop what they were given: always 0."""
        return 0

    def close(self) -> None:
        """Take no more operations; those in flight end. Again: nothing happens."""
        if self._state is not ContextState.OPEN:
            return
        with self._lock:
            self._state = ContextState.CLOSED
            self.pool.close()

    def __del__(self) -> None:
        self.close()


def _call_back(operation: Operation, result: int | None) -> None:
    with operation._lock:
        callback = operation.callback
    if callback is None:
        return
    try:
        callback(result)  # type: ignore[arg-type]
    except BaseException:
        # On the one thread that handles the pool's results: it must go on.
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
