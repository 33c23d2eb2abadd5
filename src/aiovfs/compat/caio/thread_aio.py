"""caio's `thread` implementation: a pool of threads in C, and one Python thread a context that calls callbacks."""

from __future__ import annotations

from aiovfs.compat.caio.abstract import AbstractContext, AbstractOperation
from aiovfs.compat.caio.native import contexts

__all__ = ["Context", "Operation"]


class Context(contexts.ThreadContext):
    """thread aio context"""


class Operation(contexts.ThreadOperation):
    """thread aio operation representation"""


AbstractContext.register(Context)
AbstractOperation.register(Operation)
