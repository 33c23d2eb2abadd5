"""What all implementations of caio's contexts and operations have in common, as abstract classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

__all__ = ["AbstractContext", "AbstractOperation"]


class AbstractContext(ABC):  # noqa: B024  caio has no abstract methods here either
    """Takes operations and has them done."""

    @property
    def max_requests(self) -> int:
        """How many operations it takes at a time."""
        raise NotImplementedError

    def submit(self, *aio_operations: Any) -> int:
        """Take operations; how many were taken."""
        raise NotImplementedError(aio_operations)

    def cancel(self, *aio_operations: Any) -> int:
        """Ask for operations to be stopped."""
        raise NotImplementedError(aio_operations)


class AbstractOperation(ABC):
    """One read, write or sync, done once."""

    @classmethod
    @abstractmethod
    def read(cls, nbytes: int, fd: int, offset: int, priority: int = 0) -> AbstractOperation:
        """An operation that reads `nbytes` bytes at `offset`."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def write(cls, payload_bytes: bytes, fd: int, offset: int, priority: int = 0) -> AbstractOperation:
        """An operation that writes `payload_bytes` at `offset`."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def fsync(cls, fd: int, priority: int = 0) -> AbstractOperation:
        """An operation that brings content and attributes to stable storage."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def fdsync(cls, fd: int, priority: int = 0) -> AbstractOperation:
        """An operation that brings content to stable storage."""
        raise NotImplementedError

    @abstractmethod
    def get_value(self) -> bytes | int | None:
        """What was read, how much was written, or None; raises what the operation failed with."""
        raise NotImplementedError

    @property
    @abstractmethod
    def fileno(self) -> int:
        """The descriptor."""
        raise NotImplementedError

    @property
    @abstractmethod
    def offset(self) -> int:
        """Where in the file."""
        raise NotImplementedError

    @property
    @abstractmethod
    def payload(self) -> bytes | memoryview | None:
        """The buffer."""
        raise NotImplementedError

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """How many bytes."""
        raise NotImplementedError

    @abstractmethod
    def set_callback(self, callback: Callable[[int], Any]) -> bool:
        """Have `callback(result)` called at the end."""
        raise NotImplementedError
