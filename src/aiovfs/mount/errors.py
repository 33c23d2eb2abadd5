"""Which errno an exception answers: one table.

An `OSError`'s own errno wins. What is in no row is our bug: the session answers EIO and logs the traceback.
"""

from __future__ import annotations

import errno
import os

from aiovfs.errors import ClosedError, MissingPackageError, StaleError, StoreError, UnsupportedError

__all__ = ["ERRNO_OF", "errno_of", "error"]

ERRNO_OF: dict[type[BaseException], int] = {
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
    PermissionError: errno.EACCES,
    TimeoutError: errno.ETIMEDOUT,
    InterruptedError: errno.EINTR,
    BlockingIOError: errno.EAGAIN,
    BrokenPipeError: errno.EIO,
    ConnectionError: errno.EIO,
    StaleError: errno.ESTALE,
    UnsupportedError: errno.EOPNOTSUPP,
    OSError: errno.EIO,
    # Not OSErrors:
    MissingPackageError: errno.ENOPKG,
    StoreError: errno.EIO,
    ClosedError: errno.EBADF,
    EOFError: errno.EIO,
    NotImplementedError: errno.EOPNOTSUPP,
    MemoryError: errno.ENOMEM,
}
"""Exception type → errno; the most specific row of an exception's classes counts."""


def errno_of(exception: BaseException) -> int | None:
    """The errno that answers `exception`, or None when it is nothing that a store may raise."""
    if isinstance(exception, OSError) and exception.errno is not None and 0 < exception.errno < 512:
        return exception.errno
    for cls in type(exception).__mro__:
        if cls in ERRNO_OF:
            return ERRNO_OF[cls]
    return None


def error(number: int, what: object = None) -> OSError:
    """An `OSError` of the right subclass for an errno; `what` is the name or path it is about."""
    return OSError(number, os.strerror(number)) if what is None else OSError(number, os.strerror(number), what)
