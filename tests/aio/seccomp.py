"""Have the kernel refuse system calls to this process, as containers do: `python seccomp.py NUMBER CALL,CALL program…`.

A filter of seccomp(2), in classic BPF, that answers errno NUMBER. It holds for this process and its children, for ever.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse(calls: Iterable[int], number: int) -> None:
    """Answer each of the system calls with errno `number` from now on."""
    calls = list(calls)
    code = struct.pack("HBBI", LOAD_WORD, 0, 0, 0)  # the call's number is first in struct seccomp_data
    for index, call in enumerate(calls):
        code += struct.pack("HBBI", JUMP_IF_EQUAL, len(calls) - index, 0, call)
    code += struct.pack("HBBI", RETURN, 0, 0, SECCOMP_RET_ALLOW)
    code += struct.pack("HBBI", RETURN, 0, 0, SECCOMP_RET_ERRNO | number)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.addressof(buffer))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    refuse([int(call) for call in sys.argv[2].split(",")], int(sys.argv[1]))
    os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
