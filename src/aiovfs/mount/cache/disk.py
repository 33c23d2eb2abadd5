"""Blocks of remote files on this machine's disk: found again by the next mount, shared by all mounts of a user.

Below the cache directory (0700) lie one sparse file per version of a remote file, named by the hash of where it comes
from, its path, its fingerprint and its size, and the index that says which blocks of it are there (`index.py`).

- Only what the store names by a fingerprint is kept, and only for stores that were opened from a URL: nobody else's
  file can be meant by the same name.
- Limits hold before a block is written. What was not used for longest goes first: whole files, and parts of a file
  that alone is larger than the cache. A file that another process has open (it holds a shared lock) stays.
- A part is taken away in the order: forget here, forget in the index, then give back the room. Whoever was reading it
  looks afterwards whether it is still there.
- A cache disk that is full or broken is a cache that keeps less. It is said once in the log, and reads go on.

Numbers of files are never used twice, so a process that notes blocks of a file that another one has evicted is told,
and starts anew.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import sqlite3
import stat

import anyio
from anyio.abc import TaskGroup

from aiovfs import aio
from aiovfs.mount.cache.index import Extents, Index
from aiovfs.mount.cache.version import BLOCK_SIZE, DiskVersion, try_lock

__all__ = ["DiskCache", "version_key"]

logger = logging.getLogger("aiovfs.mount")

NOTE_AFTER = 256
"""Blocks that are noted in the index at once."""
NOTE_INTERVAL = 1.0
"""Seconds after which fewer are noted, too."""
ALLOWANCE = 16 * 1024 * 1024
"""Bytes that are written between two looks at the free space of the file system."""
SLACK = 16
"""Eviction goes on until a sixteenth of the limit is free, so that it is not needed for each block."""

_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def version_key(identity: str, path: str, fingerprint: str, size: int) -> bytes:
    """The name of one version of one file, for the index and on disk."""
    parts = [part.encode("utf-8", "surrogateescape") for part in (identity, path, fingerprint, str(size))]
    return hashlib.sha256(b"\0".join(parts)).digest()


class DiskCache:
    """The cache directory, as one mount uses it. Open it with `open`, close it with `aclose`."""

    def __init__(
        self, directory: str, index: Index, lock_fd: int, total: int, *, max_size: int, min_free: int, tasks: TaskGroup
    ) -> None:
        self.directory = directory
        self.is_closed = False
        self._index = index
        self._lock_fd = lock_fd
        self._max_size = max_size
        self._min_free = min_free
        self._tasks = tasks
        self._total = total  # what the index says
        self._reserved = 0  # written or about to be, and not in the index yet
        self._allowance = 0  # bytes that may be written before the free space is looked at again
        self._open: dict[int, DiskVersion] = {}
        self._to_note: dict[int, tuple[int, dict[int, int]]] = {}  # by number: size of the file, sums by block
        self._unnoted = 0  # bytes of the blocks in there
        self._is_broken = False
        self._was_reported = False
        self._evicting = anyio.Lock()
        self._noting = anyio.Lock()
        self._has_timer = False
        self.writes = 0
        """Writes of blocks that are under way."""
        self.bytes_read = 0
        """Bytes that reads were served from the disk."""
        self.bytes_written = 0
        """Bytes of blocks that were kept."""

    @classmethod
    async def open(cls, directory: str, tasks: TaskGroup, *, max_size: int, min_free: int) -> DiskCache | None:
        """The cache in `directory`, which is made; None, with a warning in the log, when it cannot be used.

        At most `max_size` bytes of blocks are kept, and nothing is written while the file system has less than
        `min_free` bytes for us. `tasks` runs what is done later.
        """
        try:
            opened = await aio.call(_open, directory)
        except (OSError, sqlite3.Error) as exception:
            logger.warning("no cache on disk: %s: %s", directory, exception)
            return None
        return cls(directory, *opened, max_size=max_size, min_free=min_free, tasks=tasks)

    async def aclose(self) -> None:
        """Note what was not noted yet, and give everything back."""
        if self.is_closed:
            return
        await self.note()
        self.is_closed = True
        for version in list(self._open.values()):
            version.close()
        await aio.call(self._index.close)
        os.close(self._lock_fd)

    @property
    def size(self) -> int:
        """Bytes of blocks, as far as this process knows."""
        return self._total + self._reserved

    def version(self, key: bytes, size: int) -> DiskVersion:
        """The blocks of one version of a file of `size` bytes."""
        return DiskVersion(self, key, size)

    def path_of(self, key: bytes) -> str:
        """Where the blocks of a version lie."""
        name = key.hex()
        return os.path.join(self.directory, "data", name[:2], name[2:])

    async def reserve(self, size: int) -> bool:
        """Make room for `size` bytes about to be written; False when there is none. Followed by `settle`."""
        if self._is_broken or self.is_closed or size > self._max_size:
            return False
        self._reserved += size
        has_room = False
        try:
            has_room = self._fits(size) or await self._make_room(size)
        except (OSError, sqlite3.Error) as exception:
            self.failed(exception)
        finally:
            if not has_room:
                self._reserved -= size
        if has_room:
            self._allowance -= size
        return has_room

    def settle(self, size: int) -> None:
        """What was reserved is not to be counted any more: it was not written, or the index has it."""
        self._reserved -= size

    async def written(self, version: DiskVersion, sums: dict[int, int], size: int) -> None:
        """Blocks were written; note them soon."""
        self.bytes_written += size
        self._unnoted += size
        self._to_note.setdefault(version.number, (version.size, {}))[1].update(sums)
        if self._unnoted >= NOTE_AFTER * BLOCK_SIZE:
            await self.note()
        elif not self._has_timer:
            self._has_timer = True
            self._tasks.start_soon(self._note_later)

    def failed(self, exception: Exception) -> None:
        """The cache disk refused something. No room is no more than that; anything else ends writing."""
        full = getattr(exception, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        passing = getattr(exception, "sqlite_errorcode", None) in _PASSING
        self._is_broken = self._is_broken or not (full or passing)
        if not self._was_reported:
            self._was_reported = True
            logger.warning("the cache on disk cannot keep blocks: %s: %s; reads go on", self.directory, exception)

    async def note(self) -> None:
        """Note in the index what was written and used."""
        with anyio.CancelScope(shield=True):
            async with self._noting:
                if self.is_closed:
                    return
                to_note, self._to_note = self._to_note, {}
                unnoted, self._unnoted = self._unnoted, 0
                notes = {number: (size, sums, set[int]()) for number, (size, sums) in to_note.items()}
                for number, version in self._open.items():
                    if version.used:
                        notes.setdefault(number, (version.size, {}, set()))[2].update(version.used)
                        version.used.clear()
                if not notes:
                    return
                try:
                    gone = await aio.call(self._write_notes, notes)
                except (OSError, sqlite3.Error) as exception:
                    self.failed(exception)
                    gone = []
                finally:
                    self.settle(unnoted)
                for number in gone:
                    if number in self._open:
                        self._open[number].close()

    async def find(self, version: DiskVersion) -> None:
        """Open the version's file, if the cache has it."""
        found = await aio.call(self._find, version)
        if found is not None:
            version.number, version.fd, version.sums = found
            self._open[version.number] = version

    async def make(self, version: DiskVersion) -> None:
        """Open the version's file, making it if needed."""
        version.number, version.fd, version.sums = await aio.call(self._make, version)
        self._open[version.number] = version

    def closed(self, version: DiskVersion) -> None:
        """The version's file was closed."""
        if self._open.get(version.number) is version:
            del self._open[version.number]

    # In threads

    def _find(self, version: DiskVersion) -> tuple[int, int, Extents] | None:
        if self._index.find(version.key) is None:
            return None
        try:
            fd = os.open(self.path_of(version.key), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        fcntl.flock(fd, fcntl.LOCK_SH)
        # Once more: who evicts holds the lock alone.
        found = self._index.find(version.key)
        if found is None or not os.fstat(fd).st_nlink:
            os.close(fd)
            return None
        return found[0], fd, found[1]

    def _make(self, version: DiskVersion) -> tuple[int, int, Extents]:
        path = self.path_of(version.key)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.fstat(fd).st_nlink:
                break
            os.close(fd)
        number = self._index.add(version.key)
        found = self._index.find(version.key)
        return number, fd, found[1] if found is not None else {}

    def _look_for_room(self, size: int, versions: dict[int, DiskVersion]) -> None:
        """Take away what was not used for longest, until `size` bytes more have room.

        `versions` are those open here, by number; they stay open meanwhile.
        """
        self._total = self._index.total()
        missing = self._missing(size)
        if missing <= 0:
            return
        missing += self._max_size // SLACK
        tried: set[int] = set()
        while missing > 0:
            victims = [victim for victim in self._index.victims(64 + 256 * len(tried)) if victim.file not in tried]
            if not victims:
                break
            for victim in victims:
                version = versions.get(victim.file)
                if missing <= 0:
                    break
                if version is not None:
                    freed = version.evict(victim.number, victim.size, self._index)
                    if not freed:
                        tried.add(victim.file)
                elif victim.file not in tried:
                    tried.add(victim.file)  # gone then, or another process has it open
                    freed = self._evict_file(victim.file, victim.key)
                else:
                    freed = 0
                missing -= freed
        self._total = self._index.total()
        self._missing(size)

    def _missing(self, size: int) -> int:
        """How many bytes are too few for `size` more; sets how much may be written before this is looked at again."""
        status = os.statvfs(self.directory)
        free = status.f_bavail * status.f_frsize - self._min_free
        self._allowance = min(free, ALLOWANCE)
        return max(self._total + self._reserved - self._max_size, size - free)

    def _evict_file(self, number: int, key: bytes) -> int:
        path = self.path_of(key)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return self._index.forget_file(number)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        else:
            freed = self._index.forget_file(number)
            os.unlink(path)
            return freed
        finally:
            os.close(fd)

    def _write_notes(self, notes: dict[int, tuple[int, dict[int, int], set[int]]]) -> list[int]:
        """The numbers of files that are not in the cache any more."""
        gone = [
            number
            for number, (size, sums, used) in notes.items()
            if not self._index.note(number, sums, used, block_size=BLOCK_SIZE, size=size)
        ]
        self._total = self._index.total()
        return gone

    # On the loop

    async def _note_later(self) -> None:
        await anyio.sleep(NOTE_INTERVAL)
        self._has_timer = False
        await self.note()

    async def _make_room(self, size: int) -> bool:
        async with self._evicting:
            if self._fits(size):
                return True
            versions = dict(self._open)
            for version in versions.values():
                version.hold()
            try:
                await aio.call(self._look_for_room, size, versions)
            finally:
                for version in versions.values():
                    version.let_go()
            return self._fits(size)

    def _fits(self, size: int) -> bool:
        return self._total + self._reserved <= self._max_size and size <= self._allowance


def _open(directory: str) -> tuple[Index, int, int]:
    """The index in `directory`, a descriptor that holds the directory's lock, shared, and the bytes of all blocks."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.makedirs(os.path.join(directory, "data"), mode=0o700, exist_ok=True)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "not a directory that is ours alone to write to", directory)
    lock_fd = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        is_alone = try_lock(lock_fd)
        if not is_alone:
            fcntl.flock(lock_fd, fcntl.LOCK_SH)
        path = os.path.join(directory, "index.sqlite")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        try:
            index = Index(path)
        except sqlite3.DatabaseError as exception:
            if not is_alone or isinstance(exception, sqlite3.OperationalError):
                raise
            logger.warning("the cache on disk is started anew: %s: %s", path, exception)
            _clear(directory)
            index = Index(path)
        if is_alone:
            _sweep(directory, index)
            fcntl.flock(lock_fd, fcntl.LOCK_SH)
        return index, lock_fd, index.total()
    except BaseException:
        os.close(lock_fd)
        raise


def _clear(directory: str) -> None:
    shutil.rmtree(os.path.join(directory, "data"), ignore_errors=True)
    for suffix in ("", "-wal", "-shm"):
        try:
            os.unlink(os.path.join(directory, "index.sqlite" + suffix))
        except FileNotFoundError:
            pass


def _sweep(directory: str, index: Index) -> None:
    """Remove what a killed process left: files that the index does not know."""
    keys = index.keys()
    data = os.path.join(directory, "data")
    for parent, _, names in os.walk(data):
        prefix = os.path.basename(parent)
        for name in names:
            try:
                is_known = bytes.fromhex(prefix + name) in keys
            except ValueError:
                is_known = False
            if not is_known:
                os.unlink(os.path.join(parent, name))
