"""What containers forbid: system calls that fail in this process from now on, by a seccomp filter.

Docker's and containerd's default profiles answer EPERM to io_uring, older ones and gVisor ENOSYS. A filter cannot be
taken off again, and children inherit it; so use this in processes that are made for it.

Source: seccomp(2), prctl(2); linux/filter.h, linux/seccomp.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable

__all__ = ["IO_URING", "KERNEL_AIO", "forbid", "main"]

IO_URING = (425, 426, 427)
"""io_uring_setup, io_uring_enter, io_uring_register; the same numbers on every machine."""

KERNEL_AIO = {"x86_64": (206, 207, 208, 209, 210), "aarch64": (0, 1, 2, 3, 4)}.get(platform.machine(), ())
"""io_setup, io_destroy, io_getevents, io_submit, io_cancel."""

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_LOAD_WORD = 0x20
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06


def forbid(calls: Iterable[int], number: int) -> None:
    """Have the system calls `calls` fail with errno `number` in this process and those it starts."""
    rules = [(_LOAD_WORD, 0, 0, 0)]  # the number of the system call is the first word of what a filter sees
    for call in calls:
        rules += [(_JUMP_IF_EQUAL, 0, 1, call), (_RETURN, 0, 0, _ERRNO | number)]
    rules.append((_RETURN, 0, 0, _ALLOW))
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    descriptor = ctypes.create_string_buffer(struct.pack("HP", len(rules), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _MODE_FILTER, descriptor)):
        if libc.prctl(*arguments):
            failed = ctypes.get_errno()
            raise OSError(failed, f"prctl({arguments[0]}): {os.strerror(failed)}")


def main(arguments: list[str]) -> None:
    """`python -m aiovfs.testing.forbidden ERRNO COMMAND …`: run a command without io_uring."""
    forbid(IO_URING, int(arguments[0]))
    os.execvp(arguments[1], arguments[1:])


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
