"""What `uring` and `linux` have in common: a low-level context whose eventfd the loop watches."""

from __future__ import annotations

import asyncio
from typing import Any

from aiovfs.compat.caio.asyncio_engine import EngineAsyncioContext

__all__ = ["PolledAsyncioContext"]


class PolledAsyncioContext(EngineAsyncioContext):
    """The engine for calls, and for `submit()` the low-level context; its completions arrive on the loop's thread."""

    def _make_low_level(self) -> Any:
        context = super()._make_low_level()
        self.loop.add_reader(context.fileno, self._on_read_event)
        return context

    def _destroy_context(self) -> None:
        if not self.loop.is_closed():
            self.loop.remove_reader(self.context.fileno)

    def _on_done(self, future: asyncio.Future[Any], result: int) -> None:
        self._end(future)

    def _on_read_event(self) -> None:
        try:
            self.context.poll()
        except BlockingIOError:
            pass  # the completion was fetched by somebody else
        while self.context.process_events():
            pass
