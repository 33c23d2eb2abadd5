"""Mounting from Python: `mount(url, directory)` and the `Mount` that it returns."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio

from aiovfs.errors import MountError, OptionError
from aiovfs.mount.registry import absolute
from aiovfs.mount.spec import MountSpec, UnpicklableError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from aiovfs.mount.spawning import ChildServer
    from aiovfs.mount.threads import ThreadServer

__all__ = ["Mount", "mount"]


def mount(
    url_or_fs: str | AbstractFileSystem,
    directory: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    in_process: bool | None = None,
    root: str | None = None,
    client: str | None = None,
    replace: bool = False,
    **options: Any,
) -> Mount:
    """Mount a store on an existing, empty directory.

        with aiovfs.mount("s3://bucket/data", "/mnt/data", storage_options={"anon": True}) as mounted:
            subprocess.run(["duckdb", "-c", f"from '{mounted.directory}/*.parquet'"])

        async with aiovfs.mount(url, directory) as mounted:     # asyncio and Trio
            ...

    `url_or_fs` is any fsspec URL, or a file system object (`root`: the path inside it). `options` are those of
    `MountOptions`: `preset="solo"`, `read_only=True`, `cache_size="1GiB"`. `client` chooses "s3fs" or "obstore" for
    object stores. `replace` clears away a dead mount on the directory first.

    Outside of an event loop the file system answers when this function returns. Inside of one nothing may block, so
    there the mount is made by `async with`, or by `await` on the result. Leaving the block unmounts, and returns
    when everything written is in the store; an error of that drain is raised. A mount that nobody ended is ended
    when the process ends, also by `kill -9`.

    By default a spawned child process serves. Objects and options travel to it by pickle, through a socket.
    `in_process=True` serves from a thread of this process; None chooses that only when it must: for `memory://`,
    which no other process could see, and for objects that cannot be pickled (or whose class lives in `__main__`).
    Two hazards come with it, and are why it is not the default:

    - A thread of this process that computes without releasing the GIL holds up every request of the mount, by up to
      the interpreter's switch interval each time, and for as long as it holds on.
    - Never map a file of an in-process mount into this process (`mmap`, `numpy.memmap`, `pyarrow.memory_map`). The
      page fault is taken with the GIL held, and the thread that could answer it needs the GIL: the process hangs, and
      cannot be killed before the mount is aborted.

    Raises `MountError`, `OptionError` or `StoreError`; each says what to do next.
    """
    from aiovfs.mount.options import MountOptions

    MountOptions.build(options)
    if not isinstance(url_or_fs, str) and storage_options:
        raise OptionError(
            "storage_options were given beside a file system object, which has its own",
            hint="give the URL instead, or make the object with these options",
        )
    spec = MountSpec(
        target=url_or_fs,
        directory=absolute(directory),
        root=root,
        client=client,
        storage_options=dict(storage_options or {}),
        options=options,
        replace=replace,
        parent=os.getpid(),
    )
    mounted = Mount(spec, in_process=in_process)
    if not in_event_loop():
        mounted.start()
    return mounted


class Mount(os.PathLike[str]):
    """One mount made by this process. Use it as a context manager, synchronous or asynchronous.

    Waiting for the end of a mount is the same from several threads or tasks; a `Mount` is used once.
    """

    def __init__(self, spec: MountSpec, *, in_process: bool | None = None) -> None:
        self._spec = spec
        self._in_process = in_process
        self._server: ChildServer | ThreadServer | None = None

    def __repr__(self) -> str:
        state = "not mounted yet" if self._server is None else "alive" if self.is_alive else "ended"
        return f"<Mount {self.url} on {self._spec.directory}: {state}>"

    def __fspath__(self) -> str:
        return self._spec.directory

    @property
    def directory(self) -> Path:
        return Path(self._spec.directory)

    @property
    def url(self) -> str:
        """What is mounted, without secrets."""
        return self._spec.display_url if self._server is None else self._server.url

    @property
    def pid(self) -> int | None:
        """The process that serves; None before it was started."""
        return None if self._server is None else self._server.pid

    @property
    def in_process(self) -> bool:
        """Whether this process serves."""
        from aiovfs.mount.threads import ThreadServer

        return isinstance(self._server, ThreadServer) if self._server is not None else bool(self._in_process)

    @property
    def is_alive(self) -> bool:
        """Whether the file system is mounted and served. Never touches the mount."""
        return self._server is not None and self._server.is_alive

    def start(self) -> Self:
        """Mount, unless that has been done. Blocks until the file system answers."""
        if self._server is None:
            self._server = start_server(self._spec, self._in_process)
            _live.add(self)
        return self

    def unmount(self) -> None:
        """Unmount, and wait until everything written is in the store. Does nothing when the mount has ended.

        Files that are still open there do not prevent it; further use of them fails. Raises what the drain raised.
        Blocks: use `aunmount` in an event loop.
        """
        if self._server is None:
            raise MountError(f"{self._spec.directory} is not mounted yet", hint="enter the block, or call start()")
        self._server.request_stop()
        self.wait()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the mount ends, by `unmount` or from outside, and its data is in the store.

        False when that took more than `timeout` seconds. Raises what the drain raised, and `MountError` when the
        serving process died.
        """
        if self._server is None:
            raise MountError(f"{self._spec.directory} is not mounted yet", hint="enter the block, or call start()")
        try:
            ended = self._server.wait(timeout)
        except Exception:
            _live.discard(self)
            raise
        if ended:
            _live.discard(self)
        return ended

    async def aunmount(self) -> None:
        """As `unmount`, on any loop. Cancelling does not cut the drain short; `drain_timeout` bounds it."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.unmount)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.unmount()

    async def __aenter__(self) -> Self:
        # Not abandoned when cancelled: the store's own deadlines bound it, and a half-made mount must be undone anyway.
        return await anyio.to_thread.run_sync(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aunmount()

    def __await__(self) -> Generator[Any, Any, Self]:
        return self.__aenter__().__await__()


def start_server(spec: MountSpec, in_process: bool | None) -> ChildServer | ThreadServer:
    """Serve in the way that was asked for, or that works."""
    from aiovfs.mount.serving import prepare_mountpoint
    from aiovfs.mount.spawning import ChildServer
    from aiovfs.mount.threads import ThreadServer

    # Asked here too, to save the start of an interpreter when the answer is no.
    prepare_mountpoint(spec.directory, nonempty=bool(spec.options.get("nonempty")), replace=spec.replace)
    server: ChildServer | ThreadServer
    if in_process or (in_process is None and lives_here(spec)):
        server = ThreadServer(spec)
        server.start()
        return server
    try:
        server = ChildServer(spec)
        server.start()
    except UnpicklableError as error:
        if in_process is False:
            raise MountError(
                f"{spec.display_url} cannot be served by another process: {error}",
                mountpoint=spec.directory,
                hint="in_process=True serves it from this one",
            ) from error
        server = ThreadServer(spec)
        server.start()
    return server


def lives_here(spec: MountSpec) -> bool:
    """Whether only this process can see the content: fsspec's memory file system, also under wrappers and chains."""
    if isinstance(spec.target, str):
        links = spec.target.split("::")
        return any(link == "memory" or link.startswith("memory:") for link in links)
    fs: Any = spec.target
    while fs is not None:
        protocol = getattr(fs, "protocol", ())
        if "memory" in ((protocol,) if isinstance(protocol, str) else protocol):
            return True
        fs = getattr(fs, "fs", None)
    return False


def in_event_loop() -> bool:
    from aiovfs._loop import running_library

    try:
        running_library()
    except RuntimeError:
        return False
    return True


# Strong references: a mount that the caller lost sight of still has to be drained.
_live: set[Mount] = set()
os.register_at_fork(after_in_child=_live.clear)


@atexit.register
def end_all() -> None:
    """At the end of the interpreter: unmount what is still mounted, so that nothing written is lost."""
    for mounted in list(_live):
        try:
            mounted.unmount()
        except Exception as error:  # the next one still has to be ended
            print(f"aiovfs: {mounted!r}: {error}", file=sys.stderr)
