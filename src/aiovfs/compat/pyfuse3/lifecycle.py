"""`init`, `main`, `terminate`, `close`: mount, serve, end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import Any

import anyio

from aiovfs import fuse
from aiovfs._loop import running_library
from aiovfs.compat.pyfuse3 import notifications, tokens
from aiovfs.compat.pyfuse3.adapter import Adapter
from aiovfs.compat.pyfuse3.operations import Operations
from aiovfs.compat.pyfuse3.options import to_session_options
from aiovfs.compat.pyfuse3.state import Mounted, current, replace
from aiovfs.errors import MountError, OptionError
from aiovfs.fuse import mountpoint as mountpoints
from aiovfs.fuse.device import DeviceGone
from aiovfs.fuse.options import parse_options
from aiovfs.fuse.overrides import Overrides

__all__ = ["close", "default_options", "init", "main", "terminate"]

log = logging.getLogger("pyfuse3")

default_options: frozenset[str] = frozenset({"default_permissions"})

DEVICE_DIRECTORY = "/dev/fd/"
# What pyfuse3 agrees on with the kernel where aiovfs does otherwise by default.
DEFAULTS: dict[str, Any] = {
    "subtype": "",
    "readdirplus_auto": False,
    "direct_io_allow_mmap": False,
    "interrupts": False,
}


class MountFailed(RuntimeError, OSError):
    """What pyfuse3 raises when mounting fails is a `RuntimeError`; its documentation says `OSError` as well."""

    def __init__(self, message: str, cause: BaseException) -> None:
        super().__init__(message)
        found = cause if isinstance(cause, OSError) else cause.__cause__
        self.errno = found.errno if isinstance(found, OSError) else None


def init(ops: Operations, mountpoint: str, options: Iterable[str] = default_options, **session_options: Any) -> None:
    """Mount `ops` at `mountpoint`. Nothing is answered before `main` runs, so do not touch the mountpoint until then.

    `options` are words as after mount's `-o`. `/dev/fd/N` as mountpoint takes a connection that is mounted already.
    `session_options` are those of `aiovfs.fuse`, for what pyfuse3 has no words for: `max_background=128`.

    Raises `RuntimeError` for an option that does not exist and when mounting fails; the text says why. In the second
    case it is an `OSError` too, with its errno where the system gave one. A mount that was not closed before is let go:
    those who use it get an error, unless its `main` is still running.
    """
    if not isinstance(mountpoint, str):
        raise TypeError(f"mountpoint must be str, not {type(mountpoint).__name__}")
    given = connection_of(mountpoint)
    directory = os.path.realpath(mountpoint) if given < 0 else None
    chosen = DEFAULTS | to_session_options(options) | session_options
    chosen.setdefault("fsname", chosen["subtype"] or "/dev/fuse")
    try:
        settings = parse_options(chosen)
    except OptionError as exc:
        raise RuntimeError(f"fuse_session_new() failed: {exc}") from exc
    try:
        fd = os.dup(given) if directory is None else mountpoints.mount(directory, settings, check=False)
    except (MountError, OSError) as exc:
        raise MountFailed(f"fuse_session_mount failed: {exc}", exc) from exc
    before = replace(Mounted(fd, directory, ops, chosen))
    if before is not None and not before.is_being_served:
        log.warning("init() was called again before close(): the mount at %s is not served any more", before.directory)
        before.abort()


async def main(min_tasks: int = 1, max_tasks: int = 99) -> None:
    """Serve the mount that `init` made, on asyncio or Trio, until it is unmounted or `terminate` is called.

    Returns when every accepted request was answered. When a handler raises anything but `FUSEError`, its caller gets
    EIO, other handlers are cancelled, and this raises an `ExceptionGroup` with that exception; the mount then answers
    nobody, but users get an error instead of waiting. `max_tasks` bounds how many handlers wait at a time; `min_tasks`
    has no effect, as tasks are made where they are needed.
    """
    mounted = current()
    if mounted is None or mounted.has_been_served:
        raise RuntimeError("Need to call init() before main()")
    surface = sys.modules[__name__.rpartition(".")[0]]
    with mounted.being_served():
        surface.__dict__["trio_token"] = tokens.make_token() if running_library() == "trio" else "asyncio"
        try:
            if not mounted.must_end:
                await serve(mounted, max(1, int(max_tasks)))
        finally:
            surface.__dict__["trio_token"] = None
            notifications.stop()


async def serve(mounted: Mounted, max_tasks: int) -> None:
    """One session, from the kernel's greeting to its end; a failed handler cancels `scope`."""
    failures: list[BaseException] = []
    scope = anyio.CancelScope()

    def failed(exc: BaseException) -> None:
        failures.append(exc)
        scope.cancel()

    options: dict[str, Any] = {
        "max_tasks": max_tasks,
        "export_support": bool(mounted.operations.supports_dot_lookup),
        "writeback_cache": bool(mounted.operations.enable_writeback_cache),
        "posix_acl": bool(mounted.operations.enable_acl),
        **mounted.options,
    }
    adapter = Adapter(
        mounted.operations,
        failed=failed,
        wake_poll=notifications.make_waker(mounted),
        uses_native=not Overrides(parse_options(options)).changes_replies,
    )
    try:
        async with fuse.mount(adapter, f"{DEVICE_DIRECTORY}{mounted.fd}", **options) as session:
            mounted.began(session)
            try:
                with scope:
                    await session.wait()
            finally:
                # Those that still run now: `main` was cancelled, or a handler failed.
                session.cancel_handlers()
    except DeviceGone:
        return  # unmounted before it was ever served
    except KeyboardInterrupt as exc:
        if running_library() != "trio":
            raise
        failures.append(exc)
    except Exception as exc:
        failures.append(exc)
    if failures:
        mounted.abort()
        raise BaseExceptionGroup("Exceptions from Trio nursery", failures) from None


def terminate() -> None:
    """Have `main` end: requests that were accepted are still answered, the mount stays until `close`.

    May be called from anywhere: a handler, another task or thread, a signal handler; more than once; and before `main`,
    which then returns at once.
    """
    mounted = current()
    if mounted is not None:
        mounted.terminate()


def close(unmount: bool = True) -> None:
    """Let go of the mount, and unmount it if it is still there. Raises nothing; does nothing without a mount.

    With `unmount=False` a dead mountpoint is left ("Transport endpoint is not connected"), which some daemons want
    after a crash.
    """
    mounted = replace(None)
    if mounted is not None:
        mounted.close(unmount=unmount)


def connection_of(path: str) -> int:
    """N of `/dev/fd/N`, -1 for other paths."""
    number = path.removeprefix(DEVICE_DIRECTORY)
    return int(number) if number != path and number.isdecimal() else -1
