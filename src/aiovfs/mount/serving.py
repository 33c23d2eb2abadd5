"""From a `MountSpec` to a served directory: open the store, mount, record, wait, drain.

The three ways to serve use it alike: the command line in the foreground, the spawned child (`child`), and a thread of
the caller's process (`threads`).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio

from aiovfs.errors import MountError, StoreError
from aiovfs.mount import registry
from aiovfs.mount.frames import single_leaf
from aiovfs.mount.spec import MountSpec
from aiovfs.mount.staging import staging_directory

if TYPE_CHECKING:
    from aiovfs.mount.session import MountSession

__all__ = ["Serving", "prepare_mountpoint", "run", "serve"]


PROGRESS_INTERVAL = 0.5  # seconds between two looks at what is still to be stored


class Serving:
    """A mount that stands. `terminate` may be called from any thread and from signal handlers."""

    def __init__(self, spec: MountSpec, url: str, session: MountSession) -> None:
        self.url = url
        self.directory = spec.directory
        self.log_file = spec.log_file
        self._session = session

    def terminate(self) -> None:
        """Unmount; `serve` then drains and returns."""
        self._session.terminate()


def run(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """`anyio.run` on uvloop when it is installed, else on asyncio."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        options = {}
    else:
        options = {"use_uvloop": True}
    return anyio.run(function, *args, backend="asyncio", backend_options=options)


def prepare_mountpoint(directory: str, *, nonempty: bool = False, replace: bool = False) -> None:
    """Refuse a directory that cannot be mounted on, before any work is spent on the store. Blocks.

    With `replace`, a dead mount there is cleared away first. Raises `MountError`.
    """
    from aiovfs.fuse import mountpoint

    if mountpoint.is_stale(directory):
        if not replace:
            raise MountError(
                f"mountpoint {directory} is a dead mount: its server has ended without unmounting",
                mountpoint=directory,
                hint=f"mount with --replace (replace=True), or clear it away: aiovfs umount {directory}",
            )
        mountpoint.unmount(directory, lazy=True)
    mountpoint.check_mountpoint(directory, nonempty=nonempty)
    if os.geteuid() != 0 and not os.access(directory, os.W_OK):
        raise MountError(
            f"mountpoint {directory}: permission denied",
            mountpoint=directory,
            hint="an ordinary user can mount only on a directory that they may write",
        )
    if not os.path.exists("/dev/fuse"):
        raise MountError("/dev/fuse does not exist", mountpoint=directory, hint="load the module: modprobe fuse")


def check_apart(root: str, directory: str) -> None:
    """Refuse to show a local folder inside of itself, or itself on itself. Blocks. Raises `MountError`.

    The server would ask itself for what is below, and wait for itself for ever.
    """
    shown, place = os.path.realpath(root), os.path.realpath(directory)
    common = os.path.commonpath((shown, place))
    if common in (shown, place):
        how = "is" if shown == place else "is inside of" if common == shown else "contains"
        raise MountError(
            f"mountpoint {directory} {how} the folder that it is to show, {root}",
            mountpoint=directory,
            hint="choose a directory beside it",
        )


async def serve(
    spec: MountSpec, ready: Callable[[Serving], None], draining: Callable[[int], None] = lambda files: None
) -> None:
    """Mount and serve until unmounted, from outside or by `Serving.terminate`; returns when everything is in the store.

    `ready` is called once, when the file system answers; `draining` when it has been unmounted, with the number of
    files that have not reached the store yet. Raises `MountError`, `OptionError` or `StoreError` when mounting fails,
    and what the drain raises when data could not be stored.
    """
    from aiovfs.fs import open_store
    from aiovfs.mount.options import MountOptions
    from aiovfs.mount.session import serve_store

    options = MountOptions.build(spec.options)
    await anyio.to_thread.run_sync(prepare, spec)
    try:
        store = await open_store(
            spec.target,
            root=spec.root,
            read_only=options.read_only,
            client=spec.client,
            storage_options=spec.storage_options,
        )
    except NotADirectoryError as error:
        url = spec.display_url
        raise StoreError(f"{url} is not a directory", url=url, hint="mount the directory that it is in") from error
    registration: registry.Registration | None = None
    try:
        if store.protocol == "file":
            await anyio.to_thread.run_sync(check_apart, store.root, spec.directory)
        async with anyio.create_task_group() as tasks:
            async with serve_store(store, spec.directory, options) as session:
                registration = await anyio.to_thread.run_sync(register, spec, store.url, options.cache_dir)
                ready(Serving(spec, store.url, session))
                await session.wait()
                draining(len(session.dirty))
                if registration is not None:
                    tasks.start_soon(record_progress, session, registration)
            tasks.cancel_scope.cancel()
    except BaseException as error:
        if registration is not None:
            # For whoever unmounts, and would otherwise believe that all is well.
            leaf = single_leaf(error)
            registration.update(state="failed", error=str(leaf) or type(leaf).__name__)
            registration = None
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await store.aclose()
        if registration is not None:
            registration.remove()


async def record_progress(session: MountSession, registration: registry.Registration) -> None:
    """Keep the record up to date while the drain runs; cancelled at its end."""
    while True:
        registration.update(state="draining", pending=len(session.dirty))
        await anyio.sleep(PROGRESS_INTERVAL)


def prepare(spec: MountSpec) -> None:
    prepare_mountpoint(spec.directory, nonempty=bool(spec.options.get("nonempty")), replace=spec.replace)


def register(spec: MountSpec, url: str, cache_dir: str | None) -> registry.Registration | None:
    staging = staging_directory(cache_dir)
    return registry.register(spec.directory, url, log_file=spec.log_file, staging=staging)
