"""caio's `linux` implementation: kernel AIO by raw system calls."""

from __future__ import annotations

from aiovfs.compat.caio.abstract import AbstractContext, AbstractOperation
from aiovfs.compat.caio.native import contexts

__all__ = ["Context", "Operation"]

contexts.probe_linux()


class Context(contexts.LinuxContext):
    """linux aio context representation"""


class Operation(contexts.LinuxOperation):
    """linux aio operation representation"""


AbstractContext.register(Context)
AbstractOperation.register(Operation)
