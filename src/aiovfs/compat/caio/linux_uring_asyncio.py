"""`AsyncioContext` of the `uring` implementation."""

from __future__ import annotations

from aiovfs.compat.caio.linux_uring import Context, Operation
from aiovfs.compat.caio.polling import PolledAsyncioContext

__all__ = ["AsyncioContext", "Context", "Operation"]


class AsyncioContext(PolledAsyncioContext):
    """Operations on the loop's ring, awaited.

    `sqpoll=True` is for the low-level context (`context`), which then asks for a polling kernel thread. The loop's ring
    never has one: it costs a core at twenty reads a second, and is slower at every depth.
    """

    ENGINE = "uring"
    CONTEXT_OPTIONS = frozenset({"sqpoll"})
    CONTEXT_CLASS = Context
    OPERATION_CLASS = Operation

    def _on_submitted(self) -> None:
        self.context.flush()
