"""ioctl(2): what goes in and out is what the command's number says."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest
from ramfs import RamFS, client, compiled, serving

from aiovfs import fuse

GET_SIZE = 0x8008_4501  # _IOR('E', 1, 8)
SET_SIZE = 0x4008_4502  # _IOW('E', 2, 8)
SWAP = 0xC008_4503  # _IOWR('E', 3, 8)
COUNT = 0x4504  # _IO('E', 4)
TOO_MUCH = 0x8001_4505  # _IOR('E', 5, 1)


class Device(RamFS):
    async def ioctl(self, request: fuse.Ioctl) -> fuse.IoctlResult | bytes | int:
        data = self.inodes.get(request.nodeid).data
        match request.cmd:
            case 0x8008_4501:
                return struct.pack("=Q", len(data))
            case 0x4008_4502:
                (size,) = struct.unpack("=Q", request.data)
                del data[size:]
                return 0
            case 0xC008_4503:
                return fuse.IoctlResult(5, bytes(reversed(bytes(request.data))))
            case 0x4504:
                return request.arg + 1
            case 0x8001_4505:
                return b"more than one byte"
        raise OSError(errno.ENOTTY, "unknown command")


PROGRAM = """
#include <stdio.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
int main(int argc, char **argv) {
    int fd = open(argv[1], argc > 2 ? O_RDONLY | O_DIRECTORY : O_RDWR);
    uint64_t size = 0, small = 5;
    char text[8] = {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'};
    printf("%d ", ioctl(fd, _IOR('E', 1, uint64_t), &size));
    printf("%lu ", (unsigned long)size);
    printf("%d ", ioctl(fd, _IOW('E', 2, uint64_t), &small));
    printf("%d ", ioctl(fd, _IOWR('E', 3, uint64_t), text));
    printf("%.8s ", text);
    printf("%d ", ioctl(fd, _IO('E', 4), 41));
    printf("%d ", ioctl(fd, _IO('E', 99), 0) == -1 ? errno : 0);
    return 0;
}
"""


async def test_a_c_program_gets_and_sets_by_ioctl(directory: Path, tmp_path: Path) -> None:
    operations = Device()
    async with serving(operations, directory):
        output = await compiled(PROGRAM, tmp_path, directory / "file")
    assert output == f"0 12000 0 5 hgfedcba 42 {errno.ENOTTY}"
    assert operations.root.children[b"file"].data == b"hello"
    get, set_, swap, count, _ = operations.saw(fuse.Ioctl)
    assert (get.cmd, get.in_size, get.out_size) == (GET_SIZE, 0, 8)
    assert (set_.cmd, set_.in_size, set_.out_size) == (SET_SIZE, 8, 0)
    assert (swap.cmd, swap.in_size, swap.out_size) == (SWAP, 8, 8)
    assert (count.cmd, count.arg) == (COUNT, 41)
    assert all(request.fh == 7 for request in operations.saw(fuse.Ioctl))


async def test_an_ioctl_on_a_directory_says_so(directory: Path, tmp_path: Path) -> None:
    operations = Device()
    async with serving(operations, directory):
        await compiled(PROGRAM, tmp_path, directory, "directory")
    assert operations.saw(fuse.Ioctl)
    assert all(request.flags & fuse.IoctlFlags.DIR for request in operations.saw(fuse.Ioctl))


async def test_an_answer_that_does_not_fit_is_eio_and_says_why(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = f"""
import fcntl, sys
try:
    fcntl.ioctl(open(sys.argv[1]), {TOO_MUCH}, bytes(1))
except OSError as exc:
    print(exc.errno)
"""
    async with serving(Device(), directory):
        assert await client(code, directory / "file") == str(errno.EIO)
    assert "Device.ioctl returned b'more than one byte'" in caplog.text
    assert "takes at most 1" in caplog.text


async def test_without_a_handler_it_is_enotty(directory: Path, ramfs: RamFS) -> None:
    code = f"""
import fcntl, sys
try:
    fcntl.ioctl(open(sys.argv[1]), {COUNT})
except OSError as exc:
    print(exc.errno)
"""
    async with serving(ramfs, directory):
        assert await client(code, directory / "file") == str(errno.ENOTTY)
