"""`AsyncioContext` of the `thread` implementation."""

from __future__ import annotations

from aiovfs.compat.caio.asyncio_base import AsyncioContextBase
from aiovfs.compat.caio.thread_aio import Context, Operation

__all__ = ["AsyncioContext", "Context", "Operation"]


class AsyncioContext(AsyncioContextBase):
    """Operations in a pool of threads, awaited."""

    CONTEXT_CLASS = Context
    OPERATION_CLASS = Operation

    def _destroy_context(self) -> None:
        self.context.close()
