"""`AsyncioContext` of the `linux` implementation."""

from __future__ import annotations

from aiovfs.compat.caio.linux_aio import Context, Operation
from aiovfs.compat.caio.polling import PolledAsyncioContext

__all__ = ["AsyncioContext", "Context", "Operation"]


class AsyncioContext(PolledAsyncioContext):
    """Operations of kernel AIO, awaited; of buffered files, where it would block, by threads."""

    ENGINE = "linux"
    CONTEXT_CLASS = Context
    OPERATION_CLASS = Operation
