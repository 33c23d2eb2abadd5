"""Trying again, inside a deadline.

For clients that do not retry by themselves. What is worth trying again is `failures.is_retryable`'s to say.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import anyio

from aiovfs.fs.failures import is_retryable, translate

__all__ = ["pauses", "retrying"]

T = TypeVar("T")

logger = logging.getLogger("aiovfs.fs")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0


def pauses(draw: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds to wait before the second, third, … attempt: doubling, and each anywhere in the upper half.

    The jitter keeps clients that failed together from coming back together. `draw` gives numbers in [0, 1).
    """
    longest = FIRST_PAUSE
    while True:
        yield longest * (0.5 + draw() / 2)
        longest = min(longest * 2, LONGEST_PAUSE)


async def retrying(attempt: Callable[[], Awaitable[T]], *, seconds: float, about: str) -> T:
    """The result of `attempt()`, called again after failures that may pass, until `seconds` are over.

    Then the last failure is raised as it is. An attempt that runs is never cut off here: it has time-outs of its own.
    """
    deadline = anyio.current_time() + seconds
    for pause in pauses():
        try:
            return await attempt()
        except Exception as exc:
            if not is_retryable(exc) or anyio.current_time() + pause >= deadline:
                raise
            # In our words: a client's message may have the whole URL, with what signs it.
            logger.info("%s: %s; trying again in %.1f s", about, translate(exc), pause)
        await anyio.sleep(pause)
    raise AssertionError("pauses() never ends")
