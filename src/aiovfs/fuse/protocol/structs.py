"""Every struct of the kernel's FUSE protocol 7.45, in the order of `linux/fuse.h`.

The kernel's name is `c_name`; ours drops its prefix. Field names are the kernel's. A flexible array at the end
(`name[]`, `groups[]`) is not part of the layout. Source: linux/fuse.h under its BSD-2-Clause option; see NOTICE.

Annotations are evaluated here: they are the layout.
"""

from .layout import Record, chars128, i32, i64, pad, u16, u32, u64, zeros

__all__ = [
    "STRUCTS",
    "AccessIn",
    "Attr",
    "AttrOut",
    "BackingMap",
    "BatchForgetIn",
    "BmapIn",
    "BmapOut",
    "CopyFileRangeIn",
    "CopyFileRangeOut",
    "CreateIn",
    "CuseInitIn",
    "CuseInitOut",
    "Dirent",
    "Direntplus",
    "EntryOut",
    "ExtHeader",
    "FallocateIn",
    "FileLock",
    "FlushIn",
    "ForgetIn",
    "ForgetOne",
    "FsyncIn",
    "GetattrIn",
    "GetxattrIn",
    "GetxattrOut",
    "InHeader",
    "InitIn",
    "InitOut",
    "InterruptIn",
    "IoctlIn",
    "IoctlIovec",
    "IoctlOut",
    "Kstatfs",
    "LinkIn",
    "LkIn",
    "LkOut",
    "LseekIn",
    "LseekOut",
    "MkdirIn",
    "MknodIn",
    "NotifyDeleteOut",
    "NotifyInvalEntryOut",
    "NotifyInvalInodeOut",
    "NotifyPollWakeupOut",
    "NotifyPruneOut",
    "NotifyRetrieveIn",
    "NotifyRetrieveOut",
    "NotifyStoreOut",
    "OpenIn",
    "OpenOut",
    "OutHeader",
    "PollIn",
    "PollOut",
    "ReadIn",
    "ReleaseIn",
    "RemovemappingIn",
    "RemovemappingOne",
    "Rename2In",
    "RenameIn",
    "Secctx",
    "SecctxHeader",
    "SetattrIn",
    "SetupmappingIn",
    "SetxattrIn",
    "StatfsOut",
    "Statx",
    "StatxIn",
    "StatxOut",
    "SuppGroups",
    "SxTime",
    "SyncfsIn",
    "UringCmdReq",
    "UringEntInOut",
    "UringReqHeader",
    "WriteIn",
    "WriteOut",
]


class Attr(Record, c_name="fuse_attr"):
    """Attributes of a node. Times are seconds and nanoseconds; `blocks` counts 512 bytes; `flags` are `AttrFlags`."""

    ino: u64
    size: u64
    blocks: u64
    atime: u64
    mtime: u64
    ctime: u64
    atimensec: u32
    mtimensec: u32
    ctimensec: u32
    mode: u32
    nlink: u32
    uid: u32
    gid: u32
    rdev: u32
    blksize: u32
    flags: u32 = 0


class SxTime(Record, c_name="fuse_sx_time"):
    """A time as statx(2) has it."""

    tv_sec: i64
    tv_nsec: u32
    __reserved: pad = zeros(4)


class Statx(Record, c_name="fuse_statx"):
    """Attributes as statx(2) has them."""

    mask: u32
    blksize: u32
    attributes: u64
    nlink: u32
    uid: u32
    gid: u32
    mode: u16
    __spare0: pad = zeros(2)
    ino: u64
    size: u64
    blocks: u64
    attributes_mask: u64
    atime: SxTime
    btime: SxTime
    ctime: SxTime
    mtime: SxTime
    rdev_major: u32
    rdev_minor: u32
    dev_major: u32
    dev_minor: u32
    __spare2: pad = zeros(112)


class Kstatfs(Record, c_name="fuse_kstatfs"):
    """How full the file system is. `blocks`, `bfree` and `bavail` count `frsize` bytes each."""

    blocks: u64
    bfree: u64
    bavail: u64
    files: u64
    ffree: u64
    bsize: u32
    namelen: u32
    frsize: u32
    padding: pad = zeros(4)
    spare: pad = zeros(24)


class FileLock(Record, c_name="fuse_file_lock"):
    """A byte range lock; `end` is the last byte, `type` one of F_RDLCK, F_WRLCK, F_UNLCK."""

    start: u64
    end: u64
    type: u32
    pid: u32


class EntryOut(Record, c_name="fuse_entry_out"):
    """Reply to LOOKUP and friends: a node, how long to trust the name, how long to trust the attributes."""

    nodeid: u64
    generation: u64
    entry_valid: u64
    attr_valid: u64
    entry_valid_nsec: u32
    attr_valid_nsec: u32
    attr: Attr


class ForgetIn(Record, c_name="fuse_forget_in"):
    """Arguments of FORGET: how many lookups to take back."""

    nlookup: u64


class ForgetOne(Record, c_name="fuse_forget_one"):
    """One item of BATCH_FORGET."""

    nodeid: u64
    nlookup: u64


class BatchForgetIn(Record, c_name="fuse_batch_forget_in"):
    """Arguments of BATCH_FORGET: `count` items of `ForgetOne` follow."""

    count: u32
    dummy: pad = zeros(4)


class GetattrIn(Record, c_name="fuse_getattr_in"):
    """Arguments of GETATTR. `fh` counts only with `GetattrFlags.FH`."""

    getattr_flags: u32
    dummy: pad = zeros(4)
    fh: u64


class AttrOut(Record, c_name="fuse_attr_out"):
    """Reply to GETATTR and SETATTR."""

    attr_valid: u64
    attr_valid_nsec: u32
    dummy: pad = zeros(4)
    attr: Attr


class StatxIn(Record, c_name="fuse_statx_in"):
    """Arguments of STATX. `sx_mask` are `StatxMask` bits."""

    getattr_flags: u32
    reserved: pad = zeros(4)
    fh: u64
    sx_flags: u32
    sx_mask: u32


class StatxOut(Record, c_name="fuse_statx_out"):
    """Reply to STATX."""

    attr_valid: u64
    attr_valid_nsec: u32
    flags: u32
    spare: pad = zeros(16)
    stat: Statx


class MknodIn(Record, c_name="fuse_mknod_in"):
    """Arguments of MKNOD."""

    mode: u32
    rdev: u32
    umask: u32
    padding: pad = zeros(4)


class MkdirIn(Record, c_name="fuse_mkdir_in"):
    """Arguments of MKDIR."""

    mode: u32
    umask: u32


class RenameIn(Record, c_name="fuse_rename_in"):
    """Arguments of RENAME: the nodeid of the new parent."""

    newdir: u64


class Rename2In(Record, c_name="fuse_rename2_in"):
    """Arguments of RENAME2. `flags` are `RenameFlags`."""

    newdir: u64
    flags: u32
    padding: pad = zeros(4)


class LinkIn(Record, c_name="fuse_link_in"):
    """Arguments of LINK: the node that gets another name."""

    oldnodeid: u64


class SetattrIn(Record, c_name="fuse_setattr_in"):
    """Arguments of SETATTR. Only what `valid` (`SetattrValid`) names counts."""

    valid: u32
    padding: pad = zeros(4)
    fh: u64
    size: u64
    lock_owner: u64
    atime: u64
    mtime: u64
    ctime: u64
    atimensec: u32
    mtimensec: u32
    ctimensec: u32
    mode: u32
    unused4: pad = zeros(4)
    uid: u32
    gid: u32
    unused5: pad = zeros(4)


class OpenIn(Record, c_name="fuse_open_in"):
    """Arguments of OPEN and OPENDIR. `flags` are those of open(2), `open_flags` are `OpenInFlags`."""

    flags: u32
    open_flags: u32


class CreateIn(Record, c_name="fuse_create_in"):
    """Arguments of CREATE and TMPFILE."""

    flags: u32
    mode: u32
    umask: u32
    open_flags: u32


class OpenOut(Record, c_name="fuse_open_out"):
    """Reply to OPEN and OPENDIR; `open_flags` are `OpenFlags`, `backing_id` names a file for passthrough."""

    fh: u64
    open_flags: u32
    backing_id: i32 = 0


class ReleaseIn(Record, c_name="fuse_release_in"):
    """Arguments of RELEASE and RELEASEDIR."""

    fh: u64
    flags: u32
    release_flags: u32
    lock_owner: u64


class FlushIn(Record, c_name="fuse_flush_in"):
    """Arguments of FLUSH."""

    fh: u64
    unused: pad = zeros(4)
    padding: pad = zeros(4)
    lock_owner: u64


class ReadIn(Record, c_name="fuse_read_in"):
    """Arguments of READ, READDIR and READDIRPLUS. `offset` of the latter two is the cookie to go on from."""

    fh: u64
    offset: u64
    size: u32
    read_flags: u32
    lock_owner: u64
    flags: u32
    padding: pad = zeros(4)


class WriteIn(Record, c_name="fuse_write_in"):
    """Arguments of WRITE: `size` bytes of data follow."""

    fh: u64
    offset: u64
    size: u32
    write_flags: u32
    lock_owner: u64
    flags: u32
    padding: pad = zeros(4)


class WriteOut(Record, c_name="fuse_write_out"):
    """Reply to WRITE and COPY_FILE_RANGE: how many bytes were taken."""

    size: u32
    padding: pad = zeros(4)


class StatfsOut(Record, c_name="fuse_statfs_out"):
    """Reply to STATFS."""

    st: Kstatfs


class FsyncIn(Record, c_name="fuse_fsync_in"):
    """Arguments of FSYNC and FSYNCDIR. `fsync_flags` are `FsyncFlags`."""

    fh: u64
    fsync_flags: u32
    padding: pad = zeros(4)


class SetxattrIn(Record, c_name="fuse_setxattr_in"):
    """Arguments of SETXATTR. Only the first 8 bytes are sent unless `InitFlags.SETXATTR_EXT` was agreed."""

    size: u32
    flags: u32
    setxattr_flags: u32 = 0
    padding: pad = zeros(4)


class GetxattrIn(Record, c_name="fuse_getxattr_in"):
    """Arguments of GETXATTR and LISTXATTR. `size` 0 asks how large the answer is."""

    size: u32
    padding: pad = zeros(4)


class GetxattrOut(Record, c_name="fuse_getxattr_out"):
    """Reply to GETXATTR and LISTXATTR when `size` was 0."""

    size: u32
    padding: pad = zeros(4)


class LkIn(Record, c_name="fuse_lk_in"):
    """Arguments of GETLK, SETLK and SETLKW. `lk_flags` are `LockFlags`."""

    fh: u64
    owner: u64
    lk: FileLock
    lk_flags: u32
    padding: pad = zeros(4)


class LkOut(Record, c_name="fuse_lk_out"):
    """Reply to GETLK."""

    lk: FileLock


class AccessIn(Record, c_name="fuse_access_in"):
    """Arguments of ACCESS: R_OK, W_OK, X_OK or F_OK."""

    mask: u32
    padding: pad = zeros(4)


class InitIn(Record, c_name="fuse_init_in"):
    """Arguments of INIT: what the kernel can do. Older kernels send less of it; see `operations`."""

    major: u32
    minor: u32
    max_readahead: u32 = 0
    flags: u32 = 0
    flags2: u32 = 0
    unused: pad = zeros(44)


class InitOut(Record, c_name="fuse_init_out"):
    """Reply to INIT: what the session will do. Kernels before 7.23 take only the first 24 bytes."""

    major: u32
    minor: u32
    max_readahead: u32
    flags: u32
    max_background: u16
    congestion_threshold: u16
    max_write: u32
    time_gran: u32
    max_pages: u16 = 0
    map_alignment: u16 = 0
    flags2: u32 = 0
    max_stack_depth: u32 = 0
    request_timeout: u16 = 0
    unused: pad = zeros(22)


class CuseInitIn(Record, c_name="cuse_init_in"):
    """Arguments of CUSE_INIT."""

    major: u32
    minor: u32
    unused: pad = zeros(4)
    flags: u32


class CuseInitOut(Record, c_name="cuse_init_out"):
    """Reply to CUSE_INIT; the device's `NAME=value` strings follow."""

    major: u32
    minor: u32
    unused: pad = zeros(4)
    flags: u32
    max_read: u32
    max_write: u32
    dev_major: u32
    dev_minor: u32
    spare: pad = zeros(40)


class InterruptIn(Record, c_name="fuse_interrupt_in"):
    """Arguments of INTERRUPT: the unique of the request to give up."""

    unique: u64


class BmapIn(Record, c_name="fuse_bmap_in"):
    """Arguments of BMAP."""

    block: u64
    blocksize: u32
    padding: pad = zeros(4)


class BmapOut(Record, c_name="fuse_bmap_out"):
    """Reply to BMAP."""

    block: u64


class IoctlIn(Record, c_name="fuse_ioctl_in"):
    """Arguments of IOCTL: `in_size` bytes follow."""

    fh: u64
    flags: u32
    cmd: u32
    arg: u64
    in_size: u32
    out_size: u32


class IoctlIovec(Record, c_name="fuse_ioctl_iovec"):
    """One range of the caller's memory that an unrestricted ioctl asks for."""

    base: u64
    len: u64


class IoctlOut(Record, c_name="fuse_ioctl_out"):
    """Reply to IOCTL; the output follows."""

    result: i32
    flags: u32 = 0
    in_iovs: u32 = 0
    out_iovs: u32 = 0


class PollIn(Record, c_name="fuse_poll_in"):
    """Arguments of POLL. `kh` names the wait for NOTIFY_POLL."""

    fh: u64
    kh: u64
    flags: u32
    events: u32


class PollOut(Record, c_name="fuse_poll_out"):
    """Reply to POLL."""

    revents: u32
    padding: pad = zeros(4)


class NotifyPollWakeupOut(Record, c_name="fuse_notify_poll_wakeup_out"):
    """NOTIFY_POLL: wake those who wait under `kh`."""

    kh: u64


class FallocateIn(Record, c_name="fuse_fallocate_in"):
    """Arguments of FALLOCATE. `mode` are `FallocateFlags`."""

    fh: u64
    offset: u64
    length: u64
    mode: u32
    padding: pad = zeros(4)


class InHeader(Record, c_name="fuse_in_header"):
    """Head of every request. `len` counts everything; `total_extlen` counts 8 bytes each of extensions at the end."""

    len: u32
    opcode: u32
    unique: u64
    nodeid: u64
    uid: u32
    gid: u32
    pid: u32
    total_extlen: u16 = 0
    padding: pad = zeros(2)


class OutHeader(Record, c_name="fuse_out_header"):
    """Head of every reply and notification. `error` is 0, a negative errno, or (with `unique` 0) a notify code."""

    len: u32
    error: i32
    unique: u64


class Dirent(Record, c_name="fuse_dirent"):
    """One directory entry; the name follows, padded to 8 bytes. `off` is the cookie of the next entry."""

    ino: u64
    off: u64
    namelen: u32
    type: u32


class Direntplus(Record, c_name="fuse_direntplus"):
    """One directory entry with its attributes."""

    entry_out: EntryOut
    dirent: Dirent


class NotifyInvalInodeOut(Record, c_name="fuse_notify_inval_inode_out"):
    """NOTIFY_INVAL_INODE. A negative `off` drops attributes only; `len` 0 means to the end. `ino` is the nodeid."""

    ino: u64
    off: i64
    len: i64


class NotifyInvalEntryOut(Record, c_name="fuse_notify_inval_entry_out"):
    """NOTIFY_INVAL_ENTRY; the name and a NUL follow. `flags` are `InvalEntryFlags`."""

    parent: u64
    namelen: u32
    flags: u32 = 0


class NotifyDeleteOut(Record, c_name="fuse_notify_delete_out"):
    """NOTIFY_DELETE; the name and a NUL follow."""

    parent: u64
    child: u64
    namelen: u32
    padding: pad = zeros(4)


class NotifyStoreOut(Record, c_name="fuse_notify_store_out"):
    """NOTIFY_STORE; `size` bytes of data follow."""

    nodeid: u64
    offset: u64
    size: u32
    padding: pad = zeros(4)


class NotifyRetrieveOut(Record, c_name="fuse_notify_retrieve_out"):
    """NOTIFY_RETRIEVE: ask for cached data; it comes as NOTIFY_REPLY under `notify_unique`."""

    notify_unique: u64
    nodeid: u64
    offset: u64
    size: u32
    padding: pad = zeros(4)


class NotifyRetrieveIn(Record, c_name="fuse_notify_retrieve_in"):
    """Arguments of NOTIFY_REPLY; `size` bytes of data follow."""

    dummy1: pad = zeros(8)
    offset: u64
    size: u32
    dummy2: pad = zeros(4)
    dummy3: pad = zeros(8)
    dummy4: pad = zeros(8)


class NotifyPruneOut(Record, c_name="fuse_notify_prune_out"):
    """NOTIFY_PRUNE; `count` nodeids follow."""

    count: u32
    padding: pad = zeros(4)
    spare: pad = zeros(8)


class BackingMap(Record, c_name="fuse_backing_map"):
    """Argument of the device's BACKING_OPEN ioctl."""

    fd: i32
    flags: u32 = 0
    padding: pad = zeros(8)


class LseekIn(Record, c_name="fuse_lseek_in"):
    """Arguments of LSEEK: SEEK_DATA or SEEK_HOLE."""

    fh: u64
    offset: u64
    whence: u32
    padding: pad = zeros(4)


class LseekOut(Record, c_name="fuse_lseek_out"):
    """Reply to LSEEK."""

    offset: u64


class CopyFileRangeIn(Record, c_name="fuse_copy_file_range_in"):
    """Arguments of COPY_FILE_RANGE and COPY_FILE_RANGE_64."""

    fh_in: u64
    off_in: u64
    nodeid_out: u64
    fh_out: u64
    off_out: u64
    len: u64
    flags: u64


class CopyFileRangeOut(Record, c_name="fuse_copy_file_range_out"):
    """Reply to COPY_FILE_RANGE_64."""

    bytes_copied: u64


class SetupmappingIn(Record, c_name="fuse_setupmapping_in"):
    """Arguments of SETUPMAPPING. `flags` are `SetupmappingFlags`."""

    fh: u64
    foffset: u64
    len: u64
    flags: u64
    moffset: u64


class RemovemappingIn(Record, c_name="fuse_removemapping_in"):
    """Arguments of REMOVEMAPPING: `count` items of `RemovemappingOne` follow."""

    count: u32


class RemovemappingOne(Record, c_name="fuse_removemapping_one"):
    """One item of REMOVEMAPPING."""

    moffset: u64
    len: u64


class SyncfsIn(Record, c_name="fuse_syncfs_in"):
    """Arguments of SYNCFS: none yet."""

    padding: pad = zeros(8)


class Secctx(Record, c_name="fuse_secctx"):
    """One security context: its name and a NUL, then `size` bytes of label, follow."""

    size: u32
    padding: pad = zeros(4)


class SecctxHeader(Record, c_name="fuse_secctx_header"):
    """Head of the security context extension; `size` counts everything."""

    size: u32
    nr_secctx: u32


class ExtHeader(Record, c_name="fuse_ext_header"):
    """Head of an extension; types up to 31 are a `SecctxHeader`."""

    size: u32
    type: u32


class SuppGroups(Record, c_name="fuse_supp_groups"):
    """The supplementary groups extension; `nr_groups` 32-bit group numbers follow."""

    nr_groups: u32


class UringEntInOut(Record, c_name="fuse_uring_ent_in_out"):
    """Ring entry facts of FUSE over io_uring."""

    flags: u64
    commit_id: u64
    payload_sz: u32
    padding: pad = zeros(4)
    reserved: pad = zeros(8)


class UringReqHeader(Record, c_name="fuse_uring_req_header"):
    """Head of a request on a ring."""

    in_out: chars128
    op_in: chars128
    ring_ent_in_out: UringEntInOut


class UringCmdReq(Record, c_name="fuse_uring_cmd_req"):
    """What an SQE carries in its command area."""

    flags: u64
    commit_id: u64
    qid: u16
    padding: pad = zeros(6)


STRUCTS: tuple[type[Record], ...] = tuple(
    thing
    for thing in globals().values()
    if isinstance(thing, type) and issubclass(thing, Record) and thing is not Record
)
"""All of them, in the order of the header."""
