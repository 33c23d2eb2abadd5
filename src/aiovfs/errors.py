"""Every exception class that aiovfs raises; no logic.

Blame is in the type: `ProtocolError` is the kernel's (or the wire's), `ReplyError` a handler's, `OptionError` and
`MountError` the caller's or the machine's, `StoreError` the store's. Errors about one file are `OSError`s, as
everywhere in Python.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

__all__ = [
    "AiovfsError",
    "ClosedError",
    "MissingPackageError",
    "MountError",
    "OptionError",
    "ProtocolError",
    "ReplyError",
    "StaleError",
    "StoreError",
    "UnknownProtocolError",
    "UnsupportedError",
]


class AiovfsError(Exception):
    """Base of all errors that are ours. `hint` says what to do next, when we know."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class MountError(AiovfsError):
    """Mounting or unmounting failed. `tried` lists the ways that were tried and what each said."""

    def __init__(
        self, message: str, *, mountpoint: str | None = None, tried: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.mountpoint = mountpoint
        self.tried = tuple(tried)

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}; tried: {'; '.join(self.tried)}" if self.tried else text


class OptionError(AiovfsError, ValueError):
    """An option that does not exist or has an impossible value; the message names the nearest known one."""


class StoreError(AiovfsError):
    """A store could not be opened: wrong URL, wrong credentials, server down. `url` carries no secrets."""

    def __init__(self, message: str, *, url: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.url = url


class UnknownProtocolError(StoreError):
    """Neither we nor fsspec know the URL's protocol."""


class MissingPackageError(StoreError):
    """The protocol is known, but a package that it needs is not installed; the hint says what to install."""


class ProtocolError(AiovfsError):
    """Bytes that are not a message of the FUSE protocol."""


class ReplyError(AiovfsError):
    """A handler returned something that cannot be sent to the kernel; the message names the handler and the fix."""


class ClosedError(AiovfsError, ValueError):
    """The object was closed before. A `ValueError` too, as Python's own files raise."""


class StaleError(AiovfsError, OSError):
    """The stored file changed while an older version of it was open (errno ESTALE)."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        AiovfsError.__init__(self, message, hint=hint)
        self.errno = errno.ESTALE
        self.strerror = message


class UnsupportedError(AiovfsError, OSError):
    """The store cannot do this at all (errno EOPNOTSUPP)."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        AiovfsError.__init__(self, message, hint=hint)
        self.errno = errno.EOPNOTSUPP
        self.strerror = message
