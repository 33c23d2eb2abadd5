"""Notes in memory whose server may be restarted, or killed, while programs have them open.

Usage: python -m aiovfs.fuse keep python restart_fuse.py DIRECTORY [asyncio|trio]

The keeper holds the mount and what the server saves; SIGHUP has the server hand over to a new process, which may be a
new version of this file. What is saved are the nodes, with the numbers that the kernel knows them by, each time that a
note is closed: a server that is killed loses what was written since. The file `server` says which process serves.
"""

import errno
import os
import pickle
import signal
import stat
import sys
from collections.abc import Iterator

import anyio

from aiovfs import fuse

SERVER = b"server"


class Notes(fuse.Operations):
    def __init__(self, kept: fuse.Kept) -> None:
        self.kept = kept
        self.is_handed_over = False
        self.notes: dict[bytes, bytearray] = {SERVER: bytearray()}
        self.inodes: fuse.InodeTable[object] = fuse.InodeTable(self.notes)
        if kept.state:
            self.inodes.load(pickle.loads(kept.state))
            root = self.inodes.get(fuse.ROOT_NODEID)
            assert isinstance(root, dict)
            self.notes = root
        self.notes[SERVER][:] = b"%d\n" % os.getpid()

    async def init(self, session: fuse.Session) -> None:
        self.session = session

    def save(self) -> None:
        self.kept.save(self.session, pickle.dumps(self.inodes.dump()))

    def note(self, nodeid: int) -> bytearray:
        note = self.inodes.get(nodeid)
        if not isinstance(note, bytearray):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return note

    def attributes(self, nodeid: int) -> fuse.Attributes:
        node = self.inodes.get(nodeid)
        if isinstance(node, bytearray):
            return fuse.Attributes(nodeid, stat.S_IFREG | 0o644, len(node))
        return fuse.Attributes(nodeid, stat.S_IFDIR | 0o755)

    def entry(self, note: bytearray) -> fuse.Entry:
        nodeid = self.inodes.remember(note)
        return fuse.Entry(nodeid, self.attributes(nodeid))

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        if request.name not in self.notes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self.entry(self.notes[request.name])

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        return self.attributes(request.nodeid)

    async def setattr(self, request: fuse.Setattr) -> fuse.Attributes:
        if request.valid & fuse.SetattrValid.SIZE:
            note = self.note(request.nodeid)
            note[:] = note[: request.size].ljust(request.size, b"\0")
        return self.attributes(request.nodeid)

    async def create(self, request: fuse.Create) -> tuple[fuse.Entry, fuse.Opened]:
        # A request that is sent again may have been done by the server before this one.
        note = self.notes.setdefault(request.name, bytearray())
        return self.entry(note), fuse.Opened()

    async def open(self, request: fuse.Open) -> fuse.Opened:
        if request.flags & os.O_TRUNC:
            self.note(request.nodeid).clear()
        return fuse.Opened(direct_io=True)

    async def read(self, request: fuse.Read) -> bytes:
        return bytes(self.note(request.nodeid)[request.offset : request.offset + request.size])

    async def write(self, request: fuse.Write) -> int:
        note, size = self.note(request.nodeid), len(request.data)
        note[:] = note.ljust(request.offset, b"\0")
        note[request.offset : request.offset + size] = request.data
        return size

    async def flush(self, request: fuse.Flush) -> None:
        self.save()

    async def unlink(self, request: fuse.Unlink) -> None:
        self.notes.pop(request.name, None)
        self.save()

    async def readdir(self, request: fuse.Readdir) -> Iterator[fuse.DirEntry]:
        names = list(self.notes)[request.offset :]
        return (
            fuse.DirEntry(name, self.inodes.nodeid_of(self.notes[name]) or 0xFFFF_FFFF, stat.S_IFREG, cookie)
            for cookie, name in enumerate(names, request.offset + 1)
        )


async def main(directory: str) -> int:
    notes = Notes(fuse.Kept())
    async with notes.kept.mount(notes, directory) as session:
        notes.save()
        async with anyio.create_task_group() as group:
            group.start_soon(hand_over_on_hangup, notes)
            await session.wait()
            group.cancel_scope.cancel()
        if notes.is_handed_over:
            notes.save()  # what was written to the end
    return fuse.RESTART if notes.is_handed_over else 0


async def hand_over_on_hangup(notes: Notes) -> None:
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            notes.is_handed_over = True
            await notes.session.hand_over()  # a duplicate of the descriptor, which the keeper has as well


if __name__ == "__main__":
    directory, *loop = sys.argv[1:]
    sys.exit(anyio.run(main, directory, backend=loop[0] if loop else "asyncio"))
