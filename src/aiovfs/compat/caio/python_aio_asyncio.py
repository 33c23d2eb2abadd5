"""`AsyncioContext` of the `python` implementation."""

from __future__ import annotations

from aiovfs.compat.caio.asyncio_base import AsyncioContextBase
from aiovfs.compat.caio.python_aio import Context, Operation

__all__ = ["AsyncioContext", "Context", "Operation"]


class AsyncioContext(AsyncioContextBase):
    """Operations in Python's threads, awaited."""

    CONTEXT_CLASS = Context
    OPERATION_CLASS = Operation

    def _destroy_context(self) -> None:
        self.context.close()
