"""caio's `uring` implementation: one ring a context, by raw system calls."""

from __future__ import annotations

from typing import Any

from aiovfs.compat.caio.abstract import AbstractContext, AbstractOperation
from aiovfs.compat.caio.native import contexts

__all__ = ["Context", "Operation"]

contexts.probe_uring()


class Context(contexts.UringContext):
    """io_uring AIO context"""


class Operation(contexts.UringOperation):
    """io_uring AIO operation"""


AbstractContext.register(Context)
AbstractOperation.register(Operation)


def __getattr__(name: str) -> Any:
    # Found out when somebody asks: making such a ring starts a kernel thread.
    if name == "SQPOLL_ALLOWED":
        globals()[name] = value = contexts.probe_sqpoll()
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
