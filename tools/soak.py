"""Does serving for long use up memory, descriptors, threads or tasks? Mounts again and again, and asks many requests.

    python tools/soak.py                                   1,000 mounts and 10 million requests on each loop
    python tools/soak.py --requests 100000 --cycles 50     the short form that the tests run
    python tools/soak.py --loops trio --clients 4

What is counted is said every tenth of the way; the end is compared with what was there after the first tenth, when
caches and pools have their size. Exits 1 and says what grew. Works with the core in C and without (AIOVFS_PURE=1).
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from aiovfs import fuse

PARTS = 10
FILES = 200
ALLOWED_KIB = 4096
"""How much the process may grow from the first tenth to the end: fragments, not a leak for each request."""
ALLOWED_OBJECTS = 300


class Node:
    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.data = bytearray()
        self.children: dict[bytes, Node] = {}


class Files(fuse.Operations):
    """A tree in memory. One request in sixteen waits, and now and then one for a thread."""

    def __init__(self) -> None:
        self.root = Node(stat.S_IFDIR | 0o755)
        for number in range(FILES):
            self.root.children[b"file%d" % number] = Node(stat.S_IFREG | 0o644)
        self.inodes: fuse.InodeTable[Node] = fuse.InodeTable(self.root)
        self.handles: fuse.HandleTable[Node] = fuse.HandleTable()
        self.requests = 0

    async def count(self) -> None:
        self.requests += 1
        if self.requests & 15 == 0:
            await anyio.lowlevel.checkpoint()
        if self.requests & 1023 == 0:
            await anyio.to_thread.run_sync(int)

    def attributes(self, node: Node) -> fuse.Attributes:
        return fuse.Attributes(self.inodes.remember(node), node.mode, len(node.data), timeout=0)

    def entry(self, node: Node) -> fuse.Entry:
        return fuse.Entry(self.inodes.remember(node), self.attributes(node), timeout=0)

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        await self.count()
        node = self.inodes.get(request.nodeid).children.get(request.name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such name")
        return self.entry(node)

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        await self.count()
        return self.attributes(self.inodes.get(request.nodeid))

    async def setattr(self, request: fuse.Setattr) -> fuse.Attributes:
        await self.count()
        node = self.inodes.get(request.nodeid)
        if request.valid & fuse.SetattrValid.SIZE:
            del node.data[request.size :]
        return self.attributes(node)

    async def create(self, request: fuse.Create) -> tuple[fuse.Entry, fuse.Opened]:
        await self.count()
        node = self.inodes.get(request.nodeid).children[request.name] = Node(stat.S_IFREG | request.mode)
        return self.entry(node), fuse.Opened(self.handles.open(node))

    async def open(self, request: fuse.Open) -> fuse.Opened:
        await self.count()
        return fuse.Opened(self.handles.open(self.inodes.get(request.nodeid)), direct_io=True)

    async def read(self, request: fuse.Read) -> bytes:
        await self.count()
        return bytes(self.handles.get(request.fh).data[request.offset : request.offset + request.size])

    async def write(self, request: fuse.Write) -> int:
        data = request.data
        self.handles.get(request.fh).data[request.offset : request.offset + len(data)] = data
        size = len(data)
        await self.count()
        return size

    async def release(self, request: fuse.Release) -> None:
        await self.count()
        self.handles.close(request.fh)

    async def unlink(self, request: fuse.Unlink) -> None:
        await self.count()
        del self.inodes.get(request.nodeid).children[request.name]

    async def readdir(self, request: fuse.Readdir) -> Iterator[fuse.DirEntry]:
        await self.count()
        return (
            fuse.DirEntry(name, 1, node.mode, cookie)
            for cookie, (name, node) in enumerate(list(self.root.children.items()), 1)
            if cookie > request.offset
        )


def client(directory: str) -> None:
    """Ask until the mount is gone."""
    number, own = 0, f"{directory}/own{os.getpid()}"
    try:
        while True:
            number += 1
            path = f"{directory}/file{number % FILES}"
            for _ in range(8):
                os.stat(path)
            try:
                os.stat(own)
            except FileNotFoundError:
                pass
            fd = os.open(path, os.O_RDWR)
            os.pwrite(fd, b"w" * 5000, 0)
            os.pread(fd, 5000, 0)
            os.ftruncate(fd, 100)
            os.close(fd)
            with open(own, "wb") as file:
                file.write(b"x" * (200_000 if number % 50 == 0 else 10))
            os.unlink(own)
            if number % 20 == 0:
                os.listdir(directory)
    except OSError as exc:
        if exc.errno not in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT, errno.EINTR, errno.EIO):
            raise


def usage(tasks: int = 0) -> dict[str, int]:
    """What this process has: resident memory in KiB, descriptors, threads, objects that the collector sees, tasks."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "kib": pages * os.sysconf("SC_PAGESIZE") // 1024,
        "fds": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "objects": len(gc.get_objects()),
        "tasks": tasks,
    }


async def serve(directory: str) -> None:
    """Serve until standard input ends; a line there asks what is used by now."""
    files = Files()
    async with fuse.mount(files, directory) as session:
        print("{}", flush=True)
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            tasks = len(anyio.get_running_tasks())
            known = {"nodes": len(files.inodes), "handles": len(files.handles)}
            print(json.dumps({"requests": files.requests, **known, **usage(tasks)}), flush=True)
        session.terminate()


@contextmanager
def served(loop: str, clients: int) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own, with programs that use the mount."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, __file__, "--serve", directory, "--loops", loop]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert server.stdin is not None
        assert server.stdout is not None
        if not server.stdout.readline():
            sys.exit("soak: the server did not start")
        command = [sys.executable, __file__, "--client", directory]
        programs = [subprocess.Popen(command) for _ in range(clients)]
        try:
            yield server
        finally:
            server.stdin.close()
            server.stdout.close()
            if server.wait(60) or any(program.wait(60) for program in programs):
                sys.exit("soak: a program or the server failed")


def grown(what: str, first: dict[str, int], last: dict[str, int]) -> list[str]:
    """What is more than it was, beyond what is allowed."""
    allowed = {"kib": ALLOWED_KIB, "objects": ALLOWED_OBJECTS, "threads": 4, "tasks": 20, "fds": 1, "nodes": 8}
    allowed["handles"] = 8  # of programs that are in the middle of something
    return [
        f"{what}: {name} grew from {first[name]} to {last[name]}"
        for name in first
        if name != "requests" and last[name] - first[name] > allowed[name]
    ]


def soak_requests(loop: str, total: int, clients: int) -> list[str]:
    """Many requests to one mount."""
    seen: list[dict[str, int]] = []
    start = time.monotonic()
    with served(loop, clients) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        while not seen or seen[-1]["requests"] < total:
            time.sleep(min(1.0, total / 100_000))
            server.stdin.write("\n")
            server.stdin.flush()
            values: dict[str, int] = json.loads(server.stdout.readline())
            if values["nodes"] <= FILES:
                continue  # the programs have not seen every file yet
            if values["requests"] >= total * (len(seen) + 1) / PARTS or values["requests"] >= total:
                print(f"{loop} {time.monotonic() - start:7.1f} s", values, flush=True)
                seen.append(values)
    return grown(f"{loop}, {total} requests", seen[0], seen[-1])


async def mount_often(cycles: int, directory: str) -> list[dict[str, int]]:
    seen: list[dict[str, int]] = []
    for number in range(1, cycles + 1):
        async with fuse.mount(Files(), directory):
            await anyio.to_thread.run_sync(os.stat, directory)
            await anyio.to_thread.run_sync(os.listdir, directory)
        if number % max(cycles // PARTS, 1) == 0:
            seen.append(usage(len(anyio.get_running_tasks())))
            print(f"cycle {number}", seen[-1], flush=True)
    return seen


def soak_mounts(loop: str, cycles: int) -> list[str]:
    """Many mounts in one process."""
    with tempfile.TemporaryDirectory() as directory:
        seen = run(loop, mount_often, cycles, directory)
    return grown(f"{loop}, {cycles} mounts", seen[0], seen[-1])


def run(loop: str, function: Any, *arguments: Any) -> Any:
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    return anyio.run(function, *arguments, backend="trio" if loop == "trio" else "asyncio", backend_options=options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--loops", default="asyncio,trio", help="asyncio, uvloop, trio; by comma")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        run(options.loops, serve, options.serve)
        return
    if options.client:
        client(options.client)
        return
    problems = []
    for loop in options.loops.split(","):
        if options.cycles:
            problems += soak_mounts(loop, options.cycles)
        if options.requests:
            problems += soak_requests(loop, options.requests, options.clients)
    print("\n".join(problems) if problems else "nothing grew")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
