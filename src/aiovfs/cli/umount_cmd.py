"""`aiovfs umount`: detach, then wait until what was written is in the store."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import click

from aiovfs.cli import ui
from aiovfs.cli.options import debug_option, not_empty
from aiovfs.errors import MountError

if TYPE_CHECKING:
    from aiovfs.mount.registry import MountedRow, Record

__all__ = ["umount"]

POLL_INTERVAL = 0.05
PATIENCE = 1.0  # seconds without a word
LOOK_TIMEOUT = 3.0  # seconds a mount gets to say whether it is dead


@click.command()
@click.argument("directory", metavar="DIR", callback=not_empty)
@click.option("--lazy", is_flag=True, help="Detach now, although files are in use; it ends when they are closed.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up waiting then; the storing goes on.",
)
@debug_option
def umount(directory: str, lazy: bool, timeout: float) -> int:
    """Unmount DIR, and return when everything that was written there is in the store.

    A dead mount ("Transport endpoint is not connected") is cleared away.
    """
    from aiovfs.fuse import mountpoint
    from aiovfs.mount import registry

    row = find(directory)
    record = registry.find_record(row)
    if is_dead(row, record):
        mountpoint.unmount(row.directory, lazy=True)
        if record is not None:
            registry.forget(record)
        ui.note(f"{row.directory} was a dead mount: its server had ended without unmounting; cleared away")
        if record is not None and (files := record.left_behind()):
            what = f"{ui.count(len(files), 'file')} that it had not uploaded"
            ui.note(f"{what}: {ui.printable(os.path.dirname(files[0]))}")
        return 0
    try:
        mountpoint.unmount(row.directory, lazy=lazy)
    except MountError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EBUSY:
            raise busy(row) from error
        raise
    if record is None:
        ui.note(f"{row.directory}: unmounted; it is not recorded who served it, so nobody waited for them to finish")
    else:
        wait_for_end(record, timeout, lazy=lazy)
    return 0


def find(directory: str) -> MountedRow:
    """The mount on this directory. Raises `MountError` when there is none that is ours to end."""
    from aiovfs.mount import registry

    row = registry.find_mount(directory)
    if row is None:
        path = registry.absolute(directory)
        problem = "is not a mountpoint" if os.path.lexists(path) else "does not exist"
        ours = sorted({mounted.directory for mounted in registry.mounted_rows() if mounted.is_ours})
        hint = f"mounted are: {', '.join(ours)}" if ours else "nothing of aiovfs is mounted"
        raise MountError(f"{path} {problem}", mountpoint=path, hint=hint)
    if not row.is_fuse:
        raise MountError(
            f"{row.directory} is a mount of type {row.type}, not one of aiovfs",
            mountpoint=row.directory,
            hint="umount(8) unmounts it",
        )
    return row


def is_dead(row: MountedRow, record: Record | None) -> bool | None:
    """Whether nobody serves this mount any more; None when it does not answer.

    A server that hangs is not dead: its data may still be saved.
    """
    import threading

    from aiovfs.fuse import mountpoint

    if record is not None:
        return not record.is_alive
    answers: list[bool] = []
    # A daemon thread, because the call returns only when the server answers; the end of the process ends it.
    thread = threading.Thread(target=lambda: answers.append(mountpoint.is_stale(row.directory)), daemon=True)
    thread.start()
    thread.join(LOOK_TIMEOUT)
    return answers[0] if answers else None


def busy(row: MountedRow) -> MountError:
    """The mount is in use: by whom, and what to do."""
    from aiovfs.mount import registry

    users = ", ".join(f"{command} (pid {pid})" for pid, command in registry.holders(row))
    text = f"{row.directory} is in use" + (f" by {users}" if users else "")
    return MountError(
        text, mountpoint=row.directory, hint=f"close what is open there, or: aiovfs umount --lazy {row.directory}"
    )


def wait_for_end(record: Record, timeout: float, *, lazy: bool = False) -> None:
    """Until the serving process has stored everything; says something when that takes long.

    Raises `MountError` when it could not store everything, died, or takes more than `timeout` seconds.
    """
    from aiovfs.mount import registry

    start = said = time.monotonic()
    while True:
        current = registry.reread(record)
        if current is None:
            return
        if current.error is not None:
            registry.forget(current)
            raise MountError(
                f"{record.directory} is unmounted, but not everything could be stored: {current.error}",
                mountpoint=record.directory,
                hint=_log_hint(record),
            )
        if not current.is_alive:
            registry.forget(current)
            raise MountError(
                f"{record.directory}: the serving process (pid {record.pid}) died before everything was stored",
                mountpoint=record.directory,
                hint=_log_hint(record),
            )
        now = time.monotonic()
        rest = f" {ui.count(current.pending, 'file')}" if current.pending else " what was written"
        is_open = lazy and current.state == "serving"
        if now - start >= timeout:
            doing = "serves files that are open" if is_open else f"stores{rest}"
            raise MountError(
                f"{record.directory} is unmounted, but pid {record.pid} still {doing} after {timeout:g} s",
                mountpoint=record.directory,
                hint="it goes on; do not kill it" + (f", its log is {record.log_file}" if record.log_file else ""),
            )
        if now - said >= PATIENCE:
            said = now
            doing = "waiting for files that are open" if is_open else f"storing{rest}"
            ui.note(f"{record.directory}: unmounted; {doing} … {now - start:.0f} s")
        time.sleep(POLL_INTERVAL)


def _log_hint(record: Record) -> str | None:
    return f"its log is {record.log_file}" if record.log_file else None
