"""What is agreed with the kernel at INIT, and what that changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from ramfs import Node, RamFS, client, outside, serving

from aiovfs import fuse
from aiovfs.errors import OptionError
from aiovfs.fuse import mountpoint
from aiovfs.fuse.options import parse_options

F = fuse.InitFlags


@pytest.mark.parametrize(
    ("options", "agreed", "declined"),
    [
        (
            {},
            F.ASYNC_READ | F.ASYNC_DIO | F.PARALLEL_DIROPS | F.ATOMIC_O_TRUNC | F.AUTO_INVAL_DATA | F.MAX_PAGES,
            F.WRITEBACK_CACHE | F.NO_OPEN_SUPPORT | F.EXPORT_SUPPORT | F.POSIX_LOCKS | F.DO_READDIRPLUS,
        ),
        ({"sync_read": True}, F(0), F.ASYNC_READ),
        ({"async_dio": False, "parallel_dirops": False, "atomic_o_trunc": False}, F(0), F.ASYNC_DIO | F.ATOMIC_O_TRUNC),
        ({"explicit_inval_data": True}, F.EXPLICIT_INVAL_DATA, F.AUTO_INVAL_DATA),
        ({"writeback_cache": True, "cache_symlinks": True}, F.WRITEBACK_CACHE | F.CACHE_SYMLINKS, F(0)),
        ({"handle_killpriv": True, "handle_killpriv_v2": True}, F.HANDLE_KILLPRIV | F.HANDLE_KILLPRIV_V2, F(0)),
        ({"setxattr_ext": True, "posix_acl": True}, F.SETXATTR_EXT | F.POSIX_ACL, F(0)),
        ({"export_support": True}, F.EXPORT_SUPPORT, F.NO_EXPORT_SUPPORT),
        ({"no_export_support": True}, F.NO_EXPORT_SUPPORT, F.EXPORT_SUPPORT),
        ({"allow_idmap": True, "default_permissions": True}, F.ALLOW_IDMAP, F(0)),
        ({"no_open": True, "no_opendir": True}, F(0), F(0)),
    ],
    ids=lambda value: ",".join(value) or "default" if isinstance(value, dict) else "",
)
async def test_features_are_agreed_to_by_option(
    directory: Path, options: dict[str, Any], agreed: F, declined: F
) -> None:
    class Small(fuse.Operations):
        async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
            return fuse.Attributes(1, stat.S_IFDIR | 0o755)

    async with serving(Small(), directory, **options) as session:
        assert (await outside(os.stat, directory)).st_mode == stat.S_IFDIR | 0o755
    assert not session.features.agreed & declined
    assert agreed & session.features.offered & ~session.features.agreed == F(0)  # an older kernel offers less


async def test_allow_idmap_needs_the_kernel_to_check_permissions(directory: Path, ramfs: RamFS) -> None:
    with pytest.raises(OptionError, match="allow_idmap needs default_permissions"):
        async with serving(ramfs, directory, allow_idmap=True):
            pytest.fail("the block must not be entered")


class Handleless(fuse.Operations):
    """`file` can be read; nothing is ever opened."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def lookup(self, request: fuse.Lookup) -> fuse.Entry:
        return fuse.Entry(2, await self.getattr(fuse.Getattr(nodeid=2)), timeout=1000)

    async def getattr(self, request: fuse.Getattr) -> fuse.Attributes:
        mode = stat.S_IFDIR | 0o755 if request.nodeid == 1 else stat.S_IFREG | 0o644
        return fuse.Attributes(request.nodeid, mode, 0 if request.nodeid == 1 else 5, timeout=1000)

    async def read(self, request: fuse.Read) -> bytes:
        self.seen.append("read")
        return b"hello"[request.offset :]

    async def readdir(self, request: fuse.Readdir) -> list[fuse.DirEntry]:
        self.seen.append("readdir")
        return [fuse.DirEntry(b"file", 2, stat.S_IFREG, 1)][request.offset :]


@pytest.mark.parametrize("no_open", [True, False])
async def test_without_open_a_file_costs_no_messages(directory: Path, no_open: bool, caplog: Any) -> None:
    caplog.set_level("INFO", "aiovfs.fuse.trace")
    async with serving(Handleless(), directory, trace=True, no_open=no_open, no_opendir=no_open):
        for _ in range(5):
            assert await outside((directory / "file").read_bytes) == b"hello"
            assert await outside(os.listdir, directory) == ["file"]
        await outside(os.statvfs, directory)
    sent = [line.split()[0] for line in caplog.messages]
    # One question that is answered ENOSYS, and never again.
    assert sent.count("open") == sent.count("opendir") == (1 if no_open else 5)
    assert sent.count("release") == sent.count("releasedir") == (0 if no_open else 5)


async def test_no_open_is_refused_where_open_is_implemented(directory: Path, ramfs: RamFS) -> None:
    with pytest.raises(OptionError, match=r"no_open leaves RamFS.open without calls"):
        async with serving(ramfs, directory, no_open=True):
            pytest.fail("the block must not be entered")
    assert not mountpoint.is_mounted(str(directory))


class Plus(RamFS):
    entry_timeout = attr_timeout = 1000.0

    async def readdirplus(self, request: fuse.Readdirplus) -> Iterator[fuse.DirEntry]:
        children = list(self.inodes.get(request.nodeid).children.items())
        return (
            fuse.DirEntry(name, 1, node.mode, cookie, self.entry(node))
            for cookie, (name, node) in enumerate(children, 1)
            if cookie > request.offset
        )


@pytest.mark.parametrize("when", ["always", "auto", "never"])
async def test_readdirplus_always_sometimes_and_never(directory: Path, when: str) -> None:
    operations = Plus()
    async with serving(operations, directory, readdirplus=when) as session:
        assert await outside(os.listdir, directory) == ["file"]
        await outside(os.stat, directory / "file")
        assert (F.DO_READDIRPLUS in session.features, F.READDIRPLUS_AUTO in session.features) == {
            "always": (True, False),
            "auto": (True, True),
            "never": (False, False),
        }[when]
    assert bool(operations.saw(fuse.Readdirplus)) == (when != "never")
    assert bool(operations.saw(fuse.Lookup)) == (when == "never")
    if when != "auto":
        assert bool(operations.saw(fuse.Readdir)) == (when == "never")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set the window")
async def test_the_readahead_window_is_set_on_the_mount(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory, readahead=1 << 20) as session:
        device = await outside(lambda: os.stat(directory).st_dev)
        window = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        assert window.read_text() == "1024\n"
        assert session.features.readahead == 1 << 20


async def test_a_file_system_that_handles_privileges_is_told_when_to_drop_them(directory: Path, ramfs: RamFS) -> None:
    file = ramfs.root.children[b"file"]
    file.mode = stat.S_IFREG | 0o6777
    options = {"handle_killpriv_v2": True, "allow_other": True}
    async with serving(ramfs, directory, **options):
        await client("open('file', 'a').write('x')", user=1234, inside=directory)
    (write,) = ramfs.saw(fuse.Write)
    assert write.write_flags & fuse.WriteFlags.KILL_SUIDGID


async def test_with_the_writeback_cache_small_writes_arrive_as_one(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys\nfd = os.open(sys.argv[1], os.O_WRONLY)\nfor _ in range(100): os.write(fd, b'x' * 10)"
    async with serving(ramfs, directory, writeback_cache=True, entry_timeout=1000, attr_timeout=1000):
        await client(code, directory / "file")
        await outside(os.sync)
    assert len(ramfs.saw(fuse.Write)) == 1
    assert ramfs.saw(fuse.Write)[0].write_flags & fuse.WriteFlags.CACHE
    assert ramfs.root.children[b"file"].data[:1001] == b"x" * 1000 + b"o"


async def test_cached_links_are_read_once(directory: Path, ramfs: RamFS) -> None:
    node = Node(stat.S_IFLNK | 0o777)
    node.target = b"somewhere"
    ramfs.root.children[b"link"] = node
    async with serving(ramfs, directory, cache_symlinks=True, entry_timeout=1000, attr_timeout=1000):
        for _ in range(3):
            assert await outside(os.readlink, directory / "link") == "somewhere"
    assert len(ramfs.saw(fuse.Readlink)) == 1


async def test_times_are_rounded_to_the_granularity(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys; os.utime(sys.argv[1], ns=(1_999_999_999, 1_999_999_999))"
    async with serving(ramfs, directory, time_gran=10**9):
        await client(code, directory / "file")
    (request,) = ramfs.saw(fuse.Setattr)
    assert (request.mtime, request.mtimensec) == (1, 0)


async def test_the_kernel_takes_a_time_limit_for_requests(directory: Path) -> None:
    """It looks every 15 s only, so this checks no more than that it goes on with the number."""
    async with serving(Handleless(), directory, request_timeout=30) as session:
        assert (F.REQUEST_TIMEOUT in session.features) == (F.REQUEST_TIMEOUT in session.features.offered)
        assert await outside(os.listdir, directory) == ["file"]


async def test_an_exported_mount_looks_up_dot_and_dotdot(directory: Path, ramfs: RamFS) -> None:
    """As knfsd does it: a handle of a node that the kernel has forgotten leads to LOOKUP of "."."""
    inner = ramfs.lookup

    async def lookup(request: fuse.Lookup) -> fuse.Entry:
        if request.name == b".":
            return ramfs.entry(ramfs.inodes.get(request.nodeid))
        return await inner(request)

    ramfs.lookup = lookup  # type: ignore[method-assign]
    code = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]
handle, mount_id = Handle(size=128), ctypes.c_int()
path = os.fsencode(sys.argv[1] + "/file")
assert libc.name_to_handle_at(-100, path, ctypes.byref(handle), ctypes.byref(mount_id), 0) == 0
open("/proc/sys/vm/drop_caches", "w").write("2")
root = os.open(sys.argv[1], os.O_RDONLY)
fd = libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
print(os.pread(fd, 5, 0) if fd >= 0 else ctypes.get_errno())
"""
    async with serving(ramfs, directory, export_support=True, noforget=True):
        assert await client(code, directory) == "b'hello'"


async def test_a_session_that_spins_serves_and_lets_the_loop_run(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys\nfor _ in range(500): os.stat(sys.argv[1])"
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0)
            ticks += 1

    async with serving(ramfs, directory, spin=1000), anyio.create_task_group() as group:
        group.start_soon(tick)
        await client(code, directory / "file")
        group.cancel_scope.cancel()
    assert len(ramfs.saw(fuse.Lookup)) == 500
    assert ticks > 10


def test_spinning_for_long_is_refused() -> None:
    with pytest.raises(OptionError, match="would starve the loop"):
        parse_options({"spin": 1_000_000})
