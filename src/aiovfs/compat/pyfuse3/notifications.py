"""Tell the kernel that something changed.

These functions block for as long as the kernel does, and the kernel may wait for a directory or a page that is locked
until a request is answered. Called from a handler, that is a request that *we* would have to answer: pyfuse3 then
hangs for good, client, server and all. Here a call on the thread that serves is carried out by a helper thread, and
waited for only as long as that can be a matter of being quick; after that it is left to the helper, whose failures go
to the log. On any other thread the call is made in place.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence

from aiovfs.compat.pyfuse3.coercion import U64, to_integer
from aiovfs.compat.pyfuse3.state import Mounted, current
from aiovfs.fuse.protocol.notifications import (
    encode_delete,
    encode_inval_entry,
    encode_inval_inode,
    encode_poll,
    encode_store,
)
from aiovfs.types import Buffer

__all__ = ["invalidate_entry", "invalidate_entry_async", "invalidate_inode", "make_waker", "notify_store", "stop"]

log = logging.getLogger("pyfuse3")

PATIENCE_S = 0.25
"""How long a call on the serving thread may hold it up. An ordinary notification takes microseconds."""

Job = Callable[[], None]


class Worker:
    """A daemon thread that does jobs in order. Started when first used, ended by `stop`, absent in forked children."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | None] | None = None

    def submit(self, job: Job) -> None:
        with self._lock:
            if self._jobs is None:
                self._jobs = queue.SimpleQueue()
                threading.Thread(target=self._work, args=(self._jobs,), name=self._name, daemon=True).start()
            self._jobs.put(job)

    def stop(self) -> None:
        """End the thread once its jobs are done. A later job starts a new one."""
        with self._lock:
            if self._jobs is not None:
                self._jobs.put(None)
                self._jobs = None

    @staticmethod
    def _work(jobs: queue.SimpleQueue[Job | None]) -> None:
        while (job := jobs.get()) is not None:
            job()


class Notice:
    """One notification that a helper writes while its caller waits, for a moment."""

    def __init__(self, write: Job, name: str) -> None:
        self._write = write
        self._name = name
        self._lock = threading.Lock()
        self._is_done = threading.Event()
        self._is_left_alone = False
        self._failure: OSError | None = None

    def run(self) -> None:
        failure = None
        try:
            self._write()
        except OSError as exc:
            failure = exc
        with self._lock:
            self._failure = failure
            self._is_done.set()
            if self._is_left_alone and failure is not None and failure.errno != errno.ENOENT:
                log.error("%s, submitted by a handler, did not succeed: %s", self._name, failure)

    @property
    def is_done(self) -> bool:
        return self._is_done.is_set()

    def wait(self, seconds: float) -> bool:
        """Raise what the write raised; False when it is still under way."""
        self._is_done.wait(seconds)
        with self._lock:
            self._is_left_alone = not self._is_done.is_set()
            if self._failure is not None:
                raise self._failure
        return not self._is_left_alone


_helper = Worker("pyfuse3-notify")
_invalidator = Worker("pyfuse3-invalidate")
_held_up: Notice | None = None


def stop() -> None:
    """`main` has ended: let the threads end as well."""
    global _held_up
    _held_up = None
    _helper.stop()
    _invalidator.stop()


def _send(name: str, buffers: Sequence[Buffer], *, may_block: bool = True) -> None:
    global _held_up
    mounted = current()
    if mounted is None:
        raise RuntimeError(f"fuse_lowlevel_notify_{name}: there is no mount; call init() first")

    def write() -> None:
        _write(mounted, name, buffers)

    if not may_block or not mounted.is_served_here:
        write()
        return
    notice = Notice(write, name)
    _helper.submit(notice.run)
    # While one is held up, the others queue behind it: waiting for them as well would only hold up the session.
    is_free = _held_up is None or _held_up.is_done
    if notice.wait(PATIENCE_S if is_free else 0):
        return
    if is_free:
        _held_up = notice
        log.debug("%s waits for a request that is being handled; it goes on in the background", name)


def _write(mounted: Mounted, name: str, buffers: Sequence[Buffer]) -> None:
    try:
        mounted.write(buffers)
    except OSError as exc:
        raise OSError(exc.errno, f"fuse_lowlevel_notify_{name} returned: {exc.strerror}") from None


def _check_name(name: object) -> None:
    if not isinstance(name, bytes):
        raise TypeError(f"expected bytes, got {name!r} ({type(name).__name__})")


def invalidate_inode(inode: int, attr_only: bool = False) -> None:
    """Have the kernel drop the attributes of a node, and its cached pages unless `attr_only`.

    Raises `FileNotFoundError` when the kernel does not know the node, other `OSError`s as they come.
    """
    offset = -1 if attr_only else 0
    _send("inval_inode", encode_inval_inode(to_integer(inode, U64), offset, 0), may_block=not attr_only)


def invalidate_entry(inode_p: int, name: bytes, deleted: int = 0) -> None:
    """Have the kernel drop a name; with `deleted`, the node that was removed, also tell those who watch it.

    From a handler that is about the same directory this cannot take effect before the handler ends: it returns all the
    same, and takes effect then.
    """
    parent, child = to_integer(inode_p, U64), to_integer(deleted, U64)
    _check_name(name)
    if child:
        _send("delete", encode_delete(parent, child, name))
    else:
        _send("inval_entry", encode_inval_entry(parent, name))


def invalidate_entry_async(inode_p: int, name: bytes, deleted: int = 0, ignore_enoent: bool = False) -> None:
    """Call `invalidate_entry` in a thread, after those submitted before. Its failures go to the log only."""

    def job() -> None:
        # Looked up when it is called: programs replace it.
        surface = sys.modules[__name__.rpartition(".")[0]]
        try:
            surface.invalidate_entry(inode_p, name, deleted)
        except BaseException as exc:
            if ignore_enoent and isinstance(exc, FileNotFoundError):
                return
            log.exception("Failed to submit invalidate_entry request for parent inode %s, name %r", inode_p, name)

    _invalidator.submit(job)


def notify_store(inode: int, offset: int, data: Buffer) -> None:
    """Put `data` into the kernel's page cache. Raises `FileNotFoundError` when the kernel does not know the node."""
    view = memoryview(data)
    if not view.contiguous:
        raise TypeError(f"a buffer in one piece is required, got {view!r} with strides {view.strides}")
    _send("store", encode_store(to_integer(inode, U64), to_integer(offset, U64), view))


def make_waker(mounted: Mounted) -> Callable[[int], None]:
    """What `PollHandle.notify` calls. Never blocks."""

    def wake(kh: int) -> None:
        _write(mounted, "poll", encode_poll(kh))

    return wake


def _after_fork_in_child() -> None:
    global _helper, _invalidator, _held_up
    _helper, _invalidator, _held_up = Worker("pyfuse3-notify"), Worker("pyfuse3-invalidate"), None


os.register_at_fork(after_in_child=_after_fork_in_child)
