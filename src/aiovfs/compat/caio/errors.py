"""What failed operations raise.

caio raises `SystemError` without an errno; programs written for it catch that. Everything else of the world expects
`OSError` with one. So ours is both, and where caio's `linux` raises `ValueError` (a request that the kernel refuses
when it is submitted) it is that too.
"""

from __future__ import annotations

import os

__all__ = ["OperationError", "SubmissionError", "operation_error", "submission_error"]


class OperationError(OSError, SystemError):
    """An operation failed; `errno` says how."""


class SubmissionError(OperationError, ValueError):
    """The kernel refused to begin an operation."""


def operation_error(number: int, what: str = "") -> OperationError:
    """The error for errno `number`; `what` is put behind the system's text."""
    return OperationError(number, f"{os.strerror(number)}{': ' if what else ''}{what}")


def submission_error(number: int, what: str = "") -> SubmissionError:
    """The same for a request that was refused."""
    return SubmissionError(number, f"{os.strerror(number)}{': ' if what else ''}{what}")
