"""caio's `thread` implementation: a pool of threads in C, and one Python thread a context that calls callbacks."""

from __future__ import annotations

from aiovfs.compat.caio._contexts import ThreadContext, ThreadOperation
from aiovfs.compat.caio.abstract import AbstractContext, AbstractOperation

__all__ = ["Context", "Operation"]


class Context(ThreadContext):
    """thread aio context"""


class Operation(ThreadOperation):
    """thread aio operation representation"""


AbstractContext.register(Context)
AbstractOperation.register(Operation)
