"""A handle on the running loop that may be used from anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiovfs._loop.library import running_library

__all__ = ["LoopToken"]


class LoopToken:
    """Calls functions on the loop that was running when the token was made.

    `run_soon` is safe from other threads, from other loops and from Python signal handlers on both libraries
    (`loop.call_soon_threadsafe`, `TrioToken.run_sync_soon`). A loop that has ended is not an error: there is nothing
    left to tell it, and `run_soon` returns False.
    """

    def __init__(self) -> None:
        if running_library() == "trio":
            import trio

            self._call: Callable[..., Any] = trio.lowlevel.current_trio_token().run_sync_soon
            self._ended: type[Exception] = trio.RunFinishedError
        else:
            self._call = asyncio.get_running_loop().call_soon_threadsafe
            self._ended = RuntimeError

    def run_soon(self, function: Callable[..., Any], *args: Any) -> bool:
        """Have the loop call `function(*args)` soon; False when the loop has ended."""
        try:
            self._call(function, *args)
        except self._ended:
            return False
        return True
