"""The process that serves one mount for another process: what `spawning` starts.

It is a fresh interpreter, never a fork: a fork of a process with threads and loops inherits locks that nobody will
release. It leads its own session, so that Ctrl-C in the asker's terminal does not reach it; the asker decides.

An attached child ends with its asker, however that ends: end of file on the control socket is the usual sign. Forked
children of the asker may hold that socket open, so the asker's process is watched as well, through a pidfd.
(PR_SET_PDEATHSIG would fire when the *thread* that spawned us ends.)
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from aiovfs.mount import logs, serving
from aiovfs.mount.frames import UNMOUNT, describe_error, receive, send
from aiovfs.mount.spec import MountSpec, UnpicklableError

__all__ = ["BOOTSTRAP", "main"]

# Run with -c by the new interpreter, which must not guess where this package is: it takes over the asker's search path.
BOOTSTRAP = """\
import json, socket, sys
control = socket.socket(fileno=int(sys.argv[1]))
size = int.from_bytes(control.recv(4, socket.MSG_WAITALL), "big")
sys.path[:] = json.loads(control.recv(size, socket.MSG_WAITALL))
from aiovfs.mount.child import main
main(control)
"""


def main(control: socket.socket) -> None:
    """Read the spec, serve it, report; ends the process."""
    faulthandler.enable()
    control.set_inheritable(False)
    spec = read_spec(control)
    if spec is None:
        sys.exit(1)
    logs.configure(spec.log_level, secrets=logs.secret_values(spec.storage_options))
    try:
        serving.run(serve, spec, control)
    except BaseException as error:
        send(control, {"event": "failed", "error": describe_error(error)})
        if not spec.attached:
            import logging

            logging.getLogger("aiovfs.mount").error("%s ended with an error", spec.directory, exc_info=error)
        sys.exit(1)
    send(control, {"event": "ended"})


def read_spec(control: socket.socket) -> MountSpec | None:
    data = receive(control)
    if data is None:
        return None
    try:
        return MountSpec.unpickled(data)
    except UnpicklableError as error:
        send(control, {"event": "unpicklable", "message": str(error)})
        return None


async def serve(spec: MountSpec, control: socket.socket) -> None:
    async with anyio.create_task_group() as tasks:
        stop = Stop(tasks)
        tasks.start_soon(watch_signals, stop)
        tasks.start_soon(watch_control, control, stop, spec.attached)
        if spec.attached and spec.parent:
            tasks.start_soon(watch_parent, spec.parent, stop)

        def ready(mounted: serving.Serving) -> None:
            stop.mounted = mounted
            send(
                control,
                {"event": "mounted", "pid": os.getpid(), "url": mounted.url, "directory": mounted.directory},
            )
            if not spec.attached:
                # Nobody waits for us now. Leaving the asker's directory lets that be unmounted.
                os.chdir("/")

        def draining(files: int) -> None:
            send(control, {"event": "draining", "files": files})

        await serving.serve(spec, ready, draining)
        tasks.cancel_scope.cancel()


class Stop:
    """Ends the mount in an orderly way; before it stands, by cancelling the attempt."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self.mounted: serving.Serving | None = None

    def __call__(self) -> None:
        if self.mounted is None:
            self._tasks.cancel_scope.cancel()
        else:
            self.mounted.terminate()


async def watch_signals(stop: Callable[[], None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for _ in signals:
            stop()


async def watch_control(control: socket.socket, stop: Stop, attached: bool) -> None:
    """Until the asker asks for the end, or has gone. A detached mount that stands does not mind the latter."""
    await anyio.wait_readable(control)
    frame = await anyio.to_thread.run_sync(receive, control)
    if frame == UNMOUNT or attached or stop.mounted is None:
        stop()


async def watch_parent(pid: int, stop: Callable[[], None]) -> None:
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        stop()
        return
    except OSError:
        return  # forbidden by a seccomp filter: the control socket has to do
    try:
        await anyio.wait_readable(watched)
    finally:
        os.close(watched)
    stop()
