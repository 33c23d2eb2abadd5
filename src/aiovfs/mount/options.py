"""The options of a mount: one table, which is the dataclass `MountOptions` itself.

Each field carries its parser, its layer and its line of documentation; from the fields are made the parsing of `-o`
strings, the command line's flags, and the table in the documentation. A preset is a row of other defaults. An option
that does not exist yet is in no row.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiovfs.errors import OptionError

__all__ = ["PRESETS", "MountOptions", "OptionRow", "option_rows", "parse_duration", "parse_option_string", "parse_size"]

T = TypeVar("T")

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)\s*", re.IGNORECASE)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)?\s*", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_YES = {"1", "yes", "true", "on"}
_NO = {"0", "no", "false", "off"}


def parse_size(value: str | int) -> int:
    """Bytes: a number, or text such as "64KiB", "256M", "1.5 GiB". Units are powers of 1024, "kB" and "MB" of 1000."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value >= 0:
            return value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        number, unit, suffix = match.groups()
        base = 1000 if unit and suffix.lower() == "b" else 1024
        return int(float(number) * base ** _POWER[unit.lower()])
    raise OptionError(f"{value!r} is not a size", hint="write bytes as a number, or with a unit: 64KiB, 256MiB, 1.5GiB")


def parse_duration(value: str | float) -> float:
    """Seconds: a number, or text such as "30s", "500ms", "5m", "1h"; "forever" (or "inf") never ends."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value >= 0:
            return float(value)
    elif isinstance(value, str):
        if value.strip().lower() in ("forever", "inf", "infinity"):
            return math.inf
        if match := _DURATION.fullmatch(value):
            number, unit = match.groups()
            return float(number) * _SECONDS[(unit or "s").lower()]
    raise OptionError(f"{value!r} is not a time", hint="write seconds, or a unit: 500ms, 30s, 5m, 1h, forever")


def parse_mode(value: str | int) -> int:
    """Permission bits; text is octal, as for chmod(1)."""
    try:
        mode = int(value, 8) if isinstance(value, str) else value
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise OptionError(f"{value!r} are not permission bits", hint="write them in octal, e.g. 644 or 0755")
    return mode


def parse_bool(value: str | bool) -> bool:
    """True or False; an option without a value in a `-o` string is True."""
    if isinstance(value, bool):
        return value
    if value.strip().lower() in _YES:
        return True
    if value.strip().lower() in _NO:
        return False
    raise OptionError(f"{value!r} is neither yes nor no", hint="write yes or no")


def parse_number(value: str | int) -> int:
    """A whole number that is not negative."""
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0:
        raise OptionError(f"{value!r} is not a whole number of at least 0")
    return number


def parse_text(value: str) -> str:
    """Text as it is."""
    return os.fspath(value)


@dataclass(frozen=True, slots=True)
class OptionRow:
    """One option, for those who make flags or documentation of it."""

    name: str
    default: Any
    parse: Callable[[Any], Any]
    kind: str
    """What a value is: "time", "size", "mode", "number", "text", "yes/no"."""
    layer: str
    """"vfs": ours. "fuse": handed to `fuse.mount` as it is."""
    summary: str

    @property
    def flag(self) -> str:
        """The name on a command line."""
        return "--" + self.name.replace("_", "-")


_KIND_OF_PARSER: dict[Callable[[Any], Any], str] = {
    parse_bool: "yes/no",
    parse_duration: "time",
    parse_mode: "mode",
    parse_number: "number",
    parse_size: "size",
    parse_text: "text",
}


def _row(default: T, parse: Callable[[Any], Any], summary: str, *, layer: str = "vfs") -> T:
    return field(default=default, metadata={"parse": parse, "summary": summary, "layer": layer})


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptions:
    """How a store is shown as a directory. Times are seconds, sizes bytes; `option_rows` has each option's line."""

    preset: str = _row("default", parse_text, "Defaults for a situation: shared, default, solo or frozen.")
    read_only: bool = _row(False, parse_bool, "Refuse every change (EROFS).")

    entry_timeout: float = _row(1.0, parse_duration, "How long the kernel may trust a name.")
    attr_timeout: float = _row(1.0, parse_duration, "How long attributes are trusted, by the kernel and by us.")
    negative_timeout: float = _row(1.0, parse_duration, "How long a name is known not to exist.")
    listing_timeout: float = _row(
        30.0, parse_duration, "How long a directory listing answers look-ups; not used where metadata is cheap."
    )
    revalidate_after: float = _row(
        1.0, parse_duration, "open() asks the store again if what is known of the file is older than this."
    )

    uid: int | None = _row(None, parse_number, "Owner of every file; default: the store's, else who mounts.")
    gid: int | None = _row(None, parse_number, "Group of every file; default: the store's, else who mounts.")
    umask: int = _row(0, parse_mode, "Permission bits to take away from every file.")
    file_mode: int = _row(0o644, parse_mode, "Permissions of files where the store keeps none.")
    dir_mode: int = _row(0o755, parse_mode, "Permissions of directories where the store keeps none.")

    cache_size: int = _row(256 * MIB, parse_size, "Memory for blocks of remote files.")
    readahead: int = _row(8 * MIB, parse_size, "Most bytes to fetch ahead of a sequential reader; 0 turns it off.")
    readahead_requests: int = _row(8, parse_number, "Most requests for readahead at a time, over all files.")
    disk_cache: int = _row(
        10 * GIB, parse_size, "Room on this machine's disk for blocks of remote files; 0 turns that cache off."
    )
    disk_free: int = _row(1 * GIB, parse_size, "Free space that the cache on disk leaves to others.")
    cache_dir: str | None = _row(
        None,
        parse_text,
        "Directory for blocks and for files that wait for their upload; default: $XDG_CACHE_HOME/aiovfs.",
    )
    exclusive_create: bool = _row(
        False, parse_bool, "O_EXCL makes the file in the store at once, instead of at close: one more request."
    )
    drain_timeout: float = _row(60.0, parse_duration, "How long an unmount waits for uploads.")

    allow_other: bool = _row(False, parse_bool, "Let other users into the mount.", layer="fuse")
    default_permissions: bool = _row(True, parse_bool, "The kernel checks owners and modes.", layer="fuse")
    nonempty: bool = _row(False, parse_bool, "Mount over a directory that has entries.", layer="fuse")
    noexec: bool = _row(False, parse_bool, "Programs on the mount cannot be run.", layer="fuse")
    suid: bool = _row(False, parse_bool, "Set-user-ID bits work (root only).", layer="fuse")
    dev: bool = _row(False, parse_bool, "Device nodes can be opened (root only).", layer="fuse")
    noatime: bool = _row(False, parse_bool, "Access times are not updated.", layer="fuse")
    fsname: str | None = _row(None, parse_text, "The source shown by mount(8); default: the URL.", layer="fuse")
    subtype: str = _row("aiovfs", parse_text, "The type shown after 'fuse.' by mount(8).", layer="fuse")
    max_tasks: int = _row(256, parse_number, "Requests that are worked on at a time.", layer="fuse")
    trace: bool = _row(False, parse_bool, "Log every message to the logger aiovfs.fuse.trace.", layer="fuse")

    @classmethod
    def build(cls, values: Mapping[str, Any] | None = None, /, **more: Any) -> MountOptions:
        """Options from names and values, text or typed; what is not given comes from the preset, then the table.

        Raises `OptionError` for an unknown name (naming the nearest known one) or an impossible value.
        """
        given = {_canonical(name): (name, value) for name, value in {**(values or {}), **more}.items()}
        rows = {row.name: row for row in option_rows()}
        parsed: dict[str, Any] = {}
        for name, (spelling, value) in given.items():
            row = rows.get(name)
            if row is None:
                raise _unknown(spelling, rows)
            if value is None:
                continue
            try:
                parsed[name] = row.parse(value)
            except OptionError as exception:
                raise OptionError(f"option {row.name}: {exception.message}", hint=exception.hint) from None
            except (TypeError, ValueError, AttributeError):
                raise OptionError(f"option {row.name}: {value!r} is not a {row.kind}") from None
        preset = parsed.get("preset", "default")
        if preset not in PRESETS:
            raise OptionError(f"there is no preset {preset!r}", hint=f"the presets are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[preset], **parsed})

    @classmethod
    def parse(cls, text: str) -> MountOptions:
        """From a `-o` string: `"ro,uid=1000,cache_size=1GiB"`."""
        return cls.build(parse_option_string(text))

    def fuse_options(self) -> dict[str, Any]:
        """The options that the FUSE layer implements, by the names it knows them by."""
        return {row.name: getattr(self, row.name) for row in option_rows() if row.layer == "fuse"}


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "shared": {
        "entry_timeout": 0.0,
        "negative_timeout": 0.0,
        "listing_timeout": 0.0,
        "revalidate_after": 0.0,
        "exclusive_create": True,
    },
    "default": {},
    "solo": {
        "entry_timeout": 60.0,
        "attr_timeout": 60.0,
        "negative_timeout": 60.0,
        "listing_timeout": math.inf,
        "revalidate_after": math.inf,
    },
    "frozen": {
        "read_only": True,
        "entry_timeout": math.inf,
        "attr_timeout": math.inf,
        "negative_timeout": math.inf,
        "listing_timeout": math.inf,
        "revalidate_after": math.inf,
    },
}
"""Values that a preset has instead of the table's defaults."""

ALIASES: Mapping[str, tuple[str, Any]] = {
    "ro": ("read_only", True),
    "rw": ("read_only", False),
    "exec": ("noexec", False),
    "atime": ("noatime", False),
}
"""Names of mount(8) for ours; an alias brings its value along."""


def option_rows() -> list[OptionRow]:
    """Every option, in the table's order."""
    return [
        OptionRow(
            name=item.name,
            default=item.default,
            parse=item.metadata["parse"],
            kind=_KIND_OF_PARSER[item.metadata["parse"]],
            layer=item.metadata["layer"],
            summary=item.metadata["summary"],
        )
        for item in dataclasses.fields(MountOptions)
    ]


def parse_option_string(text: str) -> dict[str, str | bool]:
    """Split `"ro,uid=1000"` into names and values; a name alone is True, `no` + a yes/no option is False.

    A comma inside a value is written `\\,`. Values stay text; `MountOptions.build` gives them meaning.
    """
    switches = {row.name for row in option_rows() if row.kind == "yes/no"}
    options: dict[str, str | bool] = {}
    for part in re.split(r"(?<!\\),", text):
        name, equals, value = part.replace("\\,", ",").strip().partition("=")
        if not name and not equals:
            continue
        name = _canonical(name)
        if name in ALIASES:
            if equals:
                raise OptionError(f"option {name} takes no value, got {value!r}")
            target, implied = ALIASES[name]
            options[target] = implied
        elif equals:
            options[name] = value
        elif name.startswith("no") and name.removeprefix("no").lstrip("_") in switches:
            options[name.removeprefix("no").lstrip("_")] = False
        else:
            options[name] = True
    return options


def _canonical(name: str) -> str:
    return name.strip().replace("-", "_")


def _unknown(name: str, known: Iterable[str]) -> OptionError:
    near = difflib.get_close_matches(_canonical(name), [*known, *ALIASES], n=1)
    hint = f"did you mean {near[0]}?" if near else "`aiovfs mount --help` lists the options"
    return OptionError(f"there is no mount option {name!r}", hint=hint)
