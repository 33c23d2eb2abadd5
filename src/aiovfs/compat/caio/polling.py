"""`AsyncioContext` over a low-level context whose eventfd the loop watches: what `uring` and `linux` have in common."""

from __future__ import annotations

import asyncio
from typing import Any

from aiovfs.compat.caio.asyncio_base import AsyncioContextBase

__all__ = ["PolledAsyncioContext"]


class PolledAsyncioContext(AsyncioContextBase):
    """Completions arrive on the loop's thread."""

    def _create_context(self, max_requests: int, **kwargs: Any) -> Any:
        context = super()._create_context(max_requests, **kwargs)
        self.loop.add_reader(context.fileno, self._on_read_event)
        return context

    def _destroy_context(self) -> None:
        if not self.loop.is_closed():
            self.loop.remove_reader(self.context.fileno)

    def _on_done(self, future: asyncio.Future[Any], result: int) -> None:
        if not future.done():
            future.set_result(True)

    def _on_read_event(self) -> None:
        try:
            self.context.poll()
        except BlockingIOError:
            pass  # the completion was fetched by somebody else
        while self.context.process_events():
            pass
