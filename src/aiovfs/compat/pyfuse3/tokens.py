"""`pyfuse3.trio_token` while `main` runs on Trio.

Programs stop a file system with `trio.from_thread.run_sync(pyfuse3.terminate, trio_token=pyfuse3.trio_token)`, from a
thread, and, as pyfuse3's documentation shows it, from a signal handler. Python runs signal handlers on the main
thread, which is usually Trio's own: there the call puts a message into Trio's queue and blocks until Trio has read it,
which it never will. So the token is Trio's with one difference: on Trio's thread, while no task runs (it was waiting
for events when the signal came), the function is called in place.

When the signal interrupts a running task, `trio.from_thread` itself refuses with `RuntimeError`, before it looks at any
token. A plain `pyfuse3.terminate()` works in both cases.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["TrioTokenForSignals", "make_token"]


class TrioTokenForSignals:
    """A `TrioToken` for all that it is asked: it compares equal to it, and `isinstance` takes it for one."""

    def __init__(self, token: Any) -> None:
        self._token = token
        self._thread = threading.get_ident()

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # Trio's class cannot be subclassed, and `trio.from_thread` asks isinstance()
        return type(self._token)

    def run_sync_soon(self, function: Callable[..., object], *args: Any, idempotent: bool = False) -> None:
        """Have Trio call `function` soon; see above for when it is called at once."""
        import trio

        if threading.get_ident() == self._thread and not trio.lowlevel.in_trio_task():
            function(*args)
            # Trio may be about to sleep: what the function did is to be seen before that.
            self._token.run_sync_soon(_nothing, idempotent=True)
        else:
            self._token.run_sync_soon(function, *args, idempotent=idempotent)

    def __eq__(self, other: object) -> bool:
        if type(other) is TrioTokenForSignals:
            return bool(self._token == other._token)
        return bool(self._token == other)

    def __hash__(self) -> int:
        return hash(self._token)

    def __repr__(self) -> str:
        return repr(self._token)


def _nothing() -> None:
    pass


def make_token() -> TrioTokenForSignals:
    """The token of the running Trio loop."""
    import trio

    return TrioTokenForSignals(trio.lowlevel.current_trio_token())
