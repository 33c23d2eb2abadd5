"""caio's `uring` implementation: one ring a context, by raw system calls."""

from __future__ import annotations

from typing import Any

from aiovfs.compat.caio import _contexts
from aiovfs.compat.caio._contexts import UringContext, UringOperation
from aiovfs.compat.caio.abstract import AbstractContext, AbstractOperation

__all__ = ["Context", "Operation"]

_contexts.probe_uring()


class Context(UringContext):
    """io_uring AIO context"""


class Operation(UringOperation):
    """io_uring AIO operation"""


AbstractContext.register(Context)
AbstractOperation.register(Operation)


def __getattr__(name: str) -> Any:
    # Found out when somebody asks: making such a ring starts a kernel thread.
    if name == "SQPOLL_ALLOWED":
        globals()[name] = value = _contexts.probe_sqpoll()
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
