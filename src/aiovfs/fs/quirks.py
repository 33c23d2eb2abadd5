"""Make sense of what fsspec backends say about files: one row per quirk.

fsspec specifies `name`, `size` and `type` of an info dictionary, loosely, and nothing else. The tables below say which
keys backends use for each fact and in which formats; `normalise` and `listing` apply them. To teach it another backend,
add a row, and a case to `tests/fs/test_quirks.py`.

Source: the backends' own code, and ratarmount's list of work-arounds (filesystem_spec#1679, #1680).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from aiovfs.fs.info import Info, Kind

__all__ = ["Listing", "is_dated", "listing", "normalise", "to_ns"]

KINDS = {
    "file": Kind.FILE,
    "f": Kind.FILE,
    "-": Kind.FILE,
    "object": Kind.FILE,
    "regular": Kind.FILE,
    "directory": Kind.DIRECTORY,
    "dir": Kind.DIRECTORY,
    "d": Kind.DIRECTORY,
    "folder": Kind.DIRECTORY,
    "prefix": Kind.DIRECTORY,
    "cdir": Kind.DIRECTORY,  # FTP MLSD: the listed directory itself
    "pdir": Kind.DIRECTORY,  # and its parent
    "link": Kind.SYMLINK,
    "symlink": Kind.SYMLINK,
    "l": Kind.SYMLINK,
    "other": Kind.OTHER,
}
"""Values of `type`, in lower case. Unknown ones are OTHER."""

TYPE_KEYS = ("type", "Type", "kind")
SIZE_KEYS = ("size", "Size", "ContentLength", "content-length", "file_size", "length")
MTIME_KEYS = (
    "mtime",  # local, sftp, webdav
    "mtime_ns",
    "LastModified",  # s3fs
    "last_modified",  # adlfs, obstore
    "Last-Modified",  # HTTP
    "updated",  # gcsfs
    "modified",  # webdav
    "modify",  # FTP: YYYYMMDDHHMMSS
    "modification_time",  # hdfs
    "modificationTime",
    "timeModified",
    "date_time",  # zip: a tuple of six
)
ATIME_KEYS = ("atime_ns", "atime", "last_accessed", "accessTime", "time")
CTIME_KEYS = ("ctime_ns", "ctime")
BIRTHTIME_KEYS = ("birthtime", "created", "creation_time", "timeCreated", "birthtime_ns")
TARGET_KEYS = ("destination", "target", "linkname")
FINGERPRINT_KEYS = (
    "fingerprint",  # ours
    "version_id",  # adlfs
    "VersionId",  # s3fs
    "generation",  # gcsfs
    "version",  # obstore
    "ETag",  # s3fs
    "etag",  # gcsfs, adlfs, webdav
    "e_tag",  # obstore
    "md5Hash",
    "content_md5",
    "sha",  # github
)
"""The strongest first. Values that say nothing ("", "null", None) are passed over."""

MODE_KEYS = ("mode", "st_mode", "unix.mode", "permissions")
UID_KEYS = ("uid", "st_uid", "unix.uid")
GID_KEYS = ("gid", "st_gid", "unix.gid")

_FORMAT_OF_KIND = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK, Kind.OTHER: 0}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATED = re.compile(r"\d+-\d{12,}(-\d+)?")
_COMPACT = re.compile(r"(\d{14})(?:\.(\d{1,9}))?\Z")
_SYMBOLIC = re.compile(r"[-dlcbps][-r][-w][-xsS][-r][-w][-xsS][-r][-w][-xtT][.+@]?\Z")


def normalise(raw: Mapping[str, Any], *, name: str) -> Info:
    """The facts in an info dictionary of any backend, for the file that we call `name`."""
    target = _first(raw, TARGET_KEYS, _text)
    kind = _kind(raw, target)
    size = _first(raw, SIZE_KEYS, _count) if kind is not Kind.DIRECTORY else None
    mtime_ns = _first_time(raw, MTIME_KEYS)
    mode = _mode(raw, kind)
    ino = _first(raw, ("ino", "st_ino"), _count)
    fingerprint = None
    if kind is Kind.FILE:
        fingerprint = _first(raw, FINGERPRINT_KEYS, _version)
        if fingerprint is None and size is not None and mtime_ns is not None:
            fingerprint = f"{size}-{mtime_ns}" if ino is None else f"{size}-{mtime_ns}-{ino}"
    return Info(
        name=name,
        kind=kind,
        size=size,
        mtime_ns=mtime_ns,
        fingerprint=fingerprint,
        mode=mode,
        uid=_first(raw, UID_KEYS, _count),
        gid=_first(raw, GID_KEYS, _count),
        ino=ino,
        nlink=_first(raw, ("nlink", "st_nlink"), _count),
        rdev=_first(raw, ("rdev", "st_rdev"), _count) or 0,
        atime_ns=_first_time(raw, ATIME_KEYS),
        ctime_ns=_first_time(raw, CTIME_KEYS),
        birthtime_ns=_first_time(raw, BIRTHTIME_KEYS),
        target=target if kind is Kind.SYMLINK else None,
    )


@dataclass(slots=True)
class Listing:
    """What a backend's `ls` of one directory said."""

    entries: list[Info]
    """One per name; where a file and a directory share a name, the directory."""
    has_self: bool = False
    """The listed directory was among its own entries, so it is known to exist."""
    is_file: bool = False
    """The listed path turned out to be a file."""


def listing(raw: Sequence[Mapping[str, Any]], directory: str, *, strip: Callable[[str], str]) -> Listing:
    """The entries of `directory` (in the backend's own form) out of what `ls(directory, detail=True)` gave.

    Names come with or without a protocol, a leading slash, a trailing slash, the directory in front; the directory
    itself may be among them, as may `""`, `"."`, `".."` and, on object stores, names further down.
    """
    above = _bare(directory, strip)
    found: dict[str, Info] = {}
    result = Listing([])
    for item in raw:
        given = str(item.get("name", item.get("Key", "")))
        full = _bare(given, strip)
        if full in (above, "", "."):
            is_marker = given.endswith("/") or full != above
            if full == above and not is_marker and len(raw) == 1 and normalise(item, name="").kind is Kind.FILE:
                return Listing([], is_file=True)
            result.has_self = True
            continue
        if not above:
            name = full
        elif full.startswith(above + "/"):
            name = full[len(above) + 1 :]
        else:
            name = full.rpartition("/")[2]
        if "/" in name or name in ("", ".", "..") or "\0" in name:
            continue
        info = normalise(item, name=name)
        if given.endswith("/") and info.kind is Kind.FILE:
            info = Info(name, Kind.DIRECTORY, mtime_ns=info.mtime_ns)  # an object "name/": somebody's directory marker
        known = found.get(name)
        if known is None or info.is_directory:
            found[name] = info
    result.entries = list(found.values())
    return result


def is_dated(fingerprint: str) -> bool:
    """True for a fingerprint that `normalise` made of size and time; False for a version or an entity tag."""
    return _DATED.fullmatch(fingerprint) is not None


def to_ns(value: Any) -> int | None:
    """A point in time, in any format that a backend uses, as nanoseconds since 1970; None when it is none of them."""
    for rule in TIME_FORMATS:
        result = rule(value)
        if result is not None:
            return result
    return None


def _time_number(value: Any) -> int | None:
    """Seconds; or milli-, micro- or nanoseconds when the number would be past the year 5000 as seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    for limit, unit in ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3)):
        if abs(value) < limit:
            # A double holds the present second to a quarter of a microsecond; more digits would be noise.
            return value * unit if isinstance(value, int) else round(value * (unit // 1000)) * 1000
    return int(value)


def _time_datetime(value: Any) -> int | None:
    """`datetime`; a naive one is UTC."""
    if not isinstance(value, datetime):
        return None
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000


def _time_tuple(value: Any) -> int | None:
    """(year, month, day, hour, minute, second) of zip members, and `struct_time`."""
    if not isinstance(value, tuple) or len(value) < 6:
        return None
    try:
        return _time_datetime(datetime(*value[:6]))
    except (TypeError, ValueError):
        return None


def _time_compact(value: Any) -> int | None:
    """ "YYYYMMDDHHMMSS" and "YYYYMMDDHHMMSS.fff" of FTP."""
    match = _COMPACT.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        seconds = _time_datetime(datetime.strptime(match[1], "%Y%m%d%H%M%S"))
    except ValueError:
        return None
    assert seconds is not None
    return seconds + int((match[2] or "0").ljust(9, "0"))


def _time_iso(value: Any) -> int | None:
    """ISO 8601, with "Z", an offset, or neither (UTC)."""
    try:
        return _time_datetime(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _time_mail(value: Any) -> int | None:
    """ "Sat, 21 Nov 2026 13:00:00 GMT" of HTTP headers."""
    try:
        return _time_datetime(parsedate_to_datetime(value)) if isinstance(value, str) else None
    except (TypeError, ValueError):
        return None


def _time_decimal(value: Any) -> int | None:
    """Seconds as text."""
    try:
        return _time_number(float(value)) if isinstance(value, str) and not _COMPACT.match(value) else None
    except ValueError:
        return None


TIME_FORMATS: tuple[Callable[[Any], int | None], ...] = (
    _time_number,
    _time_datetime,
    _time_tuple,
    _time_compact,
    _time_iso,
    _time_mail,
    _time_decimal,
)
"""One row per format; the first that understands the value."""


def _first(raw: Mapping[str, Any], keys: Sequence[str], read: Callable[[Any], Any]) -> Any:
    for key in keys:
        value = raw.get(key)
        if value is not None and (result := read(value)) is not None:
            return result
    return None


def _first_time(raw: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    for key in keys:
        value = raw.get(key)
        if value is None:
            continue
        if key.endswith("_ns"):
            return int(value)
        result = to_ns(value)
        if result is not None:
            return result
    return None


def _kind(raw: Mapping[str, Any], target: str | None) -> Kind:
    if raw.get("islink") and target is not None:
        return Kind.SYMLINK  # fsspec's local file system puts what the link leads to into `type`
    for key in TYPE_KEYS:
        value = raw.get(key)
        if isinstance(value, str):
            return KINDS.get(value.lower(), Kind.OTHER)
    return Kind.DIRECTORY if str(raw.get("name", "")).endswith("/") else Kind.FILE


def _mode(raw: Mapping[str, Any], kind: Kind) -> int | None:
    mode: int | None = _first(raw, MODE_KEYS, _mode_value)
    if mode is None:
        return None
    # Type bits that contradict `type` (local: a symlink's target) lose to it.
    return stat.S_IMODE(mode) | (_FORMAT_OF_KIND[kind] or stat.S_IFMT(mode))


def _mode_value(value: Any) -> int | None:
    """An int; octal text such as "755", "0o644", "100644"; or "-rw-r--r--"."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if not isinstance(value, str):
        return None
    if _SYMBOLIC.match(value):
        return _symbolic_mode(value)
    try:
        return int(value.removeprefix("0o"), 8)
    except ValueError:
        return None


def _symbolic_mode(text: str) -> int:
    mode = 0
    for position, letter in enumerate(text[1:10]):
        if letter not in "-ST":
            mode |= 0o400 >> position
        if letter in "sStT":
            mode |= (stat.S_ISUID, stat.S_ISGID, stat.S_ISVTX)[position // 3]
    return mode


def _count(value: Any) -> int | None:
    """A number that is not negative; text of digits too."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return int(value) if isinstance(value, int | float) and value >= 0 else None


def _version(value: Any) -> str | None:
    """A version or etag without its quotes; None for those that say nothing."""
    text = str(value).removeprefix("W/").strip('"')
    return text if text not in ("", "null", "None") else None


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) and value else None


def _bare(path: str, strip: Callable[[str], str]) -> str:
    """A path without protocol and without slashes around it."""
    return strip(path).strip("/") if path else ""
