"""`AsyncioContext` of the `linux` implementation."""

from __future__ import annotations

from aiovfs.compat.caio.linux_aio import Context, Operation
from aiovfs.compat.caio.polling import PolledAsyncioContext

__all__ = ["AsyncioContext", "Context", "Operation"]


class AsyncioContext(PolledAsyncioContext):
    """Operations of kernel AIO, awaited."""

    CONTEXT_CLASS = Context
    OPERATION_CLASS = Operation
