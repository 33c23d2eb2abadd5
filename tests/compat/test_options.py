"""Words after `-o`: what is taken, what it does, what is refused."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path
from typing import Any

import anyio
import pytest
from pyfuse3_sample import Sample, is_mounted, mount_line, serving, use

from aiovfs import fuse
from aiovfs.compat import pyfuse3
from aiovfs.compat.pyfuse3.options import WORDS, to_session_options
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import InitFlags
from aiovfs.testing.fake_kernel import FakeKernel


def test_every_word_is_about_an_option_that_exists() -> None:
    names = {option.name for option in fuse.OPTIONS}
    assert {word.option for word in WORDS.values()} - names == {""}


def test_the_default_options_are_a_frozenset() -> None:
    assert pyfuse3.default_options == frozenset({"default_permissions"})


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (["ro,allow_other", "noexec"], {"ro": True, "allow_other": True, "noexec": True}),
        ({"fsname=a\\,b"}, {"fsname": "a,b"}),
        (["fsname=c:\\\\d=e"], {"fsname": "c:\\d=e"}),
        (("max_read=4096",), {"max_read": 4096}),
        ({"umask=027": None}, {"umask": 0o27}),
        (iter(["attr_timeout=0.5"]), {"attr_timeout": 0.5}),
        (["nonempty", "user=joe"], {}),
        (["intr"], {"intr": True, "interrupts": True}),
    ],
)
def test_options_are_any_iterable_of_str(words: Any, options: dict[str, Any]) -> None:
    assert to_session_options(words) == options


REFUSED = """
    nonsense big_writes max_write=4096 max_background=5 max_pages=3 relatime nodiratime user_id=0 group_id=0
    rootmode=40000 fd=3 clone_fd io_uring lazytime defaults x-systemd.automount ro=1 fsname max_read=many
"""


@pytest.mark.parametrize("word", REFUSED.split())
def test_what_libfuse_refuses_is_refused_before_anything_is_mounted(tmp_path: Path, word: str) -> None:
    with pytest.raises(RuntimeError, match=r"fuse_session_new\(\) failed") as caught:
        pyfuse3.init(pyfuse3.Operations(), str(tmp_path), {word})
    assert word in str(caught.value)
    assert not is_mounted(tmp_path)


def test_a_bare_string_and_what_is_not_ascii_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        pyfuse3.init(pyfuse3.Operations(), str(tmp_path), "ro")
    with pytest.raises(UnicodeEncodeError):
        pyfuse3.init(pyfuse3.Operations(), str(tmp_path), ["fsname=caf\xe9"])


@pytest.mark.parametrize(
    ("words", "kind", "source", "flags", "kernel"),
    [
        (pyfuse3.default_options, "fuse", "/dev/fuse", "rw nosuid nodev", "default_permissions"),
        ({"fsname=my fs", "subtype=sub"}, "fuse.sub", "my\\040fs", "rw nosuid nodev", ""),
        ({"subtype=sub"}, "fuse.sub", "sub", "rw nosuid nodev", ""),
        ({"fsname=a\\,b"}, "fuse", "a,b", "rw nosuid nodev", ""),
        (["ro", "noexec,noatime"], "fuse", "/dev/fuse", "ro nosuid nodev noexec noatime", ""),
        (["suid", "dev", "allow_other"], "fuse", "/dev/fuse", "rw", "allow_other"),
        (["allow_root"], "fuse", "/dev/fuse", "rw nosuid nodev", "allow_other"),
        (["max_read=8192"], "fuse", "/dev/fuse", "rw nosuid nodev", "max_read=8192"),
        (["nonempty", "user=joe", "atime"], "fuse", "/dev/fuse", "rw nosuid nodev", ""),
    ],
)
def test_what_the_mount_table_shows(
    mountpoint: Path, words: Any, kind: str, source: str, flags: str, kernel: str
) -> None:
    pyfuse3.init(pyfuse3.Operations(), str(mountpoint), words)
    line = mount_line(mountpoint)
    assert line is not None
    separator = line.index("-")
    assert (line[separator + 1], line[separator + 2]) == (kind, source)
    assert set(line[5].split(",")) - {"relatime"} == set(flags.split())
    assert set(kernel.split()) <= set(line[separator + 3].split(","))


async def test_max_read_limits_reads_and_the_mount_works(mountpoint: Path, fs: Sample) -> None:
    fs.data = bytes(range(256)) * 1024
    pyfuse3.init(fs, str(mountpoint), ["max_read=8192"])
    async with serving():
        assert await use((mountpoint / "hello").read_bytes) == fs.data
    sizes = [call[3] for call in fs.calls if call[0] == "read"]
    assert max(sizes) == 8192


async def test_documented_options_that_libfuse_refuses_have_their_effect(mountpoint: Path, fs: Sample) -> None:
    words = ["uid=1234", "gid=2345", "umask=027", "attr_timeout=0", "entry_timeout=0", "negative_timeout=60"]
    pyfuse3.init(fs, str(mountpoint), [*words, "direct_io", "use_ino", "readdir_ino", "noforget"])
    async with serving():
        status = await use(os.stat, mountpoint / "hello")
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 2345, 0o750)
        await use(os.stat, mountpoint / "hello")
        for _ in range(2):
            assert not await use(os.path.exists, mountpoint / "absent")
        assert await use((mountpoint / "hello").read_bytes) == b"hello world"
    names = [call[2] for call in fs.calls if call[0] == "lookup"]
    assert names.count(b"hello") >= 2
    assert names.count(b"absent") == 1
    assert not any(call[0] == "forget" for call in fs.calls)


@pytest.mark.parametrize("words", [["noauto_cache"], ["kernel_cache"], ["auto_cache", "ac_attr_timeout=1"]])
async def test_options_about_the_page_cache_are_taken(mountpoint: Path, fs: Sample, words: list[str]) -> None:
    pyfuse3.init(fs, str(mountpoint), words)
    async with serving():
        assert await use((mountpoint / "hello").read_bytes) == b"hello world"


async def test_with_intr_an_interrupted_caller_cancels_its_handler(kernel: FakeKernel, fs: Sample) -> None:
    async def waits(*arguments: Any) -> None:
        await anyio.sleep(60)

    fs.answers["lookup"] = waits
    pyfuse3.init(fs, kernel.path, ["intr"])
    async with serving():
        unique = kernel.send(m.Lookup(nodeid=1, name=b"x", pid=os.getpid()))
        await kernel.ask(m.Getattr(nodeid=1))
        kernel.send(m.Interrupt(target=unique))
        with anyio.fail_after(5):
            assert (await kernel.receive(unique)).error == errno.EINTR
        assert (await kernel.ask(m.Getattr(nodeid=1))).error == 0


async def test_debug_writes_each_message_to_the_log(
    kernel: FakeKernel, fs: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aiovfs.fuse.trace")
    pyfuse3.init(fs, kernel.path, ["debug"])
    async with serving():
        await kernel.ask(m.Lookup(nodeid=1, name=b"hello"))
    assert "lookup" in caplog.text
    assert "hello" in caplog.text


async def test_limits_of_the_session_are_keyword_arguments(kernel: FakeKernel, fs: Sample) -> None:
    pyfuse3.init(fs, kernel.path, max_write=64 << 10, max_background=99)
    async with serving():
        reply = await kernel.receive(kernel.init_unique)
    assert struct.unpack_from("=HHI", reply.body, 16)[::2] == (99, 64 << 10)
    assert InitFlags.EXPORT_SUPPORT in InitFlags(struct.unpack_from("=IIII", reply.body)[3])
    with pytest.raises(RuntimeError, match="max_writes"):
        pyfuse3.init(fs, kernel.path, max_writes=5)
