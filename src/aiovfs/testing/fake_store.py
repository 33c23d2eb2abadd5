"""An object store in a dictionary: whole files only, versions, faults on purpose, and a list of what was asked.

For tests of everything that works on a `Store`. It behaves as the large object stores do: no writes in place, no rename
but by copying, directories kept alive by markers, a version per upload, readers pinned to their version.

    store = FakeStore({"a/b.txt": b"hello"})
    store.faults.fail("upload", ConnectionResetError())      # the next upload
    gate = store.faults.hold("read")                         # reads wait until gate.open()
    assert store.faults.count("info") == 0
"""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterable, Mapping, Sequence

import anyio
import anyio.lowlevel
from fsspec import AbstractFileSystem

from aiovfs import aio
from aiovfs.errors import StaleError
from aiovfs.fs.info import Capabilities, Info, Kind
from aiovfs.fs.store import Progress, Reader, Store

__all__ = ["FakeReader", "FakeStore", "Faults", "Gate"]

OBJECT_STORE = Capabilities(
    writable=True,
    positioned_writes=False,
    atomic_rename=False,
    empty_directories=False,
    symlinks=False,
    attributes=False,
    cheap_metadata=False,
    ranged_reads=True,
)


class Gate:
    """Requests that were told to wait. `arrived` is how many stand at it."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._arrival = anyio.Event()
        self.arrived = 0

    def open(self) -> None:
        """Let everybody through, for good."""
        self._event.set()

    async def wait_for_arrival(self, count: int = 1) -> None:
        """Return when `count` requests have come as far as this."""
        while self.arrived < count:
            self._arrival = anyio.Event()
            await self._arrival.wait()

    async def _pass(self) -> None:
        self.arrived += 1
        self._arrival.set()
        await self._event.wait()


class Faults:
    """What goes wrong in a `FakeStore`, and what was asked of it.

    Operations are named as the methods of `Store`; "read" is a reader's.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        """(operation, path) of everything that was asked, failed requests included."""
        self._failures: dict[str, list[Exception]] = {}
        self._gates: dict[str, Gate] = {}

    def count(self, *operations: str) -> int:
        """How many requests of these kinds came in; of all kinds without an argument."""
        return sum(not operations or operation in operations for operation, _ in self.requests)

    def clear(self) -> None:
        """Forget the requests so far."""
        self.requests.clear()

    def fail(self, operation: str, *exceptions: Exception) -> None:
        """Answer the next requests of this kind with these exceptions, one each."""
        self._failures.setdefault(operation, []).extend(exceptions)

    def reset(self) -> None:
        """Nothing fails any more."""
        self._failures.clear()

    def hold(self, operation: str) -> Gate:
        """Make requests of this kind wait at a gate, from now until it is opened."""
        gate = self._gates[operation] = Gate()
        return gate

    async def request(self, operation: str, path: str) -> None:
        """Called by the store at the start of every operation."""
        self.requests.append((operation, path))
        gate = self._gates.get(operation)
        if gate is not None:
            await gate._pass()
        else:
            await anyio.lowlevel.checkpoint()  # as a network does: others run meanwhile
        failures = self._failures.get(operation)
        if failures:
            raise failures.pop(0)


Infos = list[Info]  # inside the class, "list" is a method


@dataclasses.dataclass(slots=True)
class _Object:
    data: bytes
    version: int
    mtime_ns: int


class FakeStore(Store):
    """See the head of this file. `objects` maps paths to contents; directories are what paths imply, and markers."""

    def __init__(
        self,
        objects: Mapping[str, bytes] | None = None,
        *,
        directories: Iterable[str] = (),
        capabilities: Capabilities = OBJECT_STORE,
    ) -> None:
        super().__init__(AbstractFileSystem(), "", url="fake://store", protocol="fake", capabilities=capabilities)
        self.faults = Faults()
        self.hides_sizes = False
        """Do not say how long files are."""
        self._objects: dict[str, _Object] = {}
        self._markers: set[str] = set(directories)
        self._versions = 0
        for path, data in (objects or {}).items():
            self.put(path, data)

    # The other side: what somebody else does to the store

    def put(self, path: str, data: bytes) -> None:
        """Somebody else stored `data` at `path`."""
        self._versions += 1
        self._objects[path] = _Object(data, self._versions, 1_700_000_000_000_000_000 + self._versions * 1_000_000_000)

    def delete(self, path: str) -> None:
        """Somebody else removed `path`."""
        del self._objects[path]

    def contents(self) -> dict[str, bytes]:
        """Every object, by path."""
        return {path: stored.data for path, stored in self._objects.items()}

    def directories(self) -> set[str]:
        """Every directory, the root not included."""
        implied = {
            "/".join(parts[:end])
            for parts in (path.split("/") for path in [*self._objects, *(f"{m}/x" for m in self._markers)])
            for end in range(1, len(parts))
        }
        return implied

    # Store

    async def info(self, path: str) -> Info:
        await self.faults.request("info", path)
        return self._info(path)

    def _info(self, path: str) -> Info:
        name = path.rpartition("/")[2]
        if path == "" or path in self.directories():
            return Info(name, Kind.DIRECTORY)
        stored = self._objects.get(path)
        if stored is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        size = None if self.hides_sizes else len(stored.data)
        return Info(name, Kind.FILE, size=size, mtime_ns=stored.mtime_ns, fingerprint=f"v{stored.version}")

    async def list(self, path: str) -> Infos:
        await self.faults.request("list", path)
        if not self._info(path).is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        prefix = f"{path}/" if path else ""
        below = [p for p in self._objects if p.startswith(prefix) and "/" not in p[len(prefix) :]]
        within = [p for p in self.directories() if p.startswith(prefix) and "/" not in p[len(prefix) :]]
        return [self._info(p) for p in sorted({*below, *within})]

    async def open_reader(self, path: str, info: Info) -> FakeReader:
        await self.faults.request("open_reader", path)
        return FakeReader(self, path, info)

    async def upload(
        self, source: str, path: str, *, exclusive: bool = False, progress: Progress | None = None
    ) -> Info:
        self._check_writable(path)
        await self.faults.request("upload", path)
        data = await aio.run(_read, source)
        if exclusive and path in self._objects:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self.put(path, data)
        return self._info(path)

    async def download(self, path: str, target: str, *, progress: Progress | None = None) -> None:
        await self.faults.request("download", path)
        await aio.run(_write, target, self._get(path).data)

    async def remove(self, path: str) -> None:
        await self.faults.request("remove", path)
        self._get(path)
        self._keep_parent(path)
        del self._objects[path]

    async def mkdir(self, path: str, mode: int = 0o755) -> None:
        self._check_writable(path)
        await self.faults.request("mkdir", path)
        if path in self._objects or path in self.directories():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self._markers.add(path)

    async def rmdir(self, path: str) -> None:
        await self.faults.request("rmdir", path)
        if not self._info(path).is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if self._below(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._keep_parent(path)
        self._markers.discard(path)

    async def copy(self, old: str, new: str) -> None:
        await self.faults.request("copy", old)
        self.put(new, self._get(old).data)

    async def rename(self, old: str, new: str) -> None:
        await self.faults.request("rename", old)
        if not self._info(old).is_directory:
            stored = self._get(old)
            self._keep_parent(old)
            self.put(new, stored.data)  # a copy has a version of its own
            del self._objects[old]
            return
        if new in self._objects:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), new)
        if self._below(new):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), new)
        self._keep_parent(old)
        for path in [p for p in self._objects if p.startswith(f"{old}/")]:
            self.put(new + path[len(old) :], self._objects.pop(path).data)
        self._markers = {
            new + marker[len(old) :] if marker == old or marker.startswith(f"{old}/") else marker
            for marker in self._markers
        } | {new}

    def _keep_parent(self, path: str) -> None:
        """Before something is removed: its directory does not vanish with its last file."""
        parent = path.rpartition("/")[0]
        if parent:
            self._markers.add(parent)

    def _below(self, path: str) -> Sequence[str]:
        return [p for p in {*self._objects, *self.directories()} if p.startswith(f"{path}/")]

    def _get(self, path: str) -> _Object:
        stored = self._objects.get(path)
        if stored is None:
            number = errno.EISDIR if path in self.directories() else errno.ENOENT
            raise OSError(number, os.strerror(number), path)
        return stored


class FakeReader(Reader):
    """Reads one version; `StaleError` once the store has another."""

    def __init__(self, store: FakeStore, path: str, info: Info) -> None:
        self._store = store
        self._path = path
        self._fingerprint = info.fingerprint
        self.is_closed = False

    async def read(self, offset: int, size: int) -> bytes:
        await self._store.faults.request("read", self._path)
        stored = self._store._get(self._path)
        if f"v{stored.version}" != self._fingerprint:
            raise StaleError(f"{self._path!r} is now v{stored.version}, and was opened as {self._fingerprint}")
        return stored.data[offset : offset + size]

    async def aclose(self) -> None:
        self.is_closed = True


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
