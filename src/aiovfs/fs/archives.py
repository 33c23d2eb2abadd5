"""Archives as read-only stores: `zip::URL` and `tar::URL`, where the URL is that of a file in any other store.

`zip://inner/directory::s3://bucket/a.zip` has the directory as its root. Archives nest: `zip::tar://a.zip::file:///b.tar`.

Only what is needed is fetched: the archive's index through `BlockFile`, members by their own ranges, deflated ones by
reading on (`inflate`). A tar has no index, so opening one reads every header; one that is compressed as a whole is read
through once at opening and again up to each member, which `capabilities.ranged_reads` says.

Names come from strangers. A member whose name is absolute, has a `..`, a backslash or a NUL in it is hidden, and so are
devices and symlinks that lead out of the archive; the number is logged. Of several members with one name the last is
meant, as when unpacking.
"""

from __future__ import annotations

import errno
import io
import logging
import lzma
import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import anyio
import anyio.from_thread
from anyio.to_thread import run_sync
from fsspec import AbstractFileSystem

from aiovfs import aio
from aiovfs.errors import StoreError, UnsupportedError
from aiovfs.fs import paths, quirks, registry
from aiovfs.fs.failures import translate
from aiovfs.fs.inflate import Inflater
from aiovfs.fs.info import Capabilities, Info, Kind
from aiovfs.fs.store import Progress, Reader, Store

__all__ = ["ArchiveStore", "BlockFile", "connect"]

logger = logging.getLogger("aiovfs.fs")

BLOCK_SIZE = 32 * 1024
LARGEST_WINDOW = 1024 * 1024
KEPT_BLOCKS = 256

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ZIP_METHODS = {zipfile.ZIP_STORED: "", zipfile.ZIP_DEFLATED: "deflate", zipfile.ZIP_BZIP2: "bzip2"}
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))
_DECODER_ERRORS = (EOFError, zlib.error, lzma.LZMAError)
_DOWNLOAD_STEP = 1024 * 1024


class BlockFile(io.RawIOBase):
    """A file object for parsers, over a `Reader`, used in a worker thread of the reader's loop.

    It fetches aligned blocks: one for a read out of order, twice as many each time when reading goes on where it was.
    """

    def __init__(self, reader: Reader, size: int) -> None:
        super().__init__()
        self._reader = reader
        self._size = size
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._window = 1
        self._next = -1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self._position, self._size)[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, f"offset {base + offset} is before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        number, skip = divmod(self._position, BLOCK_SIZE)
        data = memoryview(self._block(number))[skip : skip + len(buffer)] if self._position < self._size else b""
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._fetch(number)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, number: int) -> None:
        self._window = min(self._window * 2, LARGEST_WINDOW // BLOCK_SIZE) if number == self._next else 1
        count = 1
        while count < self._window and number + count not in self._blocks:
            count += 1
        start = number * BLOCK_SIZE
        size = min(count * BLOCK_SIZE, self._size - start)
        data = anyio.from_thread.run(self._reader.read, start, size)
        if len(data) < size:
            raise OSError(errno.EIO, f"the archive ended at {start + len(data)}, and has {self._size} bytes")
        self._next = number + count
        for index in range(count):
            self._blocks[number + index] = data[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE]
        while len(self._blocks) > max(KEPT_BLOCKS, count):
            self._blocks.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One name in an archive, and where its content is."""

    path: str
    info: Info
    offset: int = 0
    """Of the content; of the local header, in a zip."""
    stored_size: int = 0
    method: str | None = ""
    """"" for content as it is; a key of `DECODERS`; None when it cannot be read, for the reason in `problem`."""
    problem: str = ""


async def connect(url: str, *, options: Mapping[str, Any], client: str | None, read_only: bool) -> Store:
    """The store for an archive. Options named after a protocol of the chain are that one's; all others the target's."""
    outer, _, target_url = url.partition("::")
    protocol = registry.protocol_of(url)
    if not target_url:
        shown = registry.redact(url)
        raise StoreError(
            f"{shown} does not say which archive",
            url=shown,
            hint=f"write {protocol}::URL or {protocol}://directory::URL",
        )
    prefix = outer.partition("://")[2].strip("/")
    inner = {name: value for name, value in options.items() if name != protocol}
    own = inner.pop(registry.protocol_of(target_url), None)
    root, path = _split_target(target_url)
    target = await registry._connect(root, client, True, {**inner, **(own or {})})
    store = ArchiveStore(target, path, prefix, protocol=protocol, url=registry.redact(url))
    try:
        with anyio.fail_after(registry.VERIFY_TIMEOUT):
            await store._open_target()
        # Not within that time: a large tar takes as long as it takes.
        await store._read_index()
    except BaseException as exc:
        with anyio.CancelScope(shield=True):
            await store.aclose()
        shown = registry.redact(target_url)
        if isinstance(exc, FileNotFoundError | IsADirectoryError):
            raise type(exc)(exc.errno, exc.strerror or str(exc), shown) from exc
        if isinstance(exc, OSError):
            raise registry._failed(shown, exc) from exc
        raise
    return store


def _split_target(url: str) -> tuple[str, str]:
    """(URL of a store, path in it) for the URL of a file. The store is not verified, so its root may be unlistable."""
    head, separator, rest = url.partition("::")
    if separator:
        protocol, _, path = head.partition("://")
        return f"{protocol}::{rest}", path.strip("/")
    protocol = registry.protocol_of(url)
    if protocol in ("file", "local"):
        path = os.path.abspath(os.path.expanduser(url.partition("://")[2] if "://" in url else url))
        return "file:///", path.lstrip("/")
    if protocol == "memory":
        return "memory://", url.partition("://")[2].strip("/")
    if protocol in ("http", "https"):
        parts = urlsplit(url)
        if parts.query:
            shown = registry.redact(url)
            raise StoreError(f"{shown}: an archive cannot be opened by a URL with a query", url=shown)
        return f"{parts.scheme}://{parts.netloc}/", unquote(parts.path.lstrip("/"), errors="surrogateescape")
    scheme, _, rest = url.partition("://")
    top, _, path = rest.partition("/")
    if protocol in ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"):
        return f"{scheme}://{top}", path
    parent, _, name = url.rpartition("/")
    return parent, name


class ArchiveStore(Store):
    """A zip or tar file in another store."""

    def __init__(self, target: Store, path: str, prefix: str, *, protocol: str, url: str) -> None:
        super().__init__(
            ArchiveFileSystem(), prefix, url=url, protocol=protocol, capabilities=Capabilities(writable=False)
        )
        self._target = target
        self._path = path
        self._source: Reader | None = None
        self._members: dict[str, Member] = {}
        self._children: dict[str, dict[str, Info]] = {}

    async def _open_target(self) -> None:
        info = await self._target.info(self._path)
        if info.is_directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._path)
        if info.size is None:
            raise UnsupportedError(f"{self._path}: the server does not tell its size, which reading an archive needs")
        self._source = await self._target.open_reader(self._path, info)
        self._archive = info

    async def _read_index(self) -> None:
        assert self._source is not None
        assert self._archive.size is not None
        file = io.BufferedReader(cast("io.RawIOBase", BlockFile(self._source, self._archive.size)), BLOCK_SIZE)
        index = read_zip if self.protocol == "zip" else read_tar
        try:
            members = await run_sync(partial(index, file))
        except (zipfile.BadZipFile, tarfile.TarError, *_DECODER_ERRORS) as exc:
            raise StoreError(f"{self._path} is not a {self.protocol} archive: {exc}", url=self.url) from exc
        self._plant(members)
        if any(member.method and member.method != "deflate" for member in members):
            self.capabilities = replace(self.capabilities, ranged_reads=False)

    def _plant(self, members: Iterable[Member]) -> None:
        """Make the tree out of the members, with the directories that archives often do not mention."""
        tree: dict[str, Member] = {}
        is_there = not self.root
        for member in members:
            if self.root and not paths.is_below(member.path, self.root):
                is_there |= member.path == self.root and member.info.is_directory
                continue
            path = member.path[len(self.root) + 1 :] if self.root else member.path
            # Of a file and a directory with one name the directory wins, whatever the order.
            if path and (member.info.is_directory or path not in tree or not tree[path].info.is_directory):
                tree[path] = member
        for path in list(tree):
            for above in paths.ancestors(path)[1:]:
                if above not in tree or not tree[above].info.is_directory:
                    tree[above] = Member(above, self._directory(paths.name_of(above)))
        self._children = {path: {} for path, member in tree.items() if member.info.is_directory}
        if is_there or tree:
            self._children[""] = {}
        for path, member in tree.items():
            parent, name = paths.split(path)
            self._children[parent][name] = self._versioned(member)
        self._members = tree

    def _versioned(self, member: Member) -> Info:
        """A member is another one when the archive is."""
        if member.info.kind is not Kind.FILE:
            return member.info
        archive = self._archive.fingerprint or self._archive.size
        return replace(member.info, fingerprint=f"{archive}-{member.offset}-{member.info.fingerprint}")

    def _directory(self, name: str) -> Info:
        """A directory that the archive does not mention: as old as the archive."""
        return Info(name, Kind.DIRECTORY, mtime_ns=self._archive.mtime_ns)

    # Looking

    async def info(self, path: str) -> Info:
        paths.check(path)
        if not path and "" in self._children:
            return self._directory("")
        parent, name = paths.split(path)
        found = self._children.get(parent, {}).get(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path or self.root)
        return found

    async def list(self, path: str) -> list[Info]:
        if not (await self.info(path)).is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return list(self._children[path].values())

    # Content

    async def open_reader(self, path: str, info: Info) -> Reader:
        if (await self.info(path)).kind is not Kind.FILE:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        member = self._members[path]
        if member.method is None:
            raise UnsupportedError(f"{path}: {member.problem}")
        assert self._source is not None
        return MemberReader(self._source, member, path, is_zip=self.protocol == "zip")

    async def download(self, path: str, target: str, *, progress: Progress | None = None) -> None:
        reader = await self.open_reader(path, await self.info(path))
        try:
            async with await anyio.open_file(target, "wb") as file:
                position = 0
                while data := await reader.read(position, _DOWNLOAD_STEP):
                    await file.write(data)
                    position += len(data)
                    if progress is not None:
                        progress(position)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await aio.run(os.unlink, target)
            raise
        finally:
            await reader.aclose()

    async def upload(
        self, source: str, path: str, *, exclusive: bool = False, progress: Progress | None = None
    ) -> Info:
        raise self._unsupported("be written", path)

    async def aclose(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            await source.aclose()
        await self._target.aclose()


class MemberReader(Reader):
    """Reads of one member: its own range of the archive, or decoded in passing."""

    def __init__(self, source: Reader, member: Member, path: str, *, is_zip: bool) -> None:
        self._source = source
        self._member = member
        self._path = path
        self._is_zip = is_zip
        self._start: int | None = None if is_zip else member.offset
        self._inflater: Inflater | None = None
        self._lock = anyio.Lock()

    async def read(self, offset: int, size: int) -> bytes:
        member = self._member
        size = min(size, (member.info.size or 0) - offset)
        if size <= 0:
            return b""
        async with self._lock:
            if self._start is None:
                self._start = await self._find_content()
        if not member.method:
            data = await self._source.read(self._start + offset, size)
        else:
            data = await self._decode(self._start, offset, size)
        if len(data) < size:
            raise OSError(
                errno.EIO, f"the archive has only {offset + len(data)} of {member.info.size} bytes", self._path
            )
        return data

    async def _decode(self, start: int, offset: int, size: int) -> bytes:
        member = self._member
        assert member.method
        if self._inflater is None:
            # In a zip the member is compressed; in a tar everything is, and the member is somewhere in it.
            begin, end = (start, start + member.stored_size) if self._is_zip else (0, member.stored_size)
            self._inflater = Inflater(self._source, begin, end, member.method)
        try:
            return await self._inflater.read(offset if self._is_zip else start + offset, size)
        except _DECODER_ERRORS as exc:
            raise OSError(errno.EIO, f"the archive is damaged: {exc}", self._path) from exc
        except OSError as exc:
            raise translate(exc, self._path) from exc

    async def _find_content(self) -> int:
        """The local header's variable parts differ from the index's, and stand between it and the content."""
        header = await self._source.read(self._member.offset, _LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
            raise OSError(errno.EIO, f"the archive is damaged: no member at {self._member.offset}", self._path)
        _, name_size, extra_size = _LOCAL_HEADER.unpack(header)
        return self._member.offset + _LOCAL_HEADER.size + int(name_size) + int(extra_size)


class ArchiveFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """What `Store.fs` is for an archive: nothing; the store does everything itself."""

    protocol = "archive"


# Indexes


def read_zip(file: io.BufferedIOBase) -> list[Member]:
    """The members of a zip file, in the order of its index."""
    found: list[Member] = []
    hidden = 0
    with zipfile.ZipFile(file) as archive:
        for item in archive.infolist():
            path = _safe_path(item.filename)
            mode = item.external_attr >> 16
            kind = Kind.DIRECTORY if item.filename.endswith("/") else Kind.of_mode(mode)
            if path is None or kind is Kind.OTHER:
                hidden += 1
                continue
            target = None
            if kind is Kind.SYMLINK:
                target = _link_target(archive, item)
                if target is None or not _stays_inside(path, target):
                    hidden += 1
                    continue
            method, problem = _zip_method(item)
            info = Info(
                paths.name_of(path),
                kind,
                size=item.file_size if kind is Kind.FILE else None,
                mtime_ns=quirks.to_ns(item.date_time),
                fingerprint=f"{item.CRC:08x}" if kind is Kind.FILE else None,
                mode=_type_bits(kind) | stat.S_IMODE(mode) if mode else None,
                target=target,
            )
            found.append(Member(path, info, item.header_offset, item.compress_size, method, problem))
    _log_hidden(hidden)
    return found


def _zip_method(item: zipfile.ZipInfo) -> tuple[str | None, str]:
    if item.flag_bits & 1:
        return None, "it is encrypted"
    method = _ZIP_METHODS.get(item.compress_type)
    return method, "" if method is not None else f"zip's compression method {item.compress_type} is not known here"


def _link_target(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> str | None:
    if item.file_size > 4096 or item.flag_bits & 1:
        return None
    try:
        return os.fsdecode(archive.read(item))
    except (zipfile.BadZipFile, NotImplementedError, zlib.error):
        return None


def read_tar(file: io.BufferedIOBase) -> list[Member]:
    """The members of a tar file, compressed as a whole or not."""
    magic = file.read(6)
    method = next((name for start, name in _MAGIC if magic.startswith(start)), "")
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    found: dict[str, Member] = {}
    hidden = 0
    with tarfile.open(fileobj=file, mode="r:*", errors="surrogateescape") as archive:
        for item in archive:
            path = _safe_path(item.name)
            member = None if path is None else _tar_member(path, item, found, method, size)
            if member is None:
                hidden += path != ""
                continue
            found.pop(member.path, None)
            found[member.path] = member
    _log_hidden(hidden)
    return list(found.values())


def _tar_member(path: str, item: tarfile.TarInfo, found: Mapping[str, Member], method: str, size: int) -> Member | None:
    if item.islnk():
        source = found.get(_safe_path(item.linkname) or "")
        return (
            None if source is None else replace(source, path=path, info=replace(source.info, name=paths.name_of(path)))
        )
    kind = Kind.FILE if item.isreg() else Kind.DIRECTORY if item.isdir() else Kind.SYMLINK if item.issym() else None
    if kind is None or not path or (kind is Kind.SYMLINK and not _stays_inside(path, item.linkname)):
        return None
    mtime_ns = quirks.to_ns(item.mtime)
    info = Info(
        paths.name_of(path),
        kind,
        size=item.size if kind is Kind.FILE else None,
        mtime_ns=mtime_ns,
        fingerprint=str(mtime_ns) if kind is Kind.FILE else None,
        mode=_type_bits(kind) | stat.S_IMODE(item.mode),
        uid=item.uid,
        gid=item.gid,
        target=item.linkname if kind is Kind.SYMLINK else None,
    )
    if item.sparse is not None:
        return Member(path, info, method=None, problem="it is stored as a sparse file, which is not supported")
    return Member(path, info, item.offset_data, size if method else item.size, method)


def _safe_path(name: str) -> str | None:
    """The path of a member in our form; None when its name is not one that stays inside the archive."""
    if name.startswith("/") or "\\" in name or "\0" in name:
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts else "/".join(parts)


def _stays_inside(path: str, target: str) -> bool:
    """Whether the symlink at `path` leads to something inside the archive."""
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return not target.startswith("/") and joined != ".." and not joined.startswith("../")


def _type_bits(kind: Kind) -> int:
    return {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}[kind]


def _log_hidden(count: int) -> None:
    if count:
        logger.warning("%d members of the archive are hidden: their names or links lead out of it", count)
