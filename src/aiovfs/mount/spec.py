"""What to mount, where and how: one value that travels from whoever asks to the process that serves."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["MountSpec", "UnpicklableError"]


class UnpicklableError(Exception):
    """The spec holds something that cannot travel to another process."""


@dataclass(frozen=True, slots=True)
class MountSpec:
    """One mount, completely described.

    It holds secrets (inside `storage_options`, or in the file system object), so it is never logged and travels through
    a pipe only: the arguments and the environment of a process can be read by others.
    """

    target: str | AbstractFileSystem
    directory: str
    """Absolute, without symbolic links."""
    root: str | None = None
    """The path inside `target`, when that is a file system object; None is its own root."""
    client: str | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Names and values of `mount.options`."""
    replace: bool = False
    """Clear away a dead mount on `directory` first."""
    attached: bool = True
    """The mount lives no longer than the process that asked for it."""
    parent: int = 0
    """The id of the process that asked; 0 when it does not matter."""
    log_file: str | None = None
    log_level: int | None = None
    """As in `logging`; None: warnings and errors."""

    def __repr__(self) -> str:
        return f"MountSpec({self.display_url!r} on {self.directory!r})"

    @property
    def display_url(self) -> str:
        """The URL without secrets, for people; for an object, its protocol."""
        from aiovfs.fs import redact

        if isinstance(self.target, str):
            return redact(self.target)
        protocol = self.target.protocol
        return f"{protocol if isinstance(protocol, str) else protocol[0]}://{self.root or ''}"

    def pickled(self) -> bytes:
        """For another interpreter. Raises `UnpicklableError`, naming what cannot be pickled."""
        try:
            return pickle.dumps(self)
        except Exception as error:  # __reduce__ is anybody's code
            raise UnpicklableError(f"{type(error).__name__}: {error}") from error

    @classmethod
    def unpickled(cls, data: bytes) -> MountSpec:
        """The inverse. Raises `UnpicklableError` when, for example, a class lives in the other process's `__main__`."""
        try:
            spec = pickle.loads(data)
        except Exception as error:
            raise UnpicklableError(f"{type(error).__name__}: {error}") from error
        if not isinstance(spec, cls):
            raise UnpicklableError(f"expected a MountSpec, got {type(spec).__name__}")
        return spec
