"""`-o` words, as libfuse spells them → options of the session.

The table below says which words there are. Those that libfuse's low-level interface takes act as there; those that only
its high-level one takes, and which pyfuse3's documentation lists all the same, really work here. Everything else is
refused. Limits of the session that have no word (`max_write`, `max_background`, …) are keyword arguments of `init`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

__all__ = ["WORDS", "Word", "to_session_options"]


class Octal(int):
    """A number written to base 8."""

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, int(text, 8))


class Word(NamedTuple):
    """One word. `kind`: what follows "="; None for a plain word. `option`: the session's option; "" has no effect."""

    name: str
    option: str
    summary: str
    kind: type | None = None
    value: Any = True


WORDS: Final[Mapping[str, Word]] = MappingProxyType(
    {
        word.name: word
        for word in (
            Word("default_permissions", "default_permissions", "the kernel checks permissions"),
            Word("allow_other", "allow_other", "other users may use the mount"),
            Word("allow_root", "allow_root", "root may use the mount"),
            Word("max_read", "max_read", "largest read in bytes", int),
            Word("fsname", "fsname", "source shown by mount(8)", str),
            Word("subtype", "subtype", "type shown as fuse.SUBTYPE", str),
            Word("ro", "ro", "read-only"),
            Word("rw", "rw", "read-write"),
            Word("suid", "suid", "set-user-ID bits work"),
            Word("nosuid", "nosuid", "set-user-ID bits do not work (the default)"),
            Word("dev", "dev", "device nodes work"),
            Word("nodev", "nodev", "device nodes do not work (the default)"),
            Word("exec", "exec", "programs can be run"),
            Word("noexec", "noexec", "programs cannot be run"),
            Word("sync", "sync", "synchronous writes"),
            Word("async", "async", "asynchronous writes"),
            Word("dirsync", "dirsync", "synchronous changes of directories"),
            Word("atime", "atime", "access times are updated"),
            Word("noatime", "noatime", "access times are not updated"),
            Word("auto_unmount", "auto_unmount", "unmounted when the process ends"),
            Word("context", "context", "SELinux label of everything", str),
            Word("fscontext", "fscontext", "SELinux label of the file system", str),
            Word("defcontext", "defcontext", "SELinux label of what has none", str),
            Word("rootcontext", "rootcontext", "SELinux label of the root", str),
            Word("debug", "debug", "each message goes to the log and to stderr"),
            Word("nonempty", "", "has no effect: directories with entries are accepted anyway"),
            Word("user", "", "recorded in /etc/mtab where that is a file", str),
            # From here on: of libfuse's high-level interface.
            Word("use_ino", "use_ino", "has no effect: st_ino is always honoured"),
            Word("readdir_ino", "readdir_ino", "has no effect: listings always carry inode numbers"),
            Word("direct_io", "direct_io", "files are read and written past the page cache"),
            Word("kernel_cache", "kernel_cache", "opening a file keeps its cached pages"),
            Word("auto_cache", "auto_cache", "a changed size or mtime drops the cached pages"),
            Word("noauto_cache", "noauto_cache", "a changed size or mtime does not drop the cached pages"),
            Word("umask", "umask", "permission bits that are never shown, octal", Octal),
            Word("uid", "uid", "owner shown of everything", int),
            Word("gid", "gid", "group shown of everything", int),
            Word("entry_timeout", "entry_timeout", "seconds that names are trusted", float),
            Word("attr_timeout", "attr_timeout", "seconds that attributes are trusted", float),
            Word("ac_attr_timeout", "ac_attr_timeout", "seconds between looks for auto_cache", float),
            Word("negative_timeout", "negative_timeout", "seconds that a missing name is remembered", float),
            Word("noforget", "noforget", "the file system is not told what the kernel forgets"),
            Word("intr", "intr", "a caller that gets any signal cancels its handler"),
            Word("intr_signal", "intr_signal", "this signal, and those that end programs, cancel a handler", int),
        )
    }
)


def to_session_options(words: Iterable[str]) -> dict[str, Any]:
    """Options for the session. Raises `RuntimeError` for a word that is not known, as pyfuse3 does."""
    options: dict[str, Any] = {}
    for text in words:
        text.encode("ascii")  # UnicodeEncodeError, before anything is mounted
        for part in split(text):
            word, value = parse(part)
            if word.option:
                options[word.option] = value
    if "intr" in options or "intr_signal" in options:
        options["interrupts"] = True
    return options


def split(text: str) -> list[str]:
    """The words of one string: separated by commas; a backslash keeps the character after it."""
    parts = re.findall(r"(?:\\.|[^,\\])+", text)
    return [re.sub(r"\\(.)", r"\1", part) for part in parts]


def parse(part: str) -> tuple[Word, Any]:
    name, has_value, text = part.partition("=")
    word = WORDS.get(name)
    if word is None or bool(has_value) != (word.kind is not None):
        near = difflib.get_close_matches(part, WORDS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near and near[0] != name else ""
        raise RuntimeError(f"fuse_session_new() failed: unknown option(s): `-o {part}'{hint}")
    if word.kind is None:
        return word, word.value
    try:
        return word, word.kind(text)
    except ValueError:
        raise RuntimeError(f"fuse_session_new() failed: `-o {part}': {text!r} is not a number") from None
