"""One readable line for each message, derived from the tables.

    read unique=9 nodeid=2 fh=1 offset=131072 size=131072
    reply unique=9 size=131072
    reply unique=11 error=ENOENT
    notify inval_entry size=14

Attributes that are 0 are left out, except those that always tell something (`ALWAYS`); names are shown as in Python
without the `b`, data by its size.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from ...types import Buffer
from .notifications import BY_CODE
from .operations import BY_OPCODE
from .request import Request
from .structs import OutHeader

__all__ = ["ALWAYS", "trace_reply", "trace_request"]

ALWAYS = frozenset({"fh", "offset", "size", "newdir", "nlookup", "target", "major", "minor", "mask", "valid", "mode"})
"""Attributes that are shown also when they are 0."""

HEXADECIMAL = frozenset({"flags", "open_flags", "valid", "sx_mask", "events", "cmd", "getattr_flags", "release_flags"})
OCTAL = frozenset({"mode", "umask"})

_unpack_header = OutHeader.__layout__.struct.unpack_from
_HEADER_SIZE = OutHeader.__layout__.size


def trace_request(request: Request) -> str:
    """One line about a request."""
    row = BY_OPCODE.get(request.opcode)
    words = [row.name if row else f"opcode-{request.opcode}", f"unique={request.unique}"]
    if request.nodeid:
        words.append(f"nodeid={request.nodeid}")
    for name, value in request.values().items():
        if value or name in ALWAYS:
            words.append(f"{name}={_shown(name, value)}")
    return " ".join(words)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bytes) and name not in ("data", "value", "body"):
        text = repr(value)[1:]
        return text if len(text) <= 260 else f"{text[:256]}…"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{memoryview(value).nbytes} bytes>"
    if isinstance(value, list):
        return f"<{len(value)} items>"
    if name in HEXADECIMAL:
        return f"{value:#x}"
    if name in OCTAL:
        return f"{value:#o}"
    return str(value)


def trace_reply(reply: Sequence[Buffer] | Buffer) -> str:
    """One line about a reply or notification: its buffers as they are written, the first starting with the header."""
    first = reply if isinstance(reply, (bytes, bytearray, memoryview)) else reply[0]
    length, error, unique = _unpack_header(first)
    size = length - _HEADER_SIZE
    if unique == 0 and error > 0:
        row = BY_CODE.get(error)
        return f"notify {row.name if row else f'code-{error}'} size={size}"
    if error:
        return f"reply unique={unique} error={errno.errorcode.get(-error, error)}"
    return f"reply unique={unique} size={size}"
