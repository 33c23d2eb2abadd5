"""What people see: lines on standard error, sizes, times, and the progress of transfers. The only importer of rich."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["OutputClosedError", "Transfers", "count", "human_size", "note", "printable", "write_bytes", "write_line"]

PLAIN_INTERVAL = 5.0  # seconds between progress lines where there is no terminal


class OutputClosedError(Exception):
    """The reader of standard output has gone: end quietly. Not an OSError: no store must be blamed for it."""


def note(line: str) -> None:
    """A line for people, on standard error."""
    try:
        click.echo(line, err=True)
    except OSError:
        pass  # nobody is there to be told


def write_line(line: str) -> None:
    try:
        click.echo(line)
    except BrokenPipeError:
        raise OutputClosedError from None


def write_bytes(data: bytes) -> None:
    """To standard output, all of it, unbuffered."""
    view = memoryview(data)
    try:
        sys.stdout.flush()
        while view:
            view = view[os.write(sys.stdout.fileno(), view) :]
    except BrokenPipeError:
        raise OutputClosedError from None


def printable(name: str) -> str:
    """A file name on one line: control characters and undecodable bytes are escaped."""
    if name.isprintable():
        return name
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in name
    )


def human_size(size: float) -> str:
    """1536 → "1.5 KiB"."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1024 or unit == "TiB":
            break
    return f"{size:.1f} {unit}"


class Transfers:
    """The progress of copying many files: bars on a terminal, a line now and then elsewhere, nothing when quiet.

    Methods may be called from any thread.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.files = 0
        self.bytes = 0
        self.files_done = 0
        self.failures = 0
        self._moved: dict[str, int] = {}
        self._quiet = quiet
        self._clock = clock
        self._started = self._last_line = clock()
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    @property
    def bytes_done(self) -> int:
        return sum(self._moved.values())

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            self._rich = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._rich.start()
            self._task = self._rich.add_task("0 files", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()
        if not self._quiet and kind is None:
            seconds = max(self._clock() - self._started, 1e-6)
            done = f"{count(self.files_done, 'file')}, {human_size(self.bytes_done)}"
            rate = f" in {seconds:.1f} s ({human_size(self.bytes_done / seconds)}/s)"
            note(f"copied {done}{rate}" + (f"; {self.failures} failed" if self.failures else ""))

    def expect(self, size: int | None) -> None:
        """One more file will be copied."""
        self.files += 1
        self.bytes += size or 0
        self._refresh()

    def moved(self, name: str, size: int) -> None:
        """`size` bytes of this file have been copied so far."""
        self._moved[name] = size
        self._refresh()

    def done(self, name: str, size: int | None) -> None:
        self.files_done += 1
        if size is not None:
            self._moved[name] = size
        self._refresh()

    def failed(self, name: str, message: str) -> None:
        self.failures += 1
        self._moved.pop(name, None)
        line = f"aiovfs: {printable(name)}: {message}"
        if self._rich is not None:
            self._rich.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            note(line)

    def _refresh(self) -> None:
        if self._quiet:
            return
        text = f"{self.files_done}/{count(self.files, 'file')}"
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, description=text, total=self.bytes or None, completed=self.bytes_done)
        elif (now := self._clock()) - self._last_line >= PLAIN_INTERVAL:
            self._last_line = now
            note(f"{text}, {human_size(self.bytes_done)} of {human_size(self.bytes)}")


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
