"""select, poll and epoll on files of a mount, woken by the file system."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from ramfs import RamFS, client, outside, serving

from aiovfs import fuse


class Mailbox(RamFS):
    """`file` can be read when there is mail."""

    def __init__(self) -> None:
        self.polls: fuse.PollTable[int] = fuse.PollTable()
        self.has_mail = False
        self.somebody_sleeps = anyio.Event()
        super().__init__()

    async def poll(self, request: fuse.Poll) -> int:
        self.polls.remember(request.nodeid, request)
        if request.flags & fuse.PollFlags.SCHEDULE_NOTIFY:
            self.somebody_sleeps.set()
        return select.POLLIN if self.has_mail else 0

    def deliver(self) -> None:
        self.has_mail = True
        self.polls.wake(self.nodeid(b"file"), self.session.notifier)


WAYS = {
    "select": "print(len(select.select([file], [], [], 20)[0]))",
    "poll": "poll = select.poll(); poll.register(file, select.POLLIN); print(poll.poll(20_000)[0][1])",
    "epoll": "poll = select.epoll(); poll.register(file, select.EPOLLIN); print(poll.poll(20)[0][1])",
    "edge": "poll = select.epoll(); poll.register(file, select.EPOLLIN | select.EPOLLET); print(poll.poll(20)[0][1])",
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_sleeping_program_wakes_when_it_is_notified(directory: Path, way: str) -> None:
    operations = Mailbox()
    async with serving(operations, directory):
        command = [sys.executable, "-I", "-c", f"import select, sys; file = open(sys.argv[1]); {WAYS[way]}"]
        program = subprocess.Popen([*command, str(directory / "file")], stdout=subprocess.PIPE, text=True)
        try:
            await operations.somebody_sleeps.wait()
            operations.deliver()
            output, _ = await outside(program.communicate)
        finally:
            program.kill()
    assert output == "1\n"
    assert operations.saw(fuse.Poll)[0].events & select.POLLIN


async def test_a_program_that_does_not_sleep_gets_the_answer_at_once(directory: Path) -> None:
    operations = Mailbox()
    code = "import select, sys; print(select.select([open(sys.argv[1])], [], [], 0)[0])"
    async with serving(operations, directory):
        assert await client(code, directory / "file") == "[]"
        assert len(operations.polls) == 0


async def test_without_a_handler_files_are_always_ready(directory: Path, ramfs: RamFS) -> None:
    code = "import select, sys; print(len(select.select([open(sys.argv[1])], [], [])[0]))"
    async with serving(ramfs, directory):
        assert await client(code, directory / "file") == "1"


async def test_waking_somebody_who_is_gone_does_no_harm(directory: Path) -> None:
    operations = Mailbox()
    async with serving(operations, directory) as session:
        session.notifier.poll(12345)
        assert await client("import sys; print(open(sys.argv[1]).read(5))", directory / "file") == "hello"
