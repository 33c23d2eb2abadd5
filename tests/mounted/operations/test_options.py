"""Mount options take effect: in the mount table, in what programs see, in what arrives at handlers."""

from __future__ import annotations

import errno
import logging
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from ramfs import Node, RamFS, client, outside, serving

from aiovfs import fuse
from aiovfs.errors import MountError, OptionError
from aiovfs.fuse import mountpoint


def mount_line(directory: Path) -> tuple[str, str, set[str]]:
    """Source, type and options of the mount, as /proc/self/mountinfo has them."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[4] == str(directory):
            kind, source, words = rest.split(" ")
            return source, kind, {*fields.split()[5].split(","), *words.split(",")}
    raise AssertionError(f"{directory} is not mounted")


@pytest.mark.parametrize(
    ("options", "shown", "hidden"),
    [
        ({"ro": True}, {"ro"}, {"rw"}),
        ({"rw": True}, {"rw"}, {"ro"}),
        ({"suid": True, "dev": True}, set(), {"nosuid", "nodev"}),
        ({}, {"nosuid", "nodev", "relatime"}, {"noexec", "noatime", "default_permissions", "allow_other"}),
        ({"noexec": True, "noatime": True}, {"noexec", "noatime"}, {"relatime"}),
        ({"noexec": True, "exec": True}, set(), {"noexec"}),
        ({"nodiratime": True}, {"nodiratime"}, set()),
        ({"strictatime": True}, set(), {"relatime", "noatime"}),
        ({"sync": True, "dirsync": True}, {"sync", "dirsync"}, set()),
        ({"sync": True, "async": True}, set(), {"sync"}),
        ({"lazytime": True}, {"lazytime"}, set()),
        ({"nosymfollow": True}, {"nosymfollow"}, set()),
        ({"allow_other": True, "default_permissions": True}, {"allow_other", "default_permissions"}, set()),
        ({"allow_root": True}, {"allow_other"}, {"default_permissions"}),
        ({"max_read": 65536}, {"max_read=65536"}, set()),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
async def test_an_option_of_the_kernel_is_in_the_mount_table(
    directory: Path, ramfs: RamFS, options: dict[str, Any], shown: set[str], hidden: set[str]
) -> None:
    async with serving(ramfs, directory, **options):
        _, _, words = mount_line(directory)
    assert shown <= words
    assert not hidden & words


async def test_the_source_and_type_can_be_chosen_or_left_out(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory, fsname="my-store", subtype="mine"):
        assert mount_line(directory)[:2] == ("my-store", "fuse.mine")
    async with serving(RamFS(), directory, subtype=""):
        assert mount_line(directory)[1] == "fuse"


async def test_read_only_is_erofs_without_asking_the_handler(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory, ro=True):
        with pytest.raises(OSError, match="Read-only"):
            await outside(os.mkdir, directory / "new")
    assert not ramfs.saw(fuse.Mkdir)


async def test_max_read_bounds_each_read(directory: Path, ramfs: RamFS) -> None:
    ramfs.root.children[b"file"].data = bytearray(1 << 20)
    async with serving(ramfs, directory, max_read=16384, direct_io=True):
        code = "import os, sys; print(len(os.read(os.open(sys.argv[1], os.O_RDONLY), 1 << 20)))"
        assert await client(code, directory / "file") == str(1 << 20)
    assert {request.size for request in ramfs.saw(fuse.Read)} == {16384}


async def test_max_write_bounds_each_write(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys; print(os.write(os.open(sys.argv[1], os.O_WRONLY), bytes(100_000)))"
    async with serving(ramfs, directory, max_write=8192, direct_io=True) as session:
        assert await client(code, directory / "file") == "100000"
        assert session.features.max_write == 8192
    assert max(request.size for request in ramfs.saw(fuse.Write)) == 8192


# Who may use the mount


TRY = "import os\ntry:\n    print(os.listdir('.'))\nexcept OSError as exc:\n    print(exc.errno)"


async def test_other_users_are_kept_out_by_default(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory):
        assert await client(TRY, user=1234, inside=directory) == str(errno.EACCES)


async def test_allow_other_lets_them_in(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory, allow_other=True):
        assert await client(TRY, user=1234, inside=directory) == "['file']"


@pytest.mark.parametrize(
    "call", ["os.listdir('.')", "os.stat('file')", "open('file')", "os.mkdir('x')", "os.chdir('.')", "os.statvfs('.')"]
)
async def test_allow_root_keeps_all_but_root_and_the_owner_out(directory: Path, ramfs: RamFS, call: str) -> None:
    code = f"import os\ntry:\n    {call}\n    print(0)\nexcept OSError as exc:\n    print(exc.errno)"
    async with serving(ramfs, directory, allow_root=True):
        assert await client(code, user=1234, inside=directory) == str(errno.EACCES)
        assert await client(code, inside=directory) == "0"


async def test_allow_root_lets_a_descriptor_be_used_that_was_passed_on(directory: Path, ramfs: RamFS) -> None:
    code = "import os; fd = os.open('file', os.O_RDONLY); os.setuid(1234); print(os.pread(fd, 5, 0))"
    async with serving(ramfs, directory, allow_root=True):
        assert await client(code, inside=directory) == "b'hello'"


async def test_default_permissions_has_the_kernel_check_modes(directory: Path, ramfs: RamFS) -> None:
    ramfs.root.children[b"file"].mode = stat.S_IFREG | 0o600
    code = "try:\n    open('file')\nexcept OSError as exc:\n    print(exc.errno)"
    async with serving(ramfs, directory, allow_other=True, default_permissions=True):
        assert await client(code, user=1234, inside=directory) == str(errno.EACCES)
    assert not ramfs.saw(fuse.Open)


# Changes to what handlers answer


async def test_owner_and_modes_are_overridden(directory: Path, ramfs: RamFS) -> None:
    ramfs.root.children[b"folder"] = Node(stat.S_IFDIR | 0o700)
    async with serving(ramfs, directory, uid=12, gid=34, umask=0o027, dmask=0o002):
        file = await outside(os.stat, directory / "file")
        folder = await outside(os.stat, directory / "folder")
        await client("import sys; open(sys.argv[1], 'w')", directory / "new")
        new = await outside(os.stat, directory / "new")
    assert (file.st_uid, file.st_gid, file.st_mode) == (12, 34, stat.S_IFREG | 0o750)
    assert folder.st_mode == stat.S_IFDIR | 0o775
    assert (new.st_uid, new.st_gid) == (12, 34)


@pytest.mark.parametrize("timeout", [0.0, 1000.0])
async def test_timeouts_are_overridden(directory: Path, ramfs: RamFS, timeout: float) -> None:
    ramfs.entry_timeout = ramfs.attr_timeout = 1000.0 - timeout
    async with serving(ramfs, directory, entry_timeout=timeout, attr_timeout=timeout):
        for _ in range(3):
            await outside(os.stat, directory / "file")
    looked_up = len(ramfs.saw(fuse.Lookup))
    assert looked_up == (1 if timeout else 3)


async def test_a_negative_timeout_makes_the_kernel_remember_what_is_not_there(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory, negative_timeout=1000):
        for _ in range(3):
            assert not await outside(os.path.exists, directory / "nowhere")
    assert len(ramfs.saw(fuse.Lookup)) == 1


async def test_without_one_every_look_asks(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory):
        for _ in range(3):
            assert not await outside(os.path.exists, directory / "nowhere")
    assert len(ramfs.saw(fuse.Lookup)) == 3


async def test_inode_numbers_are_those_of_the_handlers_or_nodeids(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory):
        shown = (await outside(os.stat, directory / "file")).st_ino
        assert shown == 1000 + ramfs.nodeid(b"file")
    other = RamFS()
    async with serving(other, directory, use_ino=False, readdir_ino=False):
        shown = (await outside(os.stat, directory / "file")).st_ino
        listed = [entry.inode() for entry in await outside(lambda: list(os.scandir(directory)))]
        assert shown == other.nodeid(b"file")
        assert listed == [0xFFFF_FFFF]
    other = RamFS()
    async with serving(other, directory, use_ino=False):
        listed = [entry.inode() for entry in await outside(lambda: list(os.scandir(directory)))]
        assert listed == [1000 + other.nodeid(b"file")]


READ_TWICE = "import sys\nfor _ in range(2):\n    open(sys.argv[1], 'rb', buffering=0).read(4096)"


@pytest.mark.parametrize(
    ("options", "reads"),
    [
        ({}, 2),
        ({"kernel_cache": True}, 1),
        ({"auto_cache": True}, 1),
        ({"auto_cache": True, "noauto_cache": True}, 2),
        ({"direct_io": True, "kernel_cache": True}, 2),
    ],
    ids=["default", "kernel_cache", "auto_cache", "noauto_cache", "direct_io"],
)
async def test_pages_are_kept_between_opens(directory: Path, ramfs: RamFS, options: dict[str, Any], reads: int) -> None:
    async with serving(ramfs, directory, attr_timeout=1000, **options):
        await client(READ_TWICE, directory / "file")
    assert len([request for request in ramfs.saw(fuse.Read) if request.offset == 0]) == reads


async def test_auto_cache_drops_pages_when_the_file_has_changed(directory: Path, ramfs: RamFS) -> None:
    file = ramfs.root.children[b"file"]
    async with serving(ramfs, directory, auto_cache=True, attr_timeout=1000, auto_inval_data=False):
        first = await outside((directory / "file").read_bytes)
        file.data[:5] = b"HELLO"
        assert await outside((directory / "file").read_bytes) == first  # neither mtime nor size says so
        file.mtime_ns += 1
        assert (await outside((directory / "file").read_bytes)).startswith(b"HELLO")


async def test_auto_cache_does_not_ask_again_within_ac_attr_timeout(directory: Path, ramfs: RamFS) -> None:
    file = ramfs.root.children[b"file"]
    options = {"auto_cache": True, "ac_attr_timeout": 1000.0, "attr_timeout": 1000, "auto_inval_data": False}
    async with serving(ramfs, directory, **options):
        first = await outside((directory / "file").read_bytes)
        file.data[:5] = b"HELLO"
        file.mtime_ns += 1
        assert await outside((directory / "file").read_bytes) == first


async def test_cached_listings_are_read_once(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory, cache_dirs=True, attr_timeout=1000):
        for _ in range(3):
            assert await outside(os.listdir, directory) == ["file"]
    assert len(ramfs.saw(fuse.Readdir)) <= 2  # the whole, and the question for more


class Flushing(RamFS):
    async def flush(self, request: fuse.Flush) -> None:
        pass


async def test_no_rofd_flush_spares_the_flush_of_what_was_opened_for_reading(directory: Path) -> None:
    operations = Flushing()
    async with serving(operations, directory, no_rofd_flush=True):
        await client("import sys; open(sys.argv[1]).close(); open(sys.argv[1], 'a').close()", directory / "file")
    assert len(operations.saw(fuse.Flush)) == 1


# The session


async def test_forgotten_nodes_are_kept_with_noforget(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory, noforget=True) as session:
        await outside(os.stat, directory / "file")
        nodeid = ramfs.nodeid(b"file")
        await session.notifier.invalidate_entry(1, b"file")
        await outside(os.listdir, directory)
        assert nodeid in ramfs.inodes


async def test_forgotten_nodes_are_dropped_otherwise(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory) as session:
        await outside(os.stat, directory / "file")
        nodeid = ramfs.nodeid(b"file")
        await session.notifier.invalidate_entry(1, b"file")
        while nodeid in ramfs.inodes:
            await anyio.sleep(0.01)


class Slow(RamFS):
    """Opening `file` waits, until it is cancelled or told."""

    def __init__(self) -> None:
        super().__init__()
        self.is_waiting, self.go_on, self.was_cancelled = anyio.Event(), anyio.Event(), anyio.Event()

    async def open(self, request: fuse.Open) -> fuse.Opened:
        self.is_waiting.set()
        try:
            await self.go_on.wait()
        except BaseException:
            self.was_cancelled.set()
            raise
        return fuse.Opened(7)


ALARM = """
import errno, os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print("ready", flush=True)
print(libc.open(os.fsencode(sys.argv[1]), 0) >= 0, ctypes.get_errno() == errno.EINTR, flush=True)
"""


@pytest.mark.parametrize(
    ("options", "cancelled"),
    [({}, False), ({"intr": True}, True), ({"intr_signal": int(signal.SIGUSR1)}, True)],
    ids=["default", "intr", "intr_signal"],
)
async def test_a_signal_that_ends_no_program_interrupts_only_if_an_option_says_so(
    directory: Path, options: dict[str, Any], cancelled: bool
) -> None:
    operations = Slow()
    async with serving(operations, directory, **options):
        command = [sys.executable, "-I", "-S", "-c", ALARM, str(directory / "file")]
        program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        await operations.is_waiting.wait()
        program.send_signal(signal.SIGUSR1)
        if cancelled:
            await operations.was_cancelled.wait()
        else:
            await anyio.sleep(0.4)
            assert not operations.was_cancelled.is_set()
            operations.go_on.set()
        output, _ = await outside(program.communicate)
    assert output.split("\n")[1] == ("False True" if cancelled else "True False")


async def test_debug_shows_each_message(directory: Path, ramfs: RamFS, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("aiovfs.fuse.trace")
    before = logger.level
    try:
        async with serving(ramfs, directory, debug=True):
            await outside(os.stat, directory / "file")
    finally:
        logger.setLevel(before)
    assert "lookup unique=" in caplog.text
    assert "reply unique=" in caplog.text


async def test_debug_is_seen_on_stderr_where_nobody_has_set_up_logging(directory: Path) -> None:
    code = f"""
import anyio, os
from aiovfs import fuse
async def main():
    async with fuse.mount(fuse.Operations(), {str(directory)!r}, debug=True):
        await anyio.to_thread.run_sync(os.statvfs, {str(directory)!r})
anyio.run(main)
"""
    done = await outside(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "statfs unique=" in done.stderr


# Mounting


async def test_nonempty_hides_what_is_there(directory: Path, ramfs: RamFS) -> None:
    (directory / "hidden").write_text("")
    with pytest.raises(MountError, match="not empty"):
        async with serving(ramfs, directory):
            pytest.fail("the block must not be entered")
    async with serving(ramfs, directory, nonempty=True):
        assert await outside(os.listdir, directory) == ["file"]
    assert os.listdir(directory) == ["hidden"]


async def test_auto_unmount_unmounts_when_the_process_is_killed(directory: Path) -> None:
    code = f"""
import anyio
from aiovfs import fuse
async def main():
    async with fuse.mount(fuse.Operations(), {str(directory)!r}, auto_unmount=True):
        print("serving", flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert await outside(process.stdout.readline) == "serving\n"
        assert mountpoint.is_mounted(str(directory))
    finally:
        process.kill()
        await outside(process.communicate)
    with anyio.fail_after(15):
        while mountpoint.is_mounted(str(directory)):
            await anyio.sleep(0.02)


async def test_auto_unmount_leaves_no_process_behind_after_an_orderly_end(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory, auto_unmount=True):
        assert await outside(os.listdir, directory) == ["file"]
        helpers = await outside(children, "fusermount3")
        assert len(helpers) == 1
    assert not mountpoint.is_mounted(str(directory))
    assert await outside(children, "fusermount3") == []


def children(name: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = path.read_text().partition(" (")
        except OSError:
            continue
        command, _, fields = rest.rpartition(") ")
        if command == name and int(fields.split()[1]) == os.getpid():
            found.append(int(pid))
    return found


async def test_a_descriptor_that_was_mounted_elsewhere_is_served(directory: Path, ramfs: RamFS) -> None:
    from aiovfs.fuse.options import parse_options

    fd = await outside(mountpoint.mount, str(directory), parse_options({"fsname": "given"}))
    try:
        async with fuse.mount(ramfs, f"/dev/fd/{fd}") as session:
            os.close(fd)
            fd = -1
            assert await outside(os.listdir, directory) == ["file"]
            assert mount_line(directory)[0] == "given"
            assert session.mountpoint is None
            await fuse.unmount(directory)
            await session.wait()
    finally:
        if fd >= 0:
            os.close(fd)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("blkdev", "fuseblk"),
        ("blksize", "fuseblk"),
        ("max_threads", "one task reads"),
        ("splice_read", "slower"),
        ("hard_remove", "removed at once"),
        ("allow_rot", "did you mean 'allow_root'"),
    ],
)
async def test_an_option_that_cannot_work_is_refused_with_its_reason(
    directory: Path, ramfs: RamFS, option: str, reason: str
) -> None:
    with pytest.raises(OptionError, match=reason):
        async with serving(ramfs, directory, **{option: 1}):
            pytest.fail("the block must not be entered")
    assert not mountpoint.is_mounted(str(directory))


@pytest.mark.skipif(Path("/sys/fs/selinux").exists(), reason="this kernel runs SELinux")
@pytest.mark.parametrize("option", ["context", "fscontext", "defcontext", "rootcontext"])
async def test_a_label_is_refused_where_there_is_no_selinux(directory: Path, ramfs: RamFS, option: str) -> None:
    with pytest.raises(MountError, match=f"{option} needs SELinux"):
        async with serving(ramfs, directory, **{option: "system_u:object_r:fusefs_t:s0"}):
            pytest.fail("the block must not be entered")
