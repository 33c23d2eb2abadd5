"""Who sleeps in select, poll or epoll on a file of ours, and waking them.

    async def poll(self, request):
        self.polls.remember(request.nodeid, request)
        return select.POLLIN if self.has_news else 0

    def on_news(self):
        self.polls.wake(nodeid, session.notifier)

The kernel keeps one number (`kh`) for each open file. A wake-up says only "ask again", so waking somebody for nothing
costs a POLL request and does no harm; forgetting somebody leaves them asleep for ever.
Source: fs/fuse/file.c (fuse_file_poll, fuse_notify_poll_wakeup).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from aiovfs.fuse.notifier import Notifier
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import PollFlags

__all__ = ["PollTable"]

K = TypeVar("K", bound=Hashable)


class PollTable(Generic[K]):
    """The `kh` numbers of sleeping programs, by what they wait for: a nodeid, a file handle, any key."""

    def __init__(self) -> None:
        self._sleeping: dict[K, set[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._sleeping.values()))

    def remember(self, key: K, request: m.Poll) -> None:
        """Note who has to be woken, if anybody: not every POLL is from somebody who goes to sleep."""
        if request.flags & PollFlags.SCHEDULE_NOTIFY:
            self._sleeping.setdefault(key, set()).add(request.kh)

    def wake(self, key: K, notifier: Notifier) -> None:
        """Wake all who wait for `key`; they ask again. Never blocks, and may be called from any thread."""
        for kh in self._sleeping.pop(key, ()):
            notifier.poll(kh)
