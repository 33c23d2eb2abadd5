"""Which interrupts to heed.

The kernel sends INTERRUPT for *any* signal that reaches a waiting caller. Answering EINTR to a timer's SIGALRM breaks
programs that restart their calls only where they expect it (git's progress meter); not answering to SIGKILL leaves an
unkillable process. So the signals that are pending for the caller decide.

Source: proc(5) on SigPnd, ShdPnd, SigBlk, SigIgn; fs/fuse/dev.c (request_wait_answer): after the first INTERRUPT the
kernel sends no other one for the same request, so whoever did not heed one has to look again while the request waits.
"""

from __future__ import annotations

import signal

__all__ = ["LOOK_AGAIN_S", "must_stop"]

LOOK_AGAIN_S = 0.25

ENDING = sum(
    1 << (number - 1) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
)


def must_stop(tid: int) -> bool:
    """Is a signal that usually ends a program pending for thread `tid`?

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
    return bool(pending & ~hidden & ENDING)
