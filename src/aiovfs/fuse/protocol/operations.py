"""THE TABLE: one row for each opcode of FUSE 7.45.

A request is a header (`InHeader`), then its parts in order: a struct, NUL-terminated names, counted bytes, or an array
of structs. A row says which, what the reply is, since when the kernel sends it, whether the reply makes the kernel
count a lookup, and what the kernel does after ENOSYS. Derived from the rows: the request classes (`messages`,
generated), the decoders (`codec`), the trace line, the reference page, the fuzz strategies, the checks in the tests.

To add an opcode: a row here, its structs in `structs`, then `tools/generate.py`. Opcodes outside the table are not an
error (kernels grow); they decode to `Unknown` and are answered ENOSYS.

How the attributes of a request come about: the fields of its structs, nested ones flattened, reserved ones left out,
under the kernel's names. Header fields keep `unique`, `nodeid`, `uid`, `gid`, `pid`; a field of the same name in a
struct is renamed by the row (`new_uid` of SETATTR).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from .flags import InitFlags
from .layout import Record, Scalar
from .structs import (
    AccessIn,
    AttrOut,
    BatchForgetIn,
    BmapIn,
    BmapOut,
    CopyFileRangeIn,
    CopyFileRangeOut,
    CreateIn,
    CuseInitIn,
    CuseInitOut,
    Dirent,
    Direntplus,
    EntryOut,
    FallocateIn,
    FlushIn,
    ForgetIn,
    ForgetOne,
    FsyncIn,
    GetattrIn,
    GetxattrIn,
    GetxattrOut,
    InitIn,
    InitOut,
    InterruptIn,
    IoctlIn,
    IoctlOut,
    LinkIn,
    LkIn,
    LkOut,
    LseekIn,
    LseekOut,
    MkdirIn,
    MknodIn,
    NotifyRetrieveIn,
    OpenIn,
    OpenOut,
    PollIn,
    PollOut,
    ReadIn,
    ReleaseIn,
    RemovemappingIn,
    RemovemappingOne,
    Rename2In,
    RenameIn,
    SetattrIn,
    SetupmappingIn,
    SetxattrIn,
    StatfsOut,
    StatxIn,
    StatxOut,
    SyncfsIn,
    WriteIn,
    WriteOut,
)

if TYPE_CHECKING:
    from .request import Request

__all__ = [
    "BY_NAME",
    "BY_OPCODE",
    "NEVER",
    "OPERATIONS",
    "Absent",
    "Arguments",
    "Array",
    "Attribute",
    "Bytes",
    "Dirents",
    "Name",
    "Never",
    "Operation",
    "Part",
    "Payload",
    "Reply",
]


@dataclass(frozen=True, slots=True)
class Arguments:
    """A struct whose fields become attributes of the request. A bare Record in a row means `Arguments(record)`."""

    record: type[Record]
    rename: Mapping[str, str] = field(default_factory=dict)
    """Field of the struct → attribute of the request."""
    high_half: Mapping[str, str] = field(default_factory=dict)
    """Attribute → the field that holds its bits 32…63, valid when the low half has `InitFlags.INIT_EXT`."""
    at_least: int | None = None
    """Kernels older than the struct send only this much of it, or anything between; what is missing reads 0."""
    short: tuple[int, InitFlags] | None = None
    """(size, flag): only the first `size` bytes come unless the session agreed to `flag`; what is missing reads 0."""


@dataclass(frozen=True, slots=True)
class Name:
    """Bytes that end with a NUL, never empty. The attribute does not have the NUL."""

    attribute: str = "name"


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes, as many as the attribute `count` says: a slice of the caller's buffer, or with `copied` its own bytes."""

    attribute: str
    count: str
    copied: bool = False


@dataclass(frozen=True, slots=True)
class Array:
    """`count` structs, as a list of tuples; the list knows its length, so `count` is no attribute."""

    attribute: str
    record: type[Record]
    count: str


@dataclass(frozen=True, slots=True)
class Absent:
    """An attribute that this form of the request does not carry but a sibling does; it reads `value`."""

    attribute: str
    value: int = 0


Part: TypeAlias = Arguments | Name | Payload | Array | Absent


@dataclass(frozen=True, slots=True)
class Never:
    """No reply is sent. INTERRUPT alone may be answered: EAGAIN has it sent again, ENOSYS turns it off for good."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Raw bytes; at most as many as the request's attribute `at_most` says."""

    at_most: str | None = None
    when_zero: type[Record] | None = None
    """What is sent instead when that attribute is 0: the caller asks for the size alone."""


@dataclass(frozen=True, slots=True)
class Dirents:
    """Records made by `dirents.DirentBuffer`, at most `size` bytes of them. Nothing means the end."""

    record: type[Record]


NEVER: Final = Never()

Reply: TypeAlias = Never | tuple[type[Record] | Bytes | Dirents, ...]
"""NEVER, or what follows the header in order; `()` is a header alone."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a request class: its name, its Python type, what it is on the wire."""

    name: str
    annotation: str
    kind: Scalar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One row. `since` is the protocol version whose kernel sends it first; 7.1 stands for "always"."""

    opcode: int
    name: str
    parts: tuple[Part, ...]
    reply: Reply
    since: tuple[int, int]
    adds_lookup: bool
    summary: str
    after_enosys: str
    """What the kernel does once this was answered ENOSYS; empty: the caller gets ENOSYS, the next request comes."""
    extends: str | None
    """Name of the row whose request class this one's derives from, so that one handler serves both."""
    c_name: str

    @property
    def class_name(self) -> str:
        """Name of the request class."""
        return "".join(word.capitalize() for word in self.name.split("_"))

    @property
    def request(self) -> type[Request]:
        """The request class. Looked up late: `messages` is generated from this table."""
        from . import messages

        found: type[Request] = getattr(messages, self.class_name)
        return found

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """What the request carries besides the header, in the order of the wire."""
        counts = {part.count for part in self.parts if isinstance(part, Array)}
        everything = (attribute for part in self.parts for attribute in attributes_of(part))
        return tuple(attribute for attribute in everything if attribute.name not in counts)

    @property
    def never_replies(self) -> bool:
        return isinstance(self.reply, Never)


def attributes_of(part: Part) -> list[Attribute]:
    """The attributes that one part gives its request."""
    match part:
        case Arguments():
            hidden = set(part.high_half.values())
            found = []
            for path, kind in part.record.__layout__.leaves:
                leaf = path.rpartition(".")[2]
                if leaf not in hidden:
                    scalar = kind if isinstance(kind, Scalar) else None
                    found.append(Attribute(part.rename.get(leaf, leaf), "int", scalar))
            return found
        case Name():
            return [Attribute(part.attribute, "bytes")]
        case Payload():
            return [Attribute(part.attribute, "bytes" if part.copied else "Buffer")]
        case Array():
            inner = ", ".join("int" for _ in part.record.__layout__.leaves)
            return [Attribute(part.attribute, f"list[tuple[{inner}]]")]
        case Absent():
            return [Attribute(part.attribute, "int")]


def row(
    opcode: int,
    name: str,
    parts: tuple[type[Record] | Part, ...],
    *,
    reply: Reply | type[Record] = (),
    since: tuple[int, int] = (7, 1),
    adds_lookup: bool = False,
    summary: str,
    after_enosys: str = "",
    extends: str | None = None,
    c_name: str | None = None,
) -> Operation:
    return Operation(
        opcode=opcode,
        name=name,
        parts=tuple(Arguments(part) if isinstance(part, type) else part for part in parts),
        reply=(reply,) if isinstance(reply, type) else reply,
        since=since,
        adds_lookup=adds_lookup,
        summary=summary,
        after_enosys=after_enosys,
        extends=extends,
        c_name=c_name or f"FUSE_{name.upper()}",
    )


LOCK: Final = Arguments(LkIn, rename={"pid": "lock_pid"})
SUCCEEDS: Final = "answers success itself and does not ask again"
UNSUPPORTED: Final = "answers EOPNOTSUPP itself and does not ask again"

OPERATIONS: Final[tuple[Operation, ...]] = (
    row(1, "lookup", (Name(),), reply=EntryOut, adds_lookup=True, summary="Find a child by name."),
    row(2, "forget", (ForgetIn,), reply=NEVER, summary="Take back lookups of a node."),
    row(3, "getattr", (GetattrIn,), reply=AttrOut, summary="Attributes of a node."),
    row(
        4,
        "setattr",
        (Arguments(SetattrIn, rename={"uid": "new_uid", "gid": "new_gid"}),),
        reply=AttrOut,
        summary="Change those attributes that `valid` names.",
    ),
    row(5, "readlink", (), reply=(Bytes(),), summary="Target of a symbolic link."),
    row(
        6,
        "symlink",
        (Name(), Name("target")),
        reply=EntryOut,
        adds_lookup=True,
        summary="Make a symbolic link.",
    ),
    row(8, "mknod", (MknodIn, Name()), reply=EntryOut, adds_lookup=True, summary="Make a file or a special file."),
    row(9, "mkdir", (MkdirIn, Name()), reply=EntryOut, adds_lookup=True, summary="Make a directory."),
    row(10, "unlink", (Name(),), summary="Remove a name of something that is not a directory."),
    row(11, "rmdir", (Name(),), summary="Remove an empty directory."),
    row(
        12,
        "rename",
        (RenameIn, Absent("flags"), Name(), Name("newname")),
        summary="Give a child another name or parent.",
    ),
    row(
        13,
        "link",
        (LinkIn, Name()),
        reply=EntryOut,
        adds_lookup=True,
        summary="Give a node another name.",
        after_enosys="answers EPERM itself and does not ask again",
    ),
    row(
        14,
        "open",
        (OpenIn,),
        reply=OpenOut,
        summary="Open a file.",
        after_enosys="opens and releases files by itself, fh 0 (if NO_OPEN_SUPPORT was offered)",
    ),
    row(15, "read", (ReadIn,), reply=(Bytes("size"),), summary="Read a range of an open file."),
    row(16, "write", (WriteIn, Payload("data", "size")), reply=WriteOut, summary="Write a range of an open file."),
    row(17, "statfs", (), reply=StatfsOut, summary="How full the file system is."),
    row(18, "release", (ReleaseIn,), summary="The last user of an open file is gone."),
    row(20, "fsync", (FsyncIn,), summary="Make a file's content durable.", after_enosys=SUCCEEDS),
    row(
        21,
        "setxattr",
        (
            Arguments(SetxattrIn, short=(8, InitFlags.SETXATTR_EXT)),
            Name(),
            Payload("value", "size", copied=True),
        ),
        summary="Set an extended attribute.",
        after_enosys=UNSUPPORTED,
    ),
    row(
        22,
        "getxattr",
        (GetxattrIn, Name()),
        reply=(Bytes("size", when_zero=GetxattrOut),),
        summary="Value of an extended attribute; its size alone when `size` is 0.",
        after_enosys=UNSUPPORTED,
    ),
    row(
        23,
        "listxattr",
        (GetxattrIn,),
        reply=(Bytes("size", when_zero=GetxattrOut),),
        summary="Names of extended attributes, each with a NUL; their size alone when `size` is 0.",
        after_enosys=UNSUPPORTED,
    ),
    row(24, "removexattr", (Name(),), summary="Remove an extended attribute.", after_enosys=UNSUPPORTED),
    row(25, "flush", (FlushIn,), summary="One of the descriptors of an open file was closed.", after_enosys=SUCCEEDS),
    row(
        26,
        "init",
        (Arguments(InitIn, high_half={"flags": "flags2"}, at_least=8),),
        reply=InitOut,
        summary="First request: agree on version and features.",
        after_enosys="answers every request with ECONNREFUSED",
    ),
    row(
        27,
        "opendir",
        (OpenIn,),
        reply=OpenOut,
        summary="Open a directory.",
        after_enosys="opens and releases directories by itself, fh 0 (if NO_OPENDIR_SUPPORT was offered)",
    ),
    row(28, "readdir", (ReadIn,), reply=(Dirents(Dirent),), summary="Names in a directory."),
    row(29, "releasedir", (ReleaseIn,), summary="The last user of an open directory is gone."),
    row(30, "fsyncdir", (FsyncIn,), since=(7, 2), summary="Make a directory durable.", after_enosys=SUCCEEDS),
    row(31, "getlk", (LOCK,), reply=LkOut, since=(7, 7), summary="Which lock is in the way."),
    row(32, "setlk", (LOCK,), since=(7, 7), summary="Take or release a lock, or fail at once with EAGAIN."),
    row(33, "setlkw", (LOCK,), since=(7, 7), summary="Take a lock, waiting for it."),
    row(34, "access", (AccessIn,), since=(7, 3), summary="Whether the caller may do this.", after_enosys=SUCCEEDS),
    row(
        35,
        "create",
        (CreateIn, Name()),
        reply=(EntryOut, OpenOut),
        since=(7, 3),
        adds_lookup=True,
        summary="Make a file and open it.",
        after_enosys="sends MKNOD and OPEN instead",
    ),
    row(
        36,
        "interrupt",
        (Arguments(InterruptIn, rename={"unique": "target"}),),
        reply=NEVER,
        since=(7, 7),
        summary="The caller of the request `target` got a signal.",
        after_enosys="sends no INTERRUPT again",
    ),
    row(
        37,
        "bmap",
        (BmapIn,),
        reply=BmapOut,
        since=(7, 8),
        summary="Number of a file's block on its device.",
        after_enosys="answers block 0 itself and does not ask again",
    ),
    row(38, "destroy", (), since=(7, 8), summary="Last request: the file system was unmounted."),
    row(
        39,
        "ioctl",
        (IoctlIn, Payload("data", "in_size")),
        reply=(IoctlOut, Bytes("out_size")),
        since=(7, 11),
        summary="A device command on an open file.",
        after_enosys="gives the caller ENOTTY",
    ),
    row(
        40,
        "poll",
        (PollIn,),
        reply=PollOut,
        since=(7, 11),
        summary="Whether the file is ready; with SCHEDULE_NOTIFY also to tell when it becomes ready.",
        after_enosys="takes every file for ready and does not ask again",
    ),
    row(
        41,
        "notify_reply",
        (NotifyRetrieveIn, Payload("data", "size")),
        reply=NEVER,
        since=(7, 15),
        summary="Cached data that NOTIFY_RETRIEVE asked for; `unique` is the notification's `notify_unique`.",
    ),
    row(
        42,
        "batch_forget",
        (BatchForgetIn, Array("items", ForgetOne, "count")),
        reply=NEVER,
        since=(7, 16),
        summary="Take back lookups of many nodes: pairs of nodeid and lookups.",
    ),
    row(43, "fallocate", (FallocateIn,), since=(7, 19), summary="Reserve or punch a range.", after_enosys=UNSUPPORTED),
    row(
        44,
        "readdirplus",
        (ReadIn,),
        reply=(Dirents(Direntplus),),
        since=(7, 21),
        adds_lookup=True,
        summary="Names in a directory with their attributes.",
    ),
    row(
        45,
        "rename2",
        (Rename2In, Name(), Name("newname")),
        since=(7, 23),
        summary="RENAME with flags: exchange, do not replace, leave a whiteout.",
        after_enosys="answers EINVAL itself and does not ask again",
        extends="rename",
    ),
    row(
        46,
        "lseek",
        (LseekIn,),
        reply=LseekOut,
        since=(7, 24),
        summary="Find data or a hole after an offset.",
        after_enosys="takes files to have no holes and does not ask again",
    ),
    row(
        47,
        "copy_file_range",
        (CopyFileRangeIn,),
        reply=WriteOut,
        since=(7, 28),
        summary="Copy between two open files.",
        after_enosys="copies through the page cache and does not ask again",
    ),
    row(48, "setupmapping", (SetupmappingIn,), since=(7, 31), summary="Map a range of a file into the DAX window."),
    row(
        49,
        "removemapping",
        (RemovemappingIn, Array("items", RemovemappingOne, "count")),
        since=(7, 31),
        summary="Unmap ranges of the DAX window: pairs of offset and length.",
    ),
    row(50, "syncfs", (SyncfsIn,), since=(7, 34), summary="Make everything durable.", after_enosys=SUCCEEDS),
    row(
        51,
        "tmpfile",
        (CreateIn, Name()),
        reply=(EntryOut, OpenOut),
        since=(7, 37),
        adds_lookup=True,
        summary="Make and open a file that has no name; the `name` sent means nothing.",
        after_enosys=UNSUPPORTED,
    ),
    row(
        52,
        "statx",
        (StatxIn,),
        reply=StatxOut,
        since=(7, 39),
        summary="Attributes of a node, with birth time.",
        after_enosys="sends GETATTR instead",
    ),
    row(
        53,
        "copy_file_range_64",
        (CopyFileRangeIn,),
        reply=CopyFileRangeOut,
        since=(7, 45),
        summary="COPY_FILE_RANGE with a reply of 64 bits.",
        after_enosys="sends COPY_FILE_RANGE instead",
        extends="copy_file_range",
    ),
    row(
        4096,
        "cuse_init",
        (CuseInitIn,),
        reply=(CuseInitOut, Bytes()),
        since=(7, 12),
        summary="First request of a character device in user space.",
        c_name="CUSE_INIT",
    ),
)

BY_OPCODE: Final[Mapping[int, Operation]] = MappingProxyType({row.opcode: row for row in OPERATIONS})
BY_NAME: Final[Mapping[str, Operation]] = MappingProxyType({row.name: row for row in OPERATIONS})
