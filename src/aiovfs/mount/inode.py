"""`Inode`, our object for one file or directory, and `Tree`, the inodes that are in use, linked by parent and name.

No inode holds a path: renaming a directory changes one link. A path is put together when the store is asked, and that
is also why whoever asks has to look again afterwards whether the path still stands (`VFS` does).

An inode lives while something needs it: the kernel knows it, it is open, it waits for its upload, it has children, or
its times were set and the store cannot keep them. `Tree.drop_if_unused` lets go of the rest.

An inode is one file in the sense of POSIX. When somebody else replaces the stored object while it is open here, the
name gets a *new* inode and the old one stays with those who have it open, just as if a local program had renamed
another file over it. So no page cache, ours or the kernel's, ever mixes two versions.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import anyio

from aiovfs.fs.info import Info, Kind
from aiovfs.mount.listing import Listing
from aiovfs.mount.names import decode_name, ino_of

if TYPE_CHECKING:
    from aiovfs.mount.content import Content
    from aiovfs.mount.files import DirectFile
    from aiovfs.mount.staging import StagedFile

__all__ = ["ROOT_INO", "S_IFMT_OF", "Inode", "Tree"]

S_IFMT_OF = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.OTHER: stat.S_IFREG,
}
"""Type bits of `st_mode`. For OTHER, when the store does not say more."""

ROOT_INO = 1
NEVER = float("-inf")


class Inode:
    """One file, directory or symlink. Attributes that are None are not known or not kept by the store."""

    __slots__ = (
        "_lock",
        "atime_ns",
        "birthtime_ns",
        "changes",
        "checked_at",
        "children",
        "content",
        "ctime_ns",
        "direct_files",
        "fingerprint",
        "format",
        "gid",
        "has_local_times",
        "has_set_times",
        "has_store_ino",
        "ino",
        "is_known",
        "is_moved",
        "is_replaced",
        "is_unlinked",
        "kind",
        "leaving",
        "listing",
        "mode",
        "mtime_ns",
        "name",
        "negatives",
        "nlink",
        "open_count",
        "paged_fingerprint",
        "parent",
        "rdev",
        "size",
        "staged",
        "target",
        "uid",
    )

    def __init__(self, info: Info, *, ino: int, has_store_ino: bool = False) -> None:
        self.mtime_ns: int | None
        self.atime_ns: int | None
        self.ctime_ns: int | None
        self.parent: Inode | None = None
        self.name = b""
        self.kind = info.kind
        self.ino = ino
        self.has_store_ino = has_store_ino
        self.children: dict[bytes, Inode] = {}
        self.negatives: dict[bytes, float] = {}
        """Names that the store definitely did not have, and until when that counts."""
        self.listing: Listing | None = None
        self.changes = 0
        """Counts our own changes of a directory, so that a listing that was under way meanwhile is not kept."""
        self.is_known = False
        """The kernel holds a lookup."""
        self.is_unlinked = False
        """No name leads here any more, and none will."""
        self.is_moved = False
        """We renamed it by copying: the next fingerprint that the store says is another name of the same content."""
        self.is_replaced = False
        """Somebody else put another file under our name while this one was open."""
        self.leaving: anyio.Event | None = None
        """We are taking its name away; set when that has succeeded or failed."""
        self.open_count = 0
        self.direct_files: list[DirectFile] = []
        self.content: Content | None = None
        self.staged: StagedFile | None = None
        self.paged_fingerprint: str | None = None
        """The version whose pages the kernel may still have."""
        self.has_local_times = False
        """`mtime_ns` is our own, for as long as the fingerprint stays."""
        self.has_set_times = False
        """Somebody set the times, and the store cannot keep them."""
        self.checked_at = NEVER
        self._lock: anyio.Lock | None = None
        self._take(info)

    def __repr__(self) -> str:
        return f"<Inode {self.ino} {self.kind.value} {self.name!r}>"

    @property
    def lock(self) -> anyio.Lock:
        """Serialises what changes the content of this file: fetching it for writing, truncating, uploading."""
        if self._lock is None:
            self._lock = anyio.Lock()
        return self._lock

    @property
    def is_directory(self) -> bool:
        return self.kind is Kind.DIRECTORY

    @property
    def is_stored(self) -> bool:
        """Whether the store has anything under this inode's path."""
        return self.staged is None or self.staged.is_stored

    @property
    def is_dirty(self) -> bool:
        """Has content that the store does not have, and should."""
        return self.staged is not None and self.staged.is_dirty and not self.is_unlinked

    def is_same_version(self, info: Info) -> bool:
        """Whether `info` describes the content that this inode has."""
        if self.is_moved:
            return self.size == info.size
        if self.fingerprint is not None and info.fingerprint is not None:
            return self.fingerprint == info.fingerprint
        return self.size == info.size and (self.has_local_times or self.mtime_ns == info.mtime_ns)

    def update(self, info: Info, checked_at: float) -> None:
        """Take over what the store says now. What we know better (content not uploaded, times set) stays."""
        same = self.is_same_version(info)
        if self.staged is None:
            mtime_ns, atime_ns, ctime_ns = self.mtime_ns, self.atime_ns, self.ctime_ns
            self._take(info)
            if same and self.has_local_times:
                self.mtime_ns, self.atime_ns = mtime_ns, atime_ns
                if info.ctime_ns is None:
                    # Going back to the mtime would be a change, by which tar and others tell that a file was written.
                    self.ctime_ns = ctime_ns
            else:
                self.has_local_times = False
            self.is_moved = False
        self.checked_at = checked_at

    def info(self) -> Info:
        """What this inode is, as an entry of its directory's listing."""
        return Info(
            name=decode_name(self.name),
            kind=self.kind,
            size=self.size,
            mtime_ns=self.mtime_ns,
            fingerprint=self.fingerprint,
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
            ino=self.ino if self.has_store_ino else None,
            nlink=self.nlink,
            rdev=self.rdev,
            atime_ns=self.atime_ns,
            ctime_ns=self.ctime_ns,
            birthtime_ns=self.birthtime_ns,
            target=self.target,
        )

    def _take(self, info: Info) -> None:
        self.format = stat.S_IFMT(info.mode or 0) if info.kind is Kind.OTHER else 0
        self.format = self.format or S_IFMT_OF[info.kind]
        self.size = info.size
        self.mtime_ns = info.mtime_ns
        self.fingerprint = info.fingerprint
        self.mode = None if info.mode is None else stat.S_IMODE(info.mode)
        self.uid = info.uid
        self.gid = info.gid
        self.nlink = info.nlink
        self.rdev = info.rdev
        self.atime_ns = info.atime_ns
        self.ctime_ns = info.ctime_ns
        self.birthtime_ns = info.birthtime_ns
        self.target = info.target


class Tree:
    """The inodes in use. Asks nobody and waits for nothing."""

    def __init__(self, root: Info) -> None:
        self.root = Inode(root, ino=ROOT_INO, has_store_ino=True)
        self.root.is_known = True
        self._hashed: dict[int, Inode] = {}
        """Inodes whose number is a hash of a path they have or had, so that no two live ones share a number."""

    def __len__(self) -> int:
        return 1 + sum(1 for _ in self.below(self.root))

    def path(self, inode: Inode) -> str:
        """The store's path of an inode; `""` for the root."""
        parts = []
        while inode.parent is not None:
            parts.append(inode.name)
            inode = inode.parent
        parts.reverse()
        return decode_name(b"/".join(parts))

    def child_path(self, directory: Inode, name: bytes) -> str:
        path = self.path(directory)
        return f"{path}/{decode_name(name)}" if path else decode_name(name)

    def is_inside(self, inode: Inode, directory: Inode) -> bool:
        """Whether `inode` is `directory` or below it."""
        step: Inode | None = inode
        while step is not None:
            if step is directory:
                return True
            step = step.parent
        return False

    def below(self, directory: Inode) -> list[Inode]:
        """Every inode in use below a directory."""
        found: list[Inode] = []
        pending = [directory]
        while pending:
            for child in pending.pop().children.values():
                found.append(child)
                if child.children:
                    pending.append(child)
        return found

    def add(self, directory: Inode, name: bytes, info: Info, checked_at: float) -> Inode:
        """A new inode for `name`; an inode that had the name before was replaced by somebody else."""
        before = directory.children.get(name)
        if before is not None:
            before.is_replaced = True
            self.detach(before)
        inode = Inode(info, ino=self.ino_for(directory, name, info), has_store_ino=info.ino is not None)
        inode.checked_at = checked_at
        if not inode.has_store_ino:
            self._hashed[inode.ino] = inode
        self.attach(inode, directory, name)
        return inode

    def ino_for(self, directory: Inode, name: bytes, info: Info, directory_path: str | None = None) -> int:
        """The `st_ino` that `name` has, or would get. `directory_path` saves putting it together for each of many."""
        if info.ino is not None:
            return info.ino
        child = directory.children.get(name)
        if child is not None:
            return child.ino
        if directory_path is None:
            directory_path = self.path(directory)
        path = f"{directory_path}/{decode_name(name)}" if directory_path else decode_name(name)
        salt = 0
        while (ino := ino_of(path, salt)) in self._hashed:
            salt += 1
        return ino

    def attach(self, inode: Inode, directory: Inode, name: bytes) -> None:
        inode.parent = directory
        inode.name = name
        inode.is_unlinked = False
        directory.children[name] = inode
        directory.negatives.pop(name, None)

    def detach(self, inode: Inode) -> None:
        """`inode` has no name any more. It goes on living while somebody has it open."""
        parent = inode.parent
        if parent is not None and parent.children.get(inode.name) is inode:
            del parent.children[inode.name]
        inode.is_unlinked = True
        self.drop_if_unused(inode)

    def move(self, inode: Inode, directory: Inode, name: bytes) -> None:
        """Give `inode` another name; whatever had it must be detached before."""
        parent = inode.parent
        if parent is not None and parent.children.get(inode.name) is inode:
            del parent.children[inode.name]
        self.attach(inode, directory, name)

    def is_used(self, inode: Inode) -> bool:
        return bool(
            inode.is_known
            or inode.open_count
            or inode.children
            or (inode.staged is not None and not inode.is_unlinked)
            or (inode.has_set_times and not inode.is_unlinked)
        )

    def drop_if_unused(self, inode: Inode) -> None:
        """Forget an inode that nothing needs, and its parents likewise."""
        step: Inode | None = inode
        while step is not None and step is not self.root and not self.is_used(step):
            parent = step.parent
            if parent is not None and parent.children.get(step.name) is step:
                del parent.children[step.name]
            if self._hashed.get(step.ino) is step:
                del self._hashed[step.ino]
            if step.content is not None:
                step.content.drop()
            step = parent
