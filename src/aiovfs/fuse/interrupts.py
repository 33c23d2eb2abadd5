"""Which interrupts to heed.

The kernel sends INTERRUPT for *any* signal that reaches a waiting caller. Answering EINTR to a timer's SIGALRM breaks
programs that restart their calls only where they expect it (git's progress meter); not answering to SIGKILL leaves an
unkillable process. So the signals that are pending for the caller decide.

SETLKW is the exception: `alarm(2)` is how a program limits the time that it waits for a lock, and the kernel restarts
the call by itself where the program's handler says so (SA_RESTART). There every signal counts.

Source: proc(5) on SigPnd, ShdPnd, SigBlk, SigIgn; fs/fuse/dev.c (request_wait_answer): after the first INTERRUPT the
kernel sends no other one for the same request, so whoever did not heed one has to look again while the request waits;
fs/fuse/file.c (fuse_setlk: "locking is restartable").
"""

from __future__ import annotations

import signal

from aiovfs.fuse.protocol import messages as m

__all__ = ["LOOK_AGAIN_S", "Interrupts", "must_stop"]

LOOK_AGAIN_S = 0.25

ENDING = sum(
    1 << (number - 1) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
)


class Interrupts:
    """The policy of one session. `every_signal`: heed them all; `signal_number`: heed this one too (0: none)."""

    def __init__(self, *, every_signal: bool = False, signal_number: int = 0) -> None:
        self._every_signal = every_signal
        self._heeded = ENDING | (1 << signal_number - 1 if signal_number else 0)

    def must_stop(self, request: m.Request) -> bool:
        """Is the handler of this request, whose caller got a signal, to be cancelled now?"""
        return self._every_signal or request.opcode == m.Setlkw.opcode or must_stop(request.pid, self._heeded)


def must_stop(tid: int, heeded: int = ENDING) -> bool:
    """Is a signal of the mask `heeded` pending for thread `tid`, and neither blocked nor ignored?

    True as well when the thread is gone, or cannot be seen (another pid name space): waiting for it would help nobody.
    """
    pending = 0
    hidden = 0
    try:
        with open(f"/proc/{tid}/status", "rb") as status:
            for line in status:
                name, _, value = line.partition(b":")
                if name in (b"SigPnd", b"ShdPnd"):
                    pending |= int(value, 16)
                elif name in (b"SigBlk", b"SigIgn"):
                    hidden |= int(value, 16)
    except OSError:
        return True
    return bool(pending & ~hidden & heeded)
