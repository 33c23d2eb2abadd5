"""The tasks of a running program as files. Usage: live_tasks.py DIRECTORY [asyncio|trio]

`ls DIRECTORY` names the tasks, `cat DIRECTORY/TASK` shows where one waits. Mount this beside the work of any async
program, to look into it with ls, cat and grep while it runs.
"""

import errno
import stat
import sys
import time

import anyio

from aiovfs import fuse


def stacks() -> dict[str, bytes]:
    """Each task's name and where it waits, innermost call last."""
    found = {}
    for task in anyio.get_running_tasks():
        lines = []
        frame = task.coro
        while frame is not None:
            here = getattr(frame, "cr_frame", None) or getattr(frame, "gi_frame", None)
            if here is not None:
                lines.append(f"{here.f_code.co_filename}:{here.f_lineno} in {here.f_code.co_qualname}\n")
            frame = getattr(frame, "cr_await", None) or getattr(frame, "gi_yieldfrom", None)
        name = (task.name or "task").replace("/", "-")
        found[f"{name}-{task.id}"] = "".join(lines).encode()
    return found


class LiveTasks(fuse.PathOperations):
    """Sizes change while one looks, so files are read without the page cache, and nothing is remembered."""

    entry_timeout = 0.0

    async def stat(self, path: bytes) -> fuse.Attributes:
        if not path:
            return fuse.Attributes(0, stat.S_IFDIR | 0o555, timeout=0.0)
        text = stacks().get(path.decode(errors="replace"))
        if text is None:
            raise FileNotFoundError(errno.ENOENT, "no such task now")
        return fuse.Attributes(0, stat.S_IFREG | 0o444, len(text), mtime_ns=time.time_ns(), timeout=0.0)

    async def list(self, path: bytes) -> list[bytes]:
        return [name.encode() for name in stacks()]

    async def read_at(self, path: bytes, offset: int, size: int) -> bytes:
        return stacks().get(path.decode(errors="replace"), b"")[offset : offset + size]


async def worker(number: int) -> None:
    await anyio.sleep(3600 + number)


async def main(directory: str) -> None:
    async with anyio.create_task_group() as group, fuse.mount(LiveTasks(), directory, direct_io=True) as session:
        for number in range(3):
            group.start_soon(worker, number, name=f"worker {number}")
        await session.wait()
        group.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], backend=sys.argv[2] if len(sys.argv) > 2 else "asyncio")
