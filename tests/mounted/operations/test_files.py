"""Operations on files: each arrives with what the program said, and the program sees the answer."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from ramfs import Node, RamFS, client, compiled, outside, serving

from aiovfs import fuse


class Everything(RamFS):
    """What RamFS leaves out."""

    async def fallocate(self, request: fuse.Fallocate) -> None:
        data = self.inodes.get(request.nodeid).data
        end = request.offset + request.length
        if request.mode & fuse.FallocateFlags.PUNCH_HOLE:
            stop = min(end, len(data))
            data[request.offset : stop] = bytes(stop - request.offset)
        elif not request.mode & fuse.FallocateFlags.KEEP_SIZE:
            data.extend(bytes(max(0, end - len(data))))

    async def lseek(self, request: fuse.Lseek) -> int:
        """Data where a block of 4096 bytes has other bytes than zero."""
        data = self.inodes.get(request.nodeid).data
        if request.offset >= len(data):
            raise OSError(errno.ENXIO, "beyond the end")
        position = request.offset
        while position < len(data):
            block = position // 4096 * 4096
            if any(data[block : block + 4096]) == (request.whence == os.SEEK_DATA):
                return position
            position = block + 4096
        if request.whence == os.SEEK_HOLE:
            return len(data)
        raise OSError(errno.ENXIO, "no more data")

    async def copy_file_range(self, request: fuse.CopyFileRange) -> int:
        piece = self.inodes.get(request.nodeid).data[request.off_in : request.off_in + request.len]
        target = self.inodes.get(request.nodeid_out).data
        target.extend(bytes(max(0, request.off_out - len(target))))
        target[request.off_out : request.off_out + len(piece)] = piece
        return len(piece)

    async def tmpfile(self, request: fuse.Tmpfile) -> tuple[fuse.Entry, fuse.Opened]:
        node = Node(request.mode)
        node.nlink = 0
        return self.entry(node), fuse.Opened(8)

    async def statx(self, request: fuse.Statx) -> fuse.Attributes:
        attributes = self.attributes(self.inodes.get(request.nodeid))
        attributes.birthtime_ns = 1_234_567_890_123_456_789
        return attributes

    async def access(self, request: fuse.Access) -> None:
        if request.mask & os.W_OK:
            raise PermissionError(errno.EACCES, "not for writing")

    async def flush(self, request: fuse.Flush) -> None:
        if self.inodes.get(request.nodeid).data == b"full":
            raise OSError(errno.ENOSPC, "no room")

    async def fsync(self, request: fuse.Fsync) -> None:
        pass

    async def fsyncdir(self, request: fuse.Fsyncdir) -> None:
        pass

    async def setxattr(self, request: fuse.Setxattr) -> None:
        xattrs = self.inodes.get(request.nodeid).xattrs
        if request.flags & fuse.XattrFlags.CREATE and request.name in xattrs:
            raise FileExistsError(errno.EEXIST, "exists")
        if request.flags & fuse.XattrFlags.REPLACE and request.name not in xattrs:
            raise OSError(errno.ENODATA, "not there")
        xattrs[request.name] = request.value

    async def getxattr(self, request: fuse.Getxattr) -> bytes:
        try:
            return self.inodes.get(request.nodeid).xattrs[request.name]
        except KeyError:
            raise OSError(errno.ENODATA, "not there") from None

    async def listxattr(self, request: fuse.Listxattr) -> list[bytes]:
        return list(self.inodes.get(request.nodeid).xattrs)

    async def removexattr(self, request: fuse.Removexattr) -> None:
        if self.inodes.get(request.nodeid).xattrs.pop(request.name, None) is None:
            raise OSError(errno.ENODATA, "not there")

    async def statfs(self, request: fuse.StatfsRequest) -> fuse.Statfs:
        return fuse.Statfs(blocks=1000, bfree=600, bavail=500, files=70, ffree=60, bsize=65536, frsize=8192, namelen=99)


@pytest.fixture
def ramfs() -> Everything:
    return Everything()


async def test_fallocate_extends_and_punches(directory: Path, ramfs: RamFS, tmp_path: Path) -> None:
    program = """
#include <fcntl.h>
#include <stdio.h>
int main(int argc, char **argv) {
    int fd = open(argv[1], O_RDWR);
    printf("%d ", fallocate(fd, 0, 12000, 500));
    printf("%d ", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 50));
    printf("%d ", fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 10));
    return 0;
}
"""
    async with serving(ramfs, directory):
        assert await compiled(program, tmp_path, directory / "file") == "0 0 0"
        assert await outside(os.path.getsize, directory / "file") == 12500
    plain, punch, zero = ramfs.saw(fuse.Fallocate)
    assert (plain.offset, plain.length, plain.mode, plain.fh) == (12000, 500, 0, 7)
    assert punch.mode == fuse.FallocateFlags.PUNCH_HOLE | fuse.FallocateFlags.KEEP_SIZE
    assert zero.mode == fuse.FallocateFlags.ZERO_RANGE
    assert ramfs.root.children[b"file"].data[90:160].count(0) == 50


async def test_data_and_holes_are_found(directory: Path, ramfs: RamFS) -> None:
    ramfs.root.children[b"file"].data = bytearray(8192) + b"x" * 4096 + bytes(4096)
    code = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print(os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 9000, os.SEEK_HOLE))
try:
    os.lseek(fd, 13000, os.SEEK_DATA)
except OSError as exc:
    print(exc.errno)
"""
    async with serving(ramfs, directory):
        assert await client(code, directory / "file") == f"8192 0 12288\n{errno.ENXIO}"
    assert [request.whence for request in ramfs.saw(fuse.Lseek)] == [
        os.SEEK_DATA,
        os.SEEK_HOLE,
        os.SEEK_HOLE,
        os.SEEK_DATA,
    ]


async def test_a_range_is_copied_without_reading_it(directory: Path, ramfs: RamFS) -> None:
    code = """
import os, sys
source = os.open(sys.argv[1], os.O_RDONLY)
target = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
print(os.copy_file_range(source, target, 5, 6, 3))
print(os.pread(target, 99, 0))
"""
    async with serving(ramfs, directory):
        assert await client(code, directory / "file", directory / "new") == "5\nb'\\x00\\x00\\x00world'"
    (request,) = [request for request in ramfs.seen if isinstance(request, fuse.CopyFileRange)]
    assert (request.off_in, request.off_out, request.len) == (6, 3, 5)
    assert request.nodeid_out != request.nodeid
    assert not ramfs.saw(fuse.Read) or all(read.nodeid == request.nodeid_out for read in ramfs.saw(fuse.Read))


async def test_a_file_without_a_name_can_be_written_and_linked(directory: Path, ramfs: RamFS) -> None:
    code = """
import ctypes, os, sys
fd = os.open(sys.argv[1], os.O_TMPFILE | os.O_RDWR, 0o640)
os.write(fd, b"made before it was named")
print(os.fstat(fd).st_nlink)
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
assert ctypes.CDLL(None).linkat(fd, b"", AT_FDCWD, os.fsencode(sys.argv[1] + "/named"), AT_EMPTY_PATH) == 0
print(open(sys.argv[1] + "/named").read())
"""
    async with serving(ramfs, directory):
        assert await client(code, directory) == "0\nmade before it was named"
    (request,) = ramfs.saw(fuse.Tmpfile)
    assert stat.S_IMODE(request.mode) == 0o640
    assert request.flags & os.O_RDWR


async def test_statx_shows_the_birth_time(directory: Path, ramfs: RamFS, tmp_path: Path) -> None:
    program = """
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
int main(int argc, char **argv) {
    struct statx st;
    int result = statx(AT_FDCWD, argv[1], 0, STATX_BASIC_STATS | STATX_BTIME, &st);
    printf("%d %d %lld.%09u %llu", result, !!(st.stx_mask & STATX_BTIME), (long long)st.stx_btime.tv_sec,
           st.stx_btime.tv_nsec, (unsigned long long)st.stx_size);
    return 0;
}
"""
    async with serving(ramfs, directory):
        assert await compiled(program, tmp_path, directory / "file") == "0 1 1234567890.123456789 12000"
    assert ramfs.saw(fuse.Statx)[0].sx_mask & fuse.StatxMask.BTIME


async def test_xattr_flags_create_and_replace(directory: Path, ramfs: RamFS) -> None:
    code = """
import os, sys
path = sys.argv[1]
os.setxattr(path, "user.a", b"one", os.XATTR_CREATE)
for flags in (os.XATTR_CREATE, os.XATTR_REPLACE):
    try:
        os.setxattr(path, "user.a" if flags == os.XATTR_CREATE else "user.b", b"two", flags)
    except OSError as exc:
        print(exc.errno)
os.setxattr(path, "user.a", b"three", os.XATTR_REPLACE)
os.setxattr(path, "user.empty", b"")
print(os.getxattr(path, "user.a"), os.getxattr(path, "user.empty"), sorted(os.listxattr(path)))
os.removexattr(path, "user.a")
print(os.listxattr(path))
"""
    async with serving(ramfs, directory):
        output = await client(code, directory / "file")
    assert output.split("\n") == [
        str(errno.EEXIST),
        str(errno.ENODATA),
        "b'three' b'' ['user.a', 'user.empty']",
        "['user.empty']",
    ]
    assert ramfs.saw(fuse.Setxattr)[0].flags == fuse.XattrFlags.CREATE


async def test_an_xattr_too_long_for_the_callers_buffer_is_erange(directory: Path, ramfs: RamFS) -> None:
    ramfs.root.children[b"file"].xattrs[b"user.long"] = b"x" * 100
    code = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.getxattr(os.fsencode(sys.argv[1]), b"user.long", None, 0))
print(libc.getxattr(os.fsencode(sys.argv[1]), b"user.long", ctypes.create_string_buffer(99), 99), ctypes.get_errno())
"""
    async with serving(ramfs, directory):
        assert await client(code, directory / "file") == f"100\n-1 {errno.ERANGE}"


async def test_asking_an_open_file_for_its_end_carries_its_handle(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys; print(os.lseek(os.open(sys.argv[1], os.O_RDONLY), 0, os.SEEK_END))"
    async with serving(ramfs, directory):
        assert await client(code, directory / "file") == "12000"
    with_handle = [request for request in ramfs.saw(fuse.Getattr) if request.getattr_flags & fuse.GetattrFlags.FH]
    assert with_handle
    assert {request.fh for request in with_handle} == {7}


async def test_ftruncate_carries_the_handle_and_truncate_does_not(directory: Path, ramfs: RamFS) -> None:
    code = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.ftruncate(fd, 5)
os.truncate(sys.argv[1], 3)
"""
    async with serving(ramfs, directory):
        await client(code, directory / "file")
    by_handle, by_name = ramfs.saw(fuse.Setattr)
    assert fuse.SetattrValid(by_handle.valid) & (fuse.SetattrValid.FH | fuse.SetattrValid.SIZE)
    assert (by_handle.fh, by_handle.size) == (7, 5)
    assert not by_name.valid & fuse.SetattrValid.FH
    assert ramfs.root.children[b"file"].data == b"hel"


async def test_open_flags_arrive_and_release_has_them_too(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys; os.close(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_TRUNC | os.O_SYNC))"
    async with serving(ramfs, directory):
        await client(code, directory / "file")
        await outside(os.stat, directory)  # RELEASE comes in the background, before this
    (request,) = ramfs.saw(fuse.Open)
    assert request.flags & (os.O_WRONLY | os.O_APPEND | os.O_TRUNC) == os.O_WRONLY | os.O_APPEND | os.O_TRUNC
    (release,) = ramfs.saw(fuse.Release)
    assert release.fh == 7
    assert release.flags & os.O_APPEND
    assert ramfs.root.children[b"file"].data == b""


async def test_a_write_by_append_goes_to_the_end(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory):
        await client("import sys; open(sys.argv[1], 'a').write('more')", directory / "file")
    (request,) = ramfs.saw(fuse.Write)
    assert (request.offset, bytes(request.data)) == (12000, b"more")
    assert not request.write_flags & fuse.WriteFlags.CACHE


async def test_an_error_of_flush_is_an_error_of_close(directory: Path, ramfs: RamFS) -> None:
    ramfs.root.children[b"file"].data = bytearray(b"full")
    code = """
import os, sys
try:
    os.close(os.open(sys.argv[1], os.O_WRONLY))
except OSError as exc:
    print(exc.errno)
"""
    async with serving(ramfs, directory):
        assert await client(code, directory / "file") == str(errno.ENOSPC)


async def test_fsync_says_whether_data_alone_is_meant(directory: Path, ramfs: RamFS) -> None:
    code = """
import os, sys
for path in sys.argv[1:]:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.fdatasync(fd)
"""
    async with serving(ramfs, directory):
        await client(code, directory / "file", directory)
    data_only = fuse.FsyncFlags.FDATASYNC
    assert [request.fsync_flags & data_only for request in ramfs.saw(fuse.Fsync)] == [0, data_only]
    assert [request.fsync_flags & data_only for request in ramfs.saw(fuse.Fsyncdir)] == [0, data_only]


async def test_access_asks_for_what_the_program_asks(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys; print(os.access(sys.argv[1], os.R_OK), os.access(sys.argv[1], os.W_OK))"
    async with serving(ramfs, directory):
        assert await client(code, directory / "file") == "True False"
    masks = [request.mask for request in ramfs.saw(fuse.Access)]
    assert masks[-2:] == [os.R_OK, os.W_OK]


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (stat.S_IFREG, "os.mknod(path, 0o600 | stat.S_IFREG)"),
        (stat.S_IFIFO, "os.mkfifo(path, 0o600)"),
        (stat.S_IFSOCK, "socket.socket(socket.AF_UNIX).bind(path)"),
        (stat.S_IFCHR, "os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))"),
        (stat.S_IFBLK, "os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(7, 9))"),
    ],
)
async def test_nodes_of_each_type_are_made(directory: Path, ramfs: RamFS, kind: int, make: str) -> None:
    code = (
        f"import os, socket, stat, sys; path = sys.argv[1]; {make}; st = os.lstat(path); print(st.st_mode, st.st_rdev)"
    )
    async with serving(ramfs, directory):
        mode, rdev = map(int, (await client(code, directory / "new")).split())
    assert stat.S_IFMT(mode) == kind
    request = ramfs.saw(fuse.Mknod)[0]
    assert stat.S_IFMT(request.mode) == kind
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        assert rdev == request.rdev == {stat.S_IFCHR: os.makedev(1, 3), stat.S_IFBLK: os.makedev(7, 9)}[kind]


async def test_create_has_the_umask_and_the_mode_is_masked(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys; os.umask(0o027); os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o666)"
    async with serving(ramfs, directory):
        await client(code, directory / "new")
    (request,) = ramfs.saw(fuse.Create)
    assert (request.umask, stat.S_IMODE(request.mode)) == (0o027, 0o640)
    assert request.name == b"new"


async def test_with_dont_mask_the_mode_arrives_whole(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys; os.umask(0o027); os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o666)"
    async with serving(ramfs, directory, dont_mask=True):
        await client(code, directory / "new")
    (request,) = ramfs.saw(fuse.Create)
    assert (request.umask, stat.S_IMODE(request.mode)) == (0o027, 0o666)


async def test_links_are_made_and_read(directory: Path, ramfs: RamFS) -> None:
    code = """
import os, sys
os.chdir(sys.argv[1])
os.symlink("to/\\udcff", "symbolic")
print(ascii(os.readlink("symbolic")))
os.link("file", "hard")
print(os.stat("hard").st_ino == os.stat("file").st_ino, os.stat("hard").st_nlink)
"""
    async with serving(ramfs, directory):
        assert await client(code, directory) == "'to/\\udcff'\nTrue 2"
    assert ramfs.saw(fuse.Symlink)[0].target == b"to/\xff"
    assert ramfs.saw(fuse.Link)[0].oldnodeid == ramfs.nodeid(b"file")


async def test_rename_flags_exchange_and_refuse_to_replace(directory: Path, ramfs: RamFS) -> None:
    code = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
open("other", "w").write("other")
print(libc.renameat2(-100, b"file", -100, b"other", 1), ctypes.get_errno() == {errno.EEXIST})
print(libc.renameat2(-100, b"file", -100, b"other", 2), open("file").read())
os.rename("other", "moved")
print(os.listdir())
"""
    async with serving(ramfs, directory):
        assert await client(code, directory) == "-1 True\n0 other\n['file', 'moved']"
    flags = [request.flags for request in ramfs.seen if isinstance(request, fuse.Rename)]
    # The kernel itself refuses NOREPLACE for names that it knows to exist.
    assert flags in ([2, 0], [1, 2, 0])


async def test_statfs_is_what_df_shows(directory: Path, ramfs: RamFS) -> None:
    async with serving(ramfs, directory):
        st = await outside(os.statvfs, directory)
    assert (st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree) == (1000, 600, 500, 70, 60)
    assert (st.f_bsize, st.f_frsize, st.f_namemax) == (65536, 8192, 99)


async def test_the_caller_is_in_each_request(directory: Path, ramfs: RamFS) -> None:
    code = "import os, sys; os.mkdir(sys.argv[1]); print(os.getpid())"
    async with serving(ramfs, directory, allow_other=True):
        pid = int(await client(code, "made", user=1234, inside=directory))
    (request,) = ramfs.saw(fuse.Mkdir)
    assert (request.uid, request.pid) == (1234, pid)


async def test_a_listing_goes_on_where_the_last_reply_was_full(directory: Path, ramfs: RamFS) -> None:
    names = {f"file with a rather long name {number:06}" for number in range(3000)}
    ramfs.root.children = {name.encode(): Node(stat.S_IFREG | 0o644) for name in names}
    async with serving(ramfs, directory):
        assert set(await outside(os.listdir, directory)) == names
    assert len(ramfs.saw(fuse.Readdir)) > 2


async def test_a_listing_that_fails_in_the_middle_shows_what_came_before_and_then_the_error(
    directory: Path, ramfs: RamFS
) -> None:
    async def readdir(request: fuse.Readdir) -> object:
        def entries() -> object:
            if request.offset == 0:
                yield fuse.DirEntry(b"first", 9, stat.S_IFREG, 1)
            raise OSError(errno.ESTALE, "gone")

        return entries()

    ramfs.readdir = readdir  # type: ignore[method-assign, assignment]
    code = """
import os, sys
with os.scandir(sys.argv[1]) as entries:
    try:
        for entry in entries:
            print(entry.name)
    except OSError as exc:
        print(exc.errno)
"""
    async with serving(ramfs, directory):
        assert await client(code, directory) == f"first\n{errno.ESTALE}"
