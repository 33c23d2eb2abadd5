"""`AsyncioContext` of the `thread` implementation."""

from __future__ import annotations

from aiovfs.compat.caio.asyncio_engine import EngineAsyncioContext
from aiovfs.compat.caio.thread_aio import Context, Operation

__all__ = ["AsyncioContext", "Context", "Operation"]


class AsyncioContext(EngineAsyncioContext):
    """Operations in the process's pool of threads, awaited. With `pool_size`, at most so many run at a time."""

    ENGINE = "pool"
    CONTEXT_OPTIONS = frozenset({"pool_size"})
    CONTEXT_CLASS = Context
    OPERATION_CLASS = Operation

    def _destroy_context(self) -> None:
        self.context.close()
