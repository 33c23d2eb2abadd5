"""A file system on a block device (`fuseblk`): the kernel sends BMAP and SYNCFS there only, and waits for DESTROY."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ramfs import RamFS, client, outside

from aiovfs import fuse

pytestmark = pytest.mark.mounted

MS_NOSUID, MS_NODEV = 2, 4
BLOCK = 512
FIBMAP = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1] + "/file", os.O_RDWR)
print(struct.unpack("i", fcntl.ioctl(fd, 1, struct.pack("i", 3)))[0])
"""


class OnDevice(RamFS):
    async def bmap(self, request: fuse.Bmap) -> int:
        return request.block + 100

    async def syncfs(self, request: fuse.Syncfs) -> None:
        pass


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    """A block device of 1 MiB that nobody else uses."""
    if os.getuid() != 0 or not os.path.exists("/dev/loop-control"):
        pytest.skip("a loop device needs root and /dev/loop-control")
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    made = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop device is to be had: {made.stderr.strip()}")
    yield made.stdout.strip()
    subprocess.run(["losetup", "-d", made.stdout.strip()], check=True)


def mounted(device: str, directory: Path) -> int:
    """mount(2) as fuseblk; returns the connection."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    words = f"fd={fd},rootmode=40000,user_id=0,group_id=0,blksize={BLOCK}"
    if libc.mount(device.encode(), os.fsencode(directory), b"fuseblk", MS_NOSUID | MS_NODEV, words.encode()):
        os.close(fd)
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), device)
    return fd


async def test_bmap_and_syncfs_arrive_from_a_block_device_and_unmounting_waits_for_destroy(
    device: str, directory: Path
) -> None:
    ramfs = OnDevice()
    fd = await outside(mounted, device, directory)
    try:
        async with fuse.mount(ramfs, f"/dev/fd/{fd}") as session:
            found = await client(FIBMAP, directory)
            assert found == "103"
            (asked,) = ramfs.saw(fuse.Bmap)
            assert (asked.block, asked.blocksize) == (3, 4096)  # in blocks of the node, Attributes.blksize
            await outside(subprocess.run, ["sync", "-f", str(directory)], check=True)
            assert ramfs.saw(fuse.Syncfs)
            await outside(subprocess.run, ["umount", str(directory)], check=True)
            await session.wait_unmounted()
    finally:
        os.close(fd)
        subprocess.run(["umount", "-l", str(directory)], capture_output=True, check=False)
