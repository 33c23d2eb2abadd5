"""Logging of a process that serves mounts: set up in one place, without secrets.

A library does not configure logging, so nothing here runs when somebody else's process serves the mount. The
processes that are ours (the command line, the serving child) call `configure` once.

URLs are logged through `fs.redact`. Beyond that, what a third package logs is out of our hands (a client that prints
its own configuration, an exception that quotes a request), so the secrets that we were given are also blotted out by
value in the finished line.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import IO, Any

__all__ = ["configure", "is_secret", "secret_values"]

_SECRET_NAME = re.compile(
    r"secret|passw|passphrase|token|credential|api_?key|access_?key|account_?key|sas|^key$|pkey", re.IGNORECASE
)
_SHORTEST_SECRET = 6  # blotting out shorter values would make the log unreadable


def is_secret(name: str) -> bool:
    """Whether an option of this name may hold a secret."""
    return _SECRET_NAME.search(name) is not None


def secret_values(options: Mapping[str, Any]) -> list[str]:
    """The values, at any depth, that must not appear in a log."""
    found: list[str] = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            found += secret_values(value)
        elif is_secret(str(name)) and isinstance(value, str) and len(value) >= _SHORTEST_SECRET:
            found.append(value)
    return found


class RedactingFormatter(logging.Formatter):
    def __init__(self, text: str, secrets: Iterable[str]) -> None:
        super().__init__(text)
        # Longest first: one secret may begin with another.
        words = sorted(set(secrets), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, words))) if words else None

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return self._pattern.sub("***", line) if self._pattern else line


def configure(level: int | None, *, secrets: Iterable[str] = (), stream: IO[str] | None = None) -> None:
    """Log to `stream` (standard error): ours from `level` on, other packages' warnings."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s", secrets))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, RedactingFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger("aiovfs").setLevel(logging.WARNING if level is None else level)
    logging.captureWarnings(True)
