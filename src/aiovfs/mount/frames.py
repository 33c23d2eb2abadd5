"""What the asking process and the serving child say to each other, and in which form.

One socket pair, frames of a 4-byte length and that many bytes. Down go, in this order: the module search path (JSON),
the `MountSpec` (pickle), and perhaps one `UNMOUNT`. Up go reports (JSON objects with an "event"): `mounted` or
`failed`, then perhaps `draining`, then `ended` with the drain's error or none. End of file upwards without `ended`
means that the child died; downwards, that the asker did, and an attached mount then unmounts itself.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from typing import Any

from aiovfs import errors
from aiovfs.errors import AiovfsError, MountError, StoreError

__all__ = ["UNMOUNT", "describe_error", "encode", "rebuild_error", "receive", "send", "single_leaf"]

UNMOUNT = b"unmount"
LENGTH = struct.Struct("!I")


def encode(payload: bytes) -> bytes:
    return LENGTH.pack(len(payload)) + payload


def send(control: socket.socket, report: dict[str, Any]) -> None:
    """Send one report. That nobody listens any more is no reason to stop serving."""
    try:
        control.sendall(encode(json.dumps(report).encode()))
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.EBADF):
            raise


def receive(control: socket.socket) -> bytes | None:
    """One frame; None at end of file. Raises `TimeoutError` as the socket's time-out says."""
    head = _receive_exactly(control, LENGTH.size)
    return None if head is None else _receive_exactly(control, LENGTH.unpack(head)[0])


def _receive_exactly(control: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            part = control.recv(size - len(data))
        except ConnectionResetError:
            part = b""
        if not part:
            return None
        data += part
    return bytes(data)


def describe_error(error: BaseException) -> dict[str, Any]:
    """An exception as JSON values. Pickling it would fail for many third-party classes, and trust all of them."""
    import traceback

    error = single_leaf(error)
    described: dict[str, Any] = {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    if isinstance(error, AiovfsError):
        described["message"] = error.message
        described["hint"] = error.hint
        described["tried"] = getattr(error, "tried", None)
        described["place"] = getattr(error, "mountpoint", None) or getattr(error, "url", None)
    elif isinstance(error, OSError):
        described["errno"] = error.errno
        described["message"] = error.strerror or str(error)
        described["filename"] = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    return described


def rebuild_error(described: dict[str, Any]) -> Exception:
    """The exception that `describe_error` described, with the child's traceback as a note."""
    name, message, hint = described["type"], described["message"], described.get("hint")
    kind = getattr(errors, name, None) if name in errors.__all__ else None
    error: Exception
    if kind is MountError:
        error = MountError(message, mountpoint=described.get("place"), tried=described.get("tried") or (), hint=hint)
    elif isinstance(kind, type) and issubclass(kind, StoreError):
        error = kind(message, url=described.get("place"), hint=hint)
    elif isinstance(kind, type) and issubclass(kind, AiovfsError):
        error = kind(message, hint=hint)
    elif described.get("errno") is not None:
        error = OSError(described["errno"], message, described.get("filename"))
    else:
        error = MountError(f"{name}: {message}" if message else name)
    error.add_note("in the serving process:\n" + described["traceback"])
    return error


def single_leaf(error: BaseException) -> BaseException:
    """The one exception inside of (nested) groups of one: task groups wrap, people do not care."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
