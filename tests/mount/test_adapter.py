"""FUSE's requests against a VFS, without a kernel."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from aiovfs import fuse
from aiovfs.fs.store import Store
from aiovfs.mount.adapter import Adapter
from aiovfs.testing.fake_store import FakeStore

STALE = {"attr_timeout": 0, "listing_timeout": 0, "negative_timeout": 0, "revalidate_after": 0}
VALID = fuse.SetattrValid


class Kernel:
    """Makes requests by name and counts look-ups, as the session and the kernel do together."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    async def ask(self, operation: str, nodeid: int = fuse.ROOT_NODEID, /, **fields: Any) -> Any:
        fields = {"uid": 0, "gid": 0, "pid": 1, "unique": 2, "nodeid": nodeid, **fields}
        return await getattr(self.adapter, operation)(SimpleNamespace(**fields))

    async def lookup(self, name: bytes, nodeid: int = fuse.ROOT_NODEID) -> fuse.Entry:
        entry: fuse.Entry = await self.ask("lookup", nodeid, name=name)
        if entry.nodeid:
            self.adapter.inodes.add_lookup(entry.nodeid)
        return entry

    async def open(self, nodeid: int, flags: int = os.O_RDONLY) -> fuse.Opened:
        opened: fuse.Opened = await self.ask("open", nodeid, flags=flags, open_flags=0)
        return opened

    async def create(self, name: bytes, flags: int = os.O_RDWR | os.O_CREAT) -> tuple[fuse.Entry, fuse.Opened]:
        entry, opened = await self.ask("create", name=name, flags=flags, mode=0o644, umask=0, open_flags=0)
        self.adapter.inodes.add_lookup(entry.nodeid)
        return entry, opened

    async def read(self, fh: int, offset: int = 0, size: int = 1 << 20) -> bytes:
        return bytes(await self.ask("read", fh=fh, offset=offset, size=size))

    async def write(self, fh: int, data: bytes, offset: int = 0) -> int:
        written: int = await self.ask("write", fh=fh, offset=offset, data=memoryview(data))
        return written

    async def close(self, fh: int) -> None:
        await self.ask("flush", fh=fh, lock_owner=0)
        await self.ask("release", fh=fh, flags=0, release_flags=0, lock_owner=0)

    async def names(self, nodeid: int = fuse.ROOT_NODEID) -> list[fuse.DirEntry]:
        opened = await self.ask("opendir", nodeid, flags=0, open_flags=0)
        entries = list(await self.ask("readdir", nodeid, fh=opened.fh, offset=0, size=4096))
        await self.ask("releasedir", nodeid, fh=opened.fh)
        return entries


@pytest.fixture
def kernel(make_vfs: Any) -> Callable[..., Any]:
    @asynccontextmanager
    async def make(store: Store, **options: Any) -> AsyncIterator[Kernel]:
        async with make_vfs(store, **options) as vfs:
            yield Kernel(Adapter(vfs))

    return make


async def test_an_entry_has_the_attributes_and_time_outs_of_the_options(kernel: Any) -> None:
    """States A7."""
    options = {"uid": 12, "gid": 34, "umask": "022", "file_mode": "666", "entry_timeout": 5, "attr_timeout": 7}
    async with kernel(FakeStore({"f": b"123"}), **options) as k:
        entry = await k.lookup(b"f")
        attributes = entry.attributes
        assert (attributes.mode, attributes.size) == (stat.S_IFREG | 0o644, 3)
        assert (attributes.uid, attributes.gid) == (12, 34)
        assert (entry.timeout, attributes.timeout) == (5.0, 7.0)


async def test_for_ever_is_a_number_that_fits_the_wire(kernel: Any) -> None:
    async with kernel(FakeStore({"f": b""}), preset="frozen") as k:
        entry = await k.lookup(b"f")
        assert 1e9 < entry.timeout < 2**63
        assert 1e9 < entry.attributes.timeout < 2**63


async def test_an_absent_name_is_a_negative_entry_only_when_it_may_be_remembered(kernel: Any) -> None:
    """States A4."""
    async with kernel(FakeStore(), negative_timeout=3) as k:
        entry = await k.lookup(b"absent")
        assert (entry.nodeid, entry.timeout) == (0, 3.0)
    async with kernel(FakeStore(), negative_timeout=0) as k:
        with pytest.raises(FileNotFoundError):
            await k.lookup(b"absent")


async def test_the_same_file_has_the_same_nodeid_until_it_is_forgotten(kernel: Any) -> None:
    async with kernel(FakeStore({"f": b""})) as k:
        first, second = await k.lookup(b"f"), await k.lookup(b"f")
        assert first.nodeid == second.nodeid
        k.adapter.forget(first.nodeid, 1)
        assert len(k.adapter.vfs.tree) == 2
        k.adapter.forget(first.nodeid, 1)
        assert len(k.adapter.vfs.tree) == 1
        assert (await k.lookup(b"f")).nodeid != first.nodeid


async def test_a_file_goes_from_create_to_release(kernel: Any) -> None:
    store = FakeStore()
    async with kernel(store) as k:
        entry, opened = await k.create(b"f")
        assert await k.write(opened.fh, b"hello") == 5
        assert await k.read(opened.fh) == b"hello"
        attributes = await k.ask("getattr", entry.nodeid, getattr_flags=fuse.GetattrFlags.FH, fh=opened.fh)
        assert attributes.size == 5
        await k.close(opened.fh)
        with pytest.raises(OSError, match="not open"):
            await k.read(opened.fh)
    assert store.contents() == {"f": b"hello"}


async def test_open_truncates_when_the_flags_say_so(kernel: Any, any_store: Store) -> None:
    async with kernel(any_store) as k:
        entry, opened = await k.create(b"f")
        await k.write(opened.fh, b"long content")
        await k.close(opened.fh)
        opened = await k.open(entry.nodeid, os.O_WRONLY | os.O_TRUNC)
        await k.write(opened.fh, b"short")
        await k.close(opened.fh)
        opened = await k.open(entry.nodeid)
        assert await k.read(opened.fh) == b"short"
        await k.close(opened.fh)


async def test_pages_are_kept_while_the_version_is_the_same(kernel: Any) -> None:
    """States R7."""
    store = FakeStore({"f": b"one"})
    async with kernel(store, **STALE) as k:
        entry = await k.lookup(b"f")
        kept = []
        for change in (None, None, b"two", None):
            if change is not None:
                store.put("f", change)
            opened = await k.open(entry.nodeid)
            kept.append(opened.keep_cache)
            await k.close(opened.fh)
        assert kept == [False, True, False, True]


async def test_pages_are_kept_after_our_own_upload(kernel: Any) -> None:
    """States R7."""
    async with kernel(FakeStore()) as k:
        entry, opened = await k.create(b"f")
        await k.write(opened.fh, b"x")
        await k.close(opened.fh)
        opened = await k.open(entry.nodeid)
        assert opened.keep_cache
        await k.close(opened.fh)


async def test_open_is_estale_when_the_kernel_was_told_another_size(kernel: Any) -> None:
    """States R5."""
    store = FakeStore({"f": b"short"})
    async with kernel(store, attr_timeout="forever", revalidate_after=0) as k:
        entry = await k.lookup(b"f")
        store.put("f", b"longer than before")
        with pytest.raises(OSError, match="Stale") as caught:
            await k.open(entry.nodeid)
        assert caught.value.errno == errno.ESTALE
        again = await k.lookup(b"f")
        assert (again.nodeid, again.attributes.size) == (entry.nodeid, 18)
        opened = await k.open(again.nodeid)
        assert await k.read(opened.fh) == b"longer than before"
        await k.close(opened.fh)


async def test_files_of_unknown_size_bypass_the_page_cache(kernel: Any) -> None:
    """States R6."""
    store = FakeStore({"f": b"123"})
    store.hides_sizes = True
    async with kernel(store) as k:
        opened = await k.open((await k.lookup(b"f")).nodeid)
        assert opened.direct_io
        assert await k.read(opened.fh) == b"123"
        await k.close(opened.fh)


async def test_listings_have_dots_types_and_cookies_of_the_next_entry(kernel: Any) -> None:
    async with kernel(FakeStore({"f": b"", "d/x": b""})) as k:
        entries = await k.names()
        assert [entry.name for entry in entries] == [b".", b"..", b"d", b"f"]
        assert [entry.offset for entry in entries] == [1, 2, 3, 4]
        assert [stat.S_IFMT(entry.mode) for entry in entries[2:]] == [stat.S_IFDIR, stat.S_IFREG]
        assert entries[3].ino == (await k.lookup(b"f")).attributes.ino


async def test_a_listing_goes_on_at_any_cookie_whatever_happens_meanwhile(kernel: Any) -> None:
    """States A8."""
    store = FakeStore({f"{number:02}": b"" for number in range(20)})
    async with kernel(store) as k:
        opened = await k.ask("opendir", flags=0, open_flags=0)
        whole = [e.name for e in await k.ask("readdir", fh=opened.fh, offset=0, size=4096)]
        await k.ask("unlink", name=b"03")
        await k.create(b"new")
        for cookie in range(1, len(whole) + 1):
            rest = await k.ask("readdir", fh=opened.fh, offset=cookie, size=4096)
            assert [entry.name for entry in rest] == whole[cookie:]
        again = [e.name for e in await k.ask("readdir", fh=opened.fh, offset=0, size=4096)]  # rewinddir(3)
        assert b"03" not in again
        assert b"new" in again


async def test_readdirplus_brings_attributes_without_further_requests(kernel: Any) -> None:
    """States A2."""
    store = FakeStore({f"{number}": b"x" * number for number in range(5)})
    async with kernel(store) as k:
        opened = await k.ask("opendir", flags=0, open_flags=0)
        store.faults.clear()
        entries = list(await k.ask("readdirplus", fh=opened.fh, offset=0, size=4096))
        assert [entry.entry for entry in entries[:2]] == [None, None]
        assert [entry.entry.attributes.size for entry in entries[2:]] == [0, 1, 2, 3, 4]
    assert store.faults.requests == [("list", "")]


async def test_readdirplus_does_not_bring_back_what_was_removed_since_the_listing(kernel: Any) -> None:
    store = FakeStore({"a": b"", "b": b""})
    async with kernel(store) as k:
        opened = await k.ask("opendir", flags=0, open_flags=0)
        await k.ask("readdirplus", fh=opened.fh, offset=0, size=4096)
        await k.ask("unlink", name=b"b")
        entries = list(await k.ask("readdirplus", fh=opened.fh, offset=2, size=4096))
        assert [(entry.name, entry.entry is None) for entry in entries] == [(b"a", True), (b"b", True)]


@pytest.mark.parametrize(
    ("failure", "number"),
    [(TimeoutError("late"), errno.ETIMEDOUT), (ConnectionResetError("cut"), errno.EIO), (OSError("?"), errno.EIO)],
)
async def test_failures_without_an_errno_get_one(kernel: Any, failure: OSError, number: int) -> None:
    """States P3."""
    store = FakeStore({"f": b""})
    async with kernel(store) as k:
        store.faults.fail("info", failure)
        with pytest.raises(OSError) as caught:  # noqa: PT011 (the errno is looked at)
            await k.lookup(b"f")
        assert caught.value.errno == number


async def test_bugs_are_left_to_the_session(kernel: Any) -> None:
    store = FakeStore({"f": b""})
    async with kernel(store) as k:
        store.faults.fail("info", KeyError("bug"))
        with pytest.raises(KeyError):
            await k.lookup(b"f")


async def test_setattr_changes_what_is_valid_and_nothing_else(kernel: Any, memory_store: Store) -> None:
    async with kernel(memory_store) as k:
        entry, opened = await k.create(b"f")
        await k.write(opened.fh, b"123456")
        zero = dict.fromkeys(
            ("atime", "mtime", "ctime", "atimensec", "mtimensec", "ctimensec", "new_uid", "new_gid"), 0
        )
        changed = await k.ask(
            "setattr",
            entry.nodeid,
            valid=VALID.SIZE | VALID.MODE | VALID.MTIME | VALID.FH,
            fh=opened.fh,
            size=3,
            mode=stat.S_IFREG | 0o600,
            **{**zero, "mtime": (1 << 64) - 5, "mtimensec": 7},
        )
        assert (changed.size, changed.mode, changed.mtime_ns) == (3, stat.S_IFREG | 0o600, -5_000_000_000 + 7)
        now = await k.ask("setattr", entry.nodeid, valid=VALID.MTIME | VALID.MTIME_NOW, fh=0, size=0, mode=0, **zero)
        assert now.mtime_ns > 1_700_000_000_000_000_000
        await k.close(opened.fh)


async def test_names_are_changed_by_requests(kernel: Any, any_store: Store) -> None:
    async with kernel(any_store) as k:
        directory = await k.ask("mkdir", name=b"d", mode=0o755, umask=0)
        await k.ask("mknod", name=b"f", mode=stat.S_IFREG | 0o644, rdev=0, umask=0)
        await k.ask("rename", name=b"f", newdir=directory.nodeid, newname=b"g", flags=0)
        assert [entry.name for entry in await k.names(directory.nodeid)] == [b".", b"..", b"g"]
        await k.ask("unlink", directory.nodeid, name=b"g")
        await k.ask("rmdir", name=b"d")
        assert [entry.name for entry in await k.names()] == [b".", b".."]


async def test_hard_links_are_eperm(kernel: Any, any_store: Store) -> None:
    """States M7."""
    async with kernel(any_store) as k:
        with pytest.raises(PermissionError) as caught:
            await k.ask("link", oldnodeid=1, name=b"x")
        assert caught.value.errno == errno.EPERM


async def test_statfs_counts_in_units_of_the_store(kernel: Any) -> None:
    async with kernel(FakeStore()) as k:
        answer = await k.ask("statfs")
        assert answer.blocks * answer.frsize == 1 << 50
        assert answer.namelen == 255


async def test_a_store_directory_without_times_is_as_old_as_the_mount(kernel: Any) -> None:
    async with kernel(FakeStore({"d/f": b""})) as k:
        times = {(await k.lookup(b"d")).attributes.mtime_ns for _ in range(3)}
        assert len(times) == 1
        assert times.pop() > 1_700_000_000_000_000_000
