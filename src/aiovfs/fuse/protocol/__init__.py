"""The FUSE wire protocol: bytes and values only, no I/O, no clock, no loop.

`operations` and `notifications` are the tables, `structs` and `flags` the kernel's words, `messages` the request
classes, `codec` the way between bytes and requests.
"""

from __future__ import annotations

from . import flags, messages, notifications, structs
from .codec import (
    DECODERS,
    HEADER_IN_SIZE,
    HEADER_OUT_SIZE,
    Decoder,
    decode,
    decoders_for,
    encode_error,
    encode_request,
    init_reply_size,
    reply_header,
    reply_struct,
)
from .dirents import NO_ENTRY, DirentBuffer
from .flags import KERNEL_MAJOR, KERNEL_MINOR, ROOT_ID
from .notifications import NOTIFICATIONS, Notification, encode_notification
from .operations import BY_NAME, BY_OPCODE, NEVER, OPERATIONS, Operation
from .request import Request, Unknown
from .trace import trace_reply, trace_request

__all__ = [
    "BY_NAME",
    "BY_OPCODE",
    "DECODERS",
    "HEADER_IN_SIZE",
    "HEADER_OUT_SIZE",
    "KERNEL_MAJOR",
    "KERNEL_MINOR",
    "NEVER",
    "NOTIFICATIONS",
    "NO_ENTRY",
    "OPERATIONS",
    "ROOT_ID",
    "Decoder",
    "DirentBuffer",
    "Notification",
    "Operation",
    "Request",
    "Unknown",
    "decode",
    "decoders_for",
    "encode_error",
    "encode_notification",
    "encode_request",
    "flags",
    "init_reply_size",
    "messages",
    "notifications",
    "reply_header",
    "reply_struct",
    "structs",
    "trace_reply",
    "trace_request",
]
