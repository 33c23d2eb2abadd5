"""`AsyncioContext` of the `uring` implementation."""

from __future__ import annotations

from aiovfs.compat.caio.linux_uring import Context, Operation
from aiovfs.compat.caio.polling import PolledAsyncioContext

__all__ = ["AsyncioContext", "Context", "Operation"]


class AsyncioContext(PolledAsyncioContext):
    """Operations on a ring, awaited."""

    CONTEXT_CLASS = Context
    OPERATION_CLASS = Operation

    def _on_submitted(self) -> None:
        self.context.flush()
