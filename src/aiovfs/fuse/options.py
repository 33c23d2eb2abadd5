"""The options of a mount: one table, from which `MountSettings`, the refusal of unknown names and the docs are made.

`where` says who acts on an option: "flag" is a bit of mount(2), "kernel" a word in its data, "session" is ours.
Source: mount(2); fs/fuse/inode.c (fuse_fs_parameters); fusermount3(1).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiovfs.errors import OptionError

__all__ = ["OPTIONS", "Option", "Settings", "parse_options"]

# mount(2) flags, from sys/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_DIRSYNC = 128
MS_NOATIME = 1024


@dataclass(frozen=True, slots=True)
class Option:
    """One row: `flag` is the bit that the option sets (or, negative, clears)."""

    name: str
    type: type
    default: bool | int | float | str
    where: str
    summary: str
    flag: int = 0


OPTIONS: tuple[Option, ...] = (
    Option("fsname", str, "aiovfs", "kernel", "source shown by mount(8) and df(1)"),
    Option("subtype", str, "aiovfs", "kernel", "type shown as fuse.SUBTYPE"),
    Option("allow_other", bool, False, "kernel", "users other than the mounting one may use the mount"),
    Option("default_permissions", bool, False, "kernel", "the kernel checks permissions by mode, uid and gid"),
    Option("max_read", int, 0, "kernel", "largest READ in bytes; 0: no limit but max_write's"),
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
    Option("noatime", bool, False, "flag", "access times are not updated", MS_NOATIME),
    Option("atime", bool, False, "flag", "access times are updated (the default)", -MS_NOATIME),
    Option("nonempty", bool, False, "session", "mount over a directory that has entries"),
    Option("max_write", int, 1 << 20, "session", "largest WRITE and READ in bytes; the kernel may agree to less"),
    Option("max_readahead", int, 1 << 20, "session", "bytes the kernel may read ahead; it may offer less"),
    Option("max_background", int, 64, "session", "requests in the background at a time (readahead, async I/O)"),
    Option("congestion_threshold", int, 48, "session", "background requests from which readers are held back"),
    Option("max_tasks", int, 256, "session", "handlers that may wait at a time; further requests queue"),
    Option("readdirplus", bool, True, "session", "listings may carry attributes, when the kernel finds it useful"),
    Option("readdirplus_auto", bool, True, "session", "the kernel chooses; off: every listing carries attributes"),
    Option("parallel_dirops", bool, True, "session", "look-ups and listings in one directory may overlap"),
    Option("async_dio", bool, True, "session", "O_DIRECT requests may overlap"),
    Option("atomic_o_trunc", bool, True, "session", "open handles O_TRUNC itself"),
    Option("auto_inval_data", bool, True, "session", "a changed mtime or size drops the cached pages"),
    Option("writeback_cache", bool, False, "session", "the kernel gathers small writes; time-outs must be above 0"),
    Option("cache_symlinks", bool, False, "session", "the kernel remembers targets of symbolic links"),
    Option("posix_acl", bool, False, "session", "the kernel checks POSIX ACLs kept in extended attributes"),
    Option("dont_mask", bool, False, "session", "modes arrive without the umask applied"),
    Option("direct_io_allow_mmap", bool, True, "session", "files opened with direct_io may be mapped shared"),
    Option("export_support", bool, False, "session", '"." and ".." may be looked up, as an export over NFS needs'),
    Option("interrupts", bool, True, "session", "a caller that is interrupted for good cancels its handler"),
    Option("grace", float, 5.0, "session", "seconds that running handlers get to finish when the session ends"),
    Option("trace", bool, False, "session", "log each message on the wire to the logger aiovfs.fuse.trace"),
)
BY_NAME: Mapping[str, Option] = {option.name: option for option in OPTIONS}


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

    def helper_options(self) -> list[str]:
        """The words that fusermount3 understands."""
        words = [f"{name}={escape(self[name])}" for name in ("fsname", "subtype") if self[name]]
        words += [name for name in ("allow_other", "default_permissions") if self[name]]
        if self["max_read"]:
            words.append(f"max_read={self['max_read']}")
        words += [
            option.name
            for option in OPTIONS
            if option.where == "flag" and self.values[option.name] and self.values[option.name] != option.default
        ]
        return words


def escape(value: str) -> str:
    """A comma inside of a value, as mount's option strings spell it."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def parse_options(options: Mapping[str, Any]) -> Settings:
    """Check names and types and fill in defaults. Raises `OptionError` that names the nearest known option."""
    values: dict[str, Any] = {option.name: option.default for option in OPTIONS}
    for name, value in options.items():
        option = BY_NAME.get(name)
        if option is None:
            near = difflib.get_close_matches(name, BY_NAME, n=1)
            raise OptionError(
                f"unknown mount option {name!r}",
                hint=f"did you mean {near[0]!r}?" if near else "the known ones are in docs/reference/options.md",
            )
        values[name] = checked(option, value)
    if values["max_write"] < 4096:
        raise OptionError(f"max_write={values['max_write']}: the kernel needs at least 4096")
    if values["max_tasks"] < 1:
        raise OptionError(f"max_tasks={values['max_tasks']}: at least 1 handler must be able to run")
    return Settings(values)


def checked(option: Option, value: Any) -> Any:
    """The value in the option's type; `OptionError` says what was expected."""
    if option.type is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, option.type) or (isinstance(value, bool) and option.type is not bool):
        raise OptionError(f"mount option {option.name}={value!r}: expected {option.type.__name__}")
    if isinstance(value, int | float) and value < 0:
        raise OptionError(f"mount option {option.name}={value!r}: must not be negative")
    if isinstance(value, str) and "\0" in value:
        raise OptionError(f"mount option {option.name}={value!r}: must not contain NUL")
    return value
