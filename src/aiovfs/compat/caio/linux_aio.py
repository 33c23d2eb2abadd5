"""caio's `linux` implementation: kernel AIO by raw system calls."""

from __future__ import annotations

from aiovfs.compat.caio import _contexts
from aiovfs.compat.caio._contexts import LinuxContext, LinuxOperation
from aiovfs.compat.caio.abstract import AbstractContext, AbstractOperation

__all__ = ["Context", "Operation"]

_contexts.probe_linux()


class Context(LinuxContext):
    """linux aio context representation"""


class Operation(LinuxOperation):
    """linux aio operation representation"""


AbstractContext.register(Context)
AbstractOperation.register(Operation)
