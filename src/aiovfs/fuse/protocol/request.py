"""The base of all request classes, and the class of requests that the table does not know."""

from __future__ import annotations

from typing import Any, ClassVar

from .flags import UNIQUE_RESEND

__all__ = ["Request", "Unknown"]


class Request:
    """One request of the kernel: the header's fields here, the operation's own in the subclasses.

    Handlers read it and may keep it; a view in it (`data` of WRITE) is valid until the handler ends, since the buffer
    is used again. Compared by identity: `unique` is the name of a request while it is in flight.
    """

    __slots__ = ("gid", "nodeid", "pid", "uid", "unique")

    fields: ClassVar[tuple[str, ...]] = ()
    """Names of the operation's own attributes, in the order of the wire."""

    opcode: int
    """Which operation; a constant of the class, except in `Unknown`."""
    unique: int
    """The kernel's number for this request; replies and INTERRUPT name it."""
    nodeid: int
    """The node it is about; 0 when it is about none."""
    uid: int
    gid: int
    pid: int
    """Who asks. `pid` is 0 when the kernel itself asks (writeback, readahead), or from a pid namespace out of sight."""

    def __init__(self, *, unique: int = 0, nodeid: int = 0, uid: int = 0, gid: int = 0, pid: int = 0) -> None:
        self.unique = unique
        self.nodeid = nodeid
        self.uid = uid
        self.gid = gid
        self.pid = pid

    @property
    def is_resent(self) -> bool:
        """Was this sent to a server before us that did not answer it? It may have been done already."""
        return bool(self.unique & UNIQUE_RESEND)

    def values(self) -> dict[str, Any]:
        """The operation's own attributes by name."""
        return {name: getattr(self, name) for name in self.fields}

    def __repr__(self) -> str:
        own = "".join(f", {name}={shorten(getattr(self, name))}" for name in self.fields)
        return f"{type(self).__name__}(unique={self.unique}, nodeid={self.nodeid}{own})"


class Unknown(Request):
    """A request of a newer kernel than the table; to be answered ENOSYS."""

    __slots__ = ("body", "opcode")
    fields = ("body",)
    body: bytes

    def __init__(
        self,
        *,
        opcode: int,
        unique: int = 0,
        nodeid: int = 0,
        uid: int = 0,
        gid: int = 0,
        pid: int = 0,
        body: bytes = b"",
    ) -> None:
        self.opcode = opcode
        self.unique = unique
        self.nodeid = nodeid
        self.uid = uid
        self.gid = gid
        self.pid = pid
        self.body = body


def shorten(value: Any) -> str:
    """How a value is shown in one line: long bytes by their size, long lists by their length."""
    if isinstance(value, memoryview):
        return f"<{value.nbytes} bytes>"
    if isinstance(value, (bytes, bytearray)) and len(value) > 256:
        return f"<{len(value)} bytes>"
    if isinstance(value, list) and len(value) > 8:
        return f"<{len(value)} items>"
    return repr(value)
