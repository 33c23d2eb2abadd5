"""The options of a mount: one table, from which `Settings`, the refusal of unknown names and the docs are made.

`where` says who acts on an option: "flag" is a bit of mount(2), "kernel" a word in its data, "init" is agreed with the
kernel when the session starts, "reply" changes what handlers answer, "session" is ours. `REFUSED` has the words that
others know and that cannot work here, each with its reason; `MOUNT_WORDS` what mount(8) and systemd find in an fstab.

An option whose default is None leaves things as they are: the handlers decide.
Source: mount(2), mount(8); fs/fuse/inode.c (fuse_fs_parameters); fusermount3(1); mount.fuse3(8).
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aiovfs.errors import OptionError

__all__ = ["MOUNT_WORDS", "OPTIONS", "REFUSED", "Option", "Settings", "parse_option_string", "parse_options"]

# mount(2) flags, from sys/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25


@dataclass(frozen=True, slots=True)
class Option:
    """One row: `flag` is the bit that the option sets (or, negative, clears)."""

    name: str
    type: type
    default: bool | int | float | str | None
    where: str
    summary: str
    flag: int = 0


OPTIONS: tuple[Option, ...] = (
    # What the kernel shows and checks
    Option("fsname", str, "aiovfs", "kernel", "source shown by mount(8) and df(1)"),
    Option("subtype", str, "aiovfs", "kernel", "type shown as fuse.SUBTYPE"),
    Option("allow_other", bool, False, "kernel", "users other than the mounting one may use the mount"),
    Option(
        "allow_root",
        bool,
        False,
        "session",
        "root and the mounting user may use the mount; others get EACCES from the session",
    ),
    Option("default_permissions", bool, False, "kernel", "the kernel checks permissions by mode, uid and gid"),
    Option("max_read", int, 0, "kernel", "largest READ in bytes; 0: no limit but max_write's"),
    Option("context", str, None, "kernel", "SELinux label of everything in the mount"),
    Option("fscontext", str, None, "kernel", "SELinux label of the file system itself"),
    Option("defcontext", str, None, "kernel", "SELinux label of what has none"),
    Option("rootcontext", str, None, "kernel", "SELinux label of the root directory"),
    # Flags of mount(2)
    Option("ro", bool, False, "flag", "read-only", MS_RDONLY),
    Option("rw", bool, False, "flag", "read-write (the default)", -MS_RDONLY),
    Option("nosuid", bool, True, "flag", "set-user-ID bits have no effect", MS_NOSUID),
    Option("suid", bool, False, "flag", "set-user-ID bits work (root only)", -MS_NOSUID),
    Option("nodev", bool, True, "flag", "device nodes cannot be opened", MS_NODEV),
    Option("dev", bool, False, "flag", "device nodes work (root only)", -MS_NODEV),
    Option("noexec", bool, False, "flag", "programs cannot be run", MS_NOEXEC),
    Option("exec", bool, False, "flag", "programs can be run (the default)", -MS_NOEXEC),
    Option("sync", bool, False, "flag", "writes are synchronous", MS_SYNCHRONOUS),
    Option("async", bool, False, "flag", "writes are not synchronous (the default)", -MS_SYNCHRONOUS),
    Option("dirsync", bool, False, "flag", "directory changes are synchronous", MS_DIRSYNC),
    Option("nosymfollow", bool, False, "flag", "symbolic links are not followed", MS_NOSYMFOLLOW),
    Option("symfollow", bool, False, "flag", "symbolic links are followed (the default)", -MS_NOSYMFOLLOW),
    Option("noatime", bool, False, "flag", "access times are not updated", MS_NOATIME),
    Option("atime", bool, False, "flag", "access times are updated (the default)", -MS_NOATIME),
    Option("nodiratime", bool, False, "flag", "access times of directories are not updated", MS_NODIRATIME),
    Option("diratime", bool, False, "flag", "access times of directories are updated (the default)", -MS_NODIRATIME),
    Option(
        "relatime",
        bool,
        False,
        "flag",
        "access times are updated when older than the change or a day (the default)",
        MS_RELATIME,
    ),
    Option("norelatime", bool, False, "flag", "takes relatime back", -MS_RELATIME),
    Option("strictatime", bool, False, "flag", "access times are updated at each access", MS_STRICTATIME),
    Option("nostrictatime", bool, False, "flag", "takes strictatime back", -MS_STRICTATIME),
    Option("lazytime", bool, False, "flag", "times are written out late (root only)", MS_LAZYTIME),
    Option("nolazytime", bool, False, "flag", "takes lazytime back", -MS_LAZYTIME),
    # Mounting
    Option("nonempty", bool, False, "session", "mount over a directory that has entries"),
    Option(
        "auto_unmount",
        bool,
        False,
        "session",
        "fusermount3 unmounts when this process dies; for ordinary users only with allow_root or allow_other",
    ),
    # Agreed with the kernel: sizes
    Option("max_write", int, 1 << 20, "init", "largest WRITE and READ in bytes; the kernel may agree to less"),
    Option("max_readahead", int, 1 << 20, "init", "bytes the kernel may read ahead; it may offer less"),
    Option(
        "readahead",
        int,
        0,
        "session",
        "read-ahead window in bytes, set on the mount itself (root only); 0: the kernel's",
    ),
    Option("max_background", int, 64, "init", "requests in the background at a time (readahead, async I/O)"),
    Option("congestion_threshold", int, 48, "init", "background requests from which readers are held back"),
    Option("time_gran", int, 1, "init", "nanoseconds that times are rounded to: 1 to 10**9"),
    Option(
        "request_timeout",
        int,
        0,
        "init",
        "seconds after which the kernel gives the session up when a request is not answered; 0: never",
    ),
    # Agreed with the kernel: features
    Option(
        "readdirplus",
        bool,
        True,
        "init",
        'listings may carry attributes; "always", "auto" and "never" are short for this and the next',
    ),
    Option("readdirplus_auto", bool, True, "init", "the kernel chooses when; off: every listing carries attributes"),
    Option("parallel_dirops", bool, True, "init", "look-ups and listings in one directory may overlap"),
    Option("async_read", bool, True, "init", "reads of one file may overlap"),
    Option("sync_read", bool, False, "init", "takes async_read back: one read of a file at a time"),
    Option("async_dio", bool, True, "init", "O_DIRECT requests may overlap"),
    Option("atomic_o_trunc", bool, True, "init", "open handles O_TRUNC itself"),
    Option("auto_inval_data", bool, True, "init", "a changed mtime or size drops the cached pages"),
    Option(
        "explicit_inval_data",
        bool,
        False,
        "init",
        "pages are dropped only when the file system says so; takes auto_inval_data back",
    ),
    Option("writeback_cache", bool, False, "init", "the kernel gathers small writes; time-outs must be above 0"),
    Option("cache_symlinks", bool, False, "init", "the kernel remembers targets of symbolic links"),
    Option("posix_acl", bool, False, "init", "the kernel checks POSIX ACLs kept in extended attributes"),
    Option("setxattr_ext", bool, False, "init", "SETXATTR says when an ACL clears the set-group-ID bit"),
    Option(
        "handle_killpriv",
        bool,
        False,
        "init",
        "the file system clears set-user-ID bits itself on writes, truncation and chown",
    ),
    Option(
        "handle_killpriv_v2",
        bool,
        False,
        "init",
        "the same, when a flag of the request asks; saves a getxattr for each file that is written",
    ),
    Option("dont_mask", bool, False, "init", "modes arrive without the umask applied"),
    Option("direct_io_allow_mmap", bool, True, "init", "files opened with direct_io may be mapped shared"),
    Option("no_open", bool, False, "init", "OPEN and RELEASE are never sent: for file systems without file handles"),
    Option("no_opendir", bool, False, "init", "OPENDIR and RELEASEDIR are never sent, and the kernel keeps listings"),
    Option(
        "passthrough",
        bool,
        False,
        "init",
        "files whose handler names a descriptor are read and written by the kernel (Linux 6.9, root)",
    ),
    Option(
        "max_stack_depth",
        int,
        1,
        "init",
        "with passthrough: 2 allows files on a stacked file system, such as overlayfs, and no such one on this mount",
    ),
    Option("export_support", bool, False, "init", '"." and ".." may be looked up, as an export over NFS needs'),
    Option(
        "no_export_support",
        bool,
        False,
        "init",
        "the mount cannot be exported, and its file handles do not outlive their nodes",
    ),
    Option("allow_idmap", bool, False, "init", "the mount may be mapped to other users (needs default_permissions)"),
    Option("no_remote_posix_lock", bool, False, "init", "the kernel keeps POSIX locks, whatever handlers there are"),
    Option(
        "no_remote_flock", bool, False, "init", "the kernel keeps the locks of flock(2), whatever handlers there are"
    ),
    Option("no_remote_lock", bool, False, "init", "both"),
    # Changes to what handlers answer
    Option("entry_timeout", float, None, "reply", "seconds the kernel may trust names, for every reply"),
    Option("attr_timeout", float, None, "reply", "seconds the kernel may trust attributes, for every reply"),
    Option("negative_timeout", float, None, "reply", "seconds the kernel may trust that a name is not there"),
    Option(
        "umask",
        int,
        None,
        "reply",
        "permission bits taken away from 0o777, for everything; modes of the handlers are not shown",
    ),
    Option("fmask", int, None, "reply", "as umask, for all but directories"),
    Option("dmask", int, None, "reply", "as umask, for directories"),
    Option("uid", int, None, "reply", "owner shown for everything"),
    Option("gid", int, None, "reply", "group shown for everything"),
    Option("use_ino", bool, True, "reply", "st_ino is what handlers say; off: the nodeid"),
    Option(
        "readdir_ino",
        bool,
        True,
        "reply",
        'with use_ino off, listings show the numbers of the handlers; off: a number that says "unknown"',
    ),
    Option("direct_io", bool, False, "reply", "every file is opened without the page cache"),
    Option("kernel_cache", bool, False, "reply", "no open drops the pages of a file"),
    Option(
        "auto_cache",
        bool,
        False,
        "reply",
        "an open drops the pages of a file only if its mtime or size has changed since the last",
    ),
    Option("noauto_cache", bool, False, "reply", "takes auto_cache back"),
    Option("ac_attr_timeout", float, 0.0, "reply", "seconds that auto_cache goes without asking getattr again"),
    Option("cache_dirs", bool, False, "reply", "the kernel keeps listings until the directory changes"),
    Option("parallel_direct_writes", bool, False, "reply", "O_DIRECT writes to one file may overlap"),
    Option("no_rofd_flush", bool, False, "reply", "no FLUSH for files that were opened for reading"),
    # The session
    Option("noforget", bool, False, "session", "nodes are never forgotten, as an export over NFS needs"),
    Option("remember", float, 0.0, "session", "seconds for which nodes are remembered after the kernel forgot them"),
    Option("interrupts", bool, True, "session", "a caller that is interrupted for good cancels its handler"),
    Option(
        "intr",
        bool,
        False,
        "session",
        "every signal to a waiting caller cancels its handler, not only those that end programs",
    ),
    Option("intr_signal", int, 0, "session", "this signal does, too, beside those that end programs"),
    Option(
        "spin",
        int,
        0,
        "session",
        "microseconds to look for the next request before the loop is asked: quicker across CPUs, and costs one",
    ),
    Option("max_tasks", int, 256, "session", "handlers that may wait at a time; further requests queue"),
    Option("grace", float, 5.0, "session", "seconds that running handlers get to finish when the session ends"),
    Option("trace", bool, False, "session", "log each message on the wire to the logger aiovfs.fuse.trace"),
    Option("debug", bool, False, "session", "as trace, and on stderr when logging is not set up"),
)
BY_NAME: Mapping[str, Option] = MappingProxyType({option.name: option for option in OPTIONS})

THREADS = "one task reads for all; max_tasks bounds how many handlers wait at a time"
SPLICE = "splicing was slower at every size, so there is no switch for it"
SET_BY_MOUNT = "the session sets it itself"
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "blkdev": "a fuseblk mount needs a block device of its own; serve the content of the device as files",
        "blksize": "it belongs to fuseblk mounts (blkdev); say the block size in Attributes.blksize and Statfs.bsize",
        "fd": SET_BY_MOUNT,
        "rootmode": SET_BY_MOUNT,
        "user_id": SET_BY_MOUNT,
        "group_id": SET_BY_MOUNT,
        "clone_fd": THREADS,
        "max_idle_threads": THREADS,
        "max_threads": THREADS,
        "splice_read": SPLICE,
        "splice_write": SPLICE,
        "splice_move": SPLICE,
        "no_splice_read": SPLICE,
        "no_splice_write": SPLICE,
        "no_splice_move": SPLICE,
        "io_uring": "from one loop it was slower; requests come by /dev/fuse",
        "io_uring_q_depth": "from one loop it was slower; requests come by /dev/fuse",
        "big_writes": "always on",
        "large_read": "Linux 2.4 is gone; see max_write",
        "hard_remove": "names are removed at once, there are no .fuse_hidden files to avoid",
        "modules": "there are no modules to stack; wrap the Operations object",
        "setuid": "start the program as that user",
        "drop_privileges": "start the program as an ordinary user; fusermount3 mounts for it",
        "mand": "Linux has no mandatory locks any more",
    }
)
MOUNT_WORDS = frozenset({
    "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "comment",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """All options with their values. Read one with `settings["max_write"]`."""

    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def mount_flags(self) -> int:
        """The flag word of mount(2). A word that clears a bit wins over the default that sets it."""
        flags = 0
        for option in OPTIONS:
            if option.where == "flag" and self.values[option.name]:
                flags = flags | option.flag if option.flag > 0 else flags & ~-option.flag
        return flags

    @property
    def kernel_words(self) -> list[str]:
        """The words of mount(2)'s data that are options; what identifies the connection is not among them."""
        words = [name for name in ("allow_other", "default_permissions") if self[name]]
        if self["allow_root"]:
            words.append("allow_other")  # the kernel knows no more; the session refuses the others
        if self["max_read"]:
            words.append(f"max_read={self['max_read']}")
        return words

    @property
    def security_words(self) -> list[str]:
        """What the kernel's security module takes out of mount(2)'s data."""
        return [f'{name}="{self[name]}"' for name in SECURITY_LABELS if self[name] is not None]

    def helper_options(self) -> list[str]:
        """The words that fusermount3 understands."""
        words = [f"{name}={escape(self[name])}" for name in ("fsname", "subtype") if self[name]]
        words += self.kernel_words
        words += [
            option.name
            for option in OPTIONS
            if option.where == "flag" and self.values[option.name] and self.values[option.name] != option.default
        ]
        words += ["auto_unmount"] if self["auto_unmount"] else []
        return words


SECURITY_LABELS = ("context", "fscontext", "defcontext", "rootcontext")


def escape(value: str) -> str:
    """A comma inside of a value, as mount's option strings spell it."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def parse_option_string(text: str) -> dict[str, Any]:
    """Options as fstab and `-o` spell them, "ro,umask=022,fsname=a\\,b", as keywords for `fuse.mount`.

    Words that mean something to mount(8) alone are left out, and so is whatever begins with "x-".
    """
    options: dict[str, Any] = {}
    for word in split_words(text):
        name, has_value, value = word.partition("=")
        if not word or name in MOUNT_WORDS or name.startswith(("x-", "X-")):
            continue
        option = find(name)
        if not has_value and option.type is not bool:
            raise OptionError(f"mount option {name!r} needs a value: {name}=…")
        options[name] = parse_value(option, value) if has_value else True
    return options


def split_words(text: str) -> list[str]:
    """Split at commas, except those behind a backslash or inside of quotes."""
    words = [""]
    is_quoted = is_escaped = False
    for character in text:
        if is_escaped:
            words[-1] += character
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        elif character == '"':
            is_quoted = not is_quoted
        elif character == "," and not is_quoted:
            words.append("")
        else:
            words[-1] += character
    return words


def parse_value(option: Option, text: str) -> Any:
    """A value from its spelling: masks are octal, as chmod has them."""
    readers: dict[type, Callable[[str], Any]] = {int: int, float: float, str: str, bool: parse_bool}
    reader = readers[option.type]
    if option.name in ("umask", "fmask", "dmask"):
        reader = parse_octal
    if option.name == "readdirplus" and text in READDIRPLUS:
        return text
    try:
        return reader(text)
    except ValueError:
        raise OptionError(f"mount option {option.name}={text!r}: expected {option.type.__name__}") from None


def parse_octal(text: str) -> int:
    return int(text, 8)


def parse_bool(text: str) -> bool:
    if text not in BOOLS:
        raise ValueError(text)
    return BOOLS[text]


BOOLS = {"1": True, "yes": True, "true": True, "on": True, "0": False, "no": False, "false": False, "off": False}


def find(name: str) -> Option:
    """The row of a name. Raises `OptionError` with the reason, or with the nearest known name."""
    option = BY_NAME.get(name)
    if option is not None:
        return option
    if name in REFUSED:
        raise OptionError(f"mount option {name!r} cannot be used", hint=REFUSED[name])
    near = difflib.get_close_matches(name, BY_NAME, n=1)
    raise OptionError(
        f"unknown mount option {name!r}",
        hint=f"did you mean {near[0]!r}?" if near else "the known ones are in docs/reference/options.md",
    )


READDIRPLUS: Mapping[str, tuple[bool, bool]] = MappingProxyType(
    {"auto": (True, True), "always": (True, False), "never": (False, False)}
)


def parse_options(options: Mapping[str, Any]) -> Settings:
    """Check names and types and fill in defaults. Raises `OptionError` that names the nearest known option."""
    values: dict[str, Any] = {option.name: option.default for option in OPTIONS}
    for name, value in options.items():
        option = find(name)
        if name == "readdirplus" and isinstance(value, str) and value in READDIRPLUS:
            values["readdirplus"], values["readdirplus_auto"] = READDIRPLUS[value]
        else:
            values[name] = checked(option, value)
    for is_wrong, problem in (
        (values["max_write"] < 4096, f"max_write={values['max_write']}: the kernel needs at least 4096"),
        (values["spin"] > MAX_SPIN, f"spin={values['spin']}: more than {MAX_SPIN} µs would starve the loop"),
        (values["max_tasks"] < 1, f"max_tasks={values['max_tasks']}: at least 1 handler must be able to run"),
        (values["allow_root"] and values["allow_other"], "allow_root and allow_other contradict each other"),
        (
            values["allow_root"] and (values["no_open"] or values["no_opendir"]),
            "allow_root needs to see who opens what: leave out no_open and no_opendir",
        ),
        (
            values["allow_idmap"] and not values["default_permissions"],
            "allow_idmap needs default_permissions: the kernel must check what it has mapped",
        ),
        (
            values["passthrough"] and values["writeback_cache"],
            "passthrough and writeback_cache contradict each other: the kernel would have two caches of one file",
        ),
        (
            not 1 <= values["max_stack_depth"] <= 2,
            f"max_stack_depth={values['max_stack_depth']}: 1 or 2, the kernel stacks no deeper",
        ),
        (not 1 <= values["time_gran"] <= 10**9, f"time_gran={values['time_gran']}: 1 to 10**9 nanoseconds"),
        (values["request_timeout"] > 0xFFFF, f"request_timeout={values['request_timeout']}: at most 65535 seconds"),
        (
            values["intr_signal"] >= signal.NSIG,
            f"intr_signal={values['intr_signal']}: there are {signal.NSIG - 1} signals",
        ),
        *(
            (values[name] is not None and values[name] > 0o777, f"{name}={values[name]}: more than 0o777")
            for name in MASKS
        ),
        *(
            (values[name] is not None and not 0 <= values[name] < 0xFFFF_FFFF, f"{name}={values[name]}: no such number")
            for name in ("uid", "gid")
        ),
    ):
        if is_wrong:
            raise OptionError(problem)
    return Settings(values)


MAX_SPIN = 100_000
MASKS = ("umask", "fmask", "dmask")


def checked(option: Option, value: Any) -> Any:
    """The value in the option's type; `OptionError` says what was expected."""
    if value is None and option.default is None:
        return None
    if option.type is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, option.type) or (isinstance(value, bool) and option.type is not bool):
        raise OptionError(f"mount option {option.name}={value!r}: expected {option.type.__name__}")
    if isinstance(value, int | float) and not value >= 0:
        raise OptionError(f"mount option {option.name}={value!r}: must not be negative")
    if isinstance(value, str) and "\0" in value:
        raise OptionError(f"mount option {option.name}={value!r}: must not contain NUL")
    return value
