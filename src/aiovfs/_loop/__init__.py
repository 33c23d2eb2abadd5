"""What differs between asyncio and Trio, and nothing else: the only package that may import either.

`running_library` says which one runs; `LoopToken` calls into a loop from anywhere (another thread, a signal handler);
`Readable` waits for a file descriptor without registering it anew each time; `resume` finishes, in the current task, a
coroutine whose first step was run by hand.
"""

from __future__ import annotations

from aiovfs._loop.library import is_being_cancelled, running_library
from aiovfs._loop.readable import Readable
from aiovfs._loop.step import resume
from aiovfs._loop.token import LoopToken

__all__ = ["LoopToken", "Readable", "is_being_cancelled", "resume", "running_library"]
