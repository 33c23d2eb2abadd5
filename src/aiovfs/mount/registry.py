"""Which mounts there are, and who serves them.

Three sources are joined. The kernel's mount table says what is mounted; it can be read without touching the mounts, so
also when a server hangs. A small file per mount, written by the serving process, says which process that is and what
it is doing. `/proc` says whether that process still lives.

The files lie in a directory that only the user and root can write, on a file system that does not survive a reboot:
`/run/aiovfs` (root), `/run/user/UID/aiovfs`, else `/tmp/aiovfs-UID`. A file is named after the device number of its
mount ("0:54"), which the kernel gives to no two mounts at a time, and the serving process, because a server may still
drain when the kernel has given its number to the next mount. A file that a killed server left behind is recognised by
the start time of its process and does no harm.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

__all__ = [
    "MountedRow",
    "Record",
    "Registration",
    "absolute",
    "find_mount",
    "find_record",
    "forget",
    "holders",
    "mounted_rows",
    "record_directory",
    "register",
    "reread",
]

FILE_SYSTEM_TYPE = "fuse.aiovfs"


@dataclass(frozen=True, slots=True)
class MountedRow:
    """One line of /proc/self/mountinfo."""

    device: str
    """"major:minor"."""
    directory: str
    type: str
    source: str

    @property
    def is_ours(self) -> bool:
        return self.type == FILE_SYSTEM_TYPE

    @property
    def is_fuse(self) -> bool:
        return self.type in ("fuse", "fuseblk") or self.type.startswith("fuse.")


@dataclass(frozen=True, slots=True)
class Record:
    """What the serving process says about one mount."""

    device: str
    directory: str
    url: str
    pid: int
    started: int
    """Start time of the process in clock ticks since boot; with `pid` it names one process for ever."""
    uid: int
    state: str = "serving"
    """"serving", or "draining": unmounted, but not everything has reached the store."""
    pending: int | None = None
    """Files that have not reached the store yet; None: not known."""
    log_file: str | None = None
    staging: str | None = None
    """The directory below which files wait for their upload; those of this process are in `PID-…`."""
    error: str | None = None
    """Why not everything could be stored; the record then stays until somebody has read it."""

    @property
    def is_alive(self) -> bool:
        return process_start(self.pid) == self.started

    def left_behind(self) -> list[str]:
        """The files that the process had not uploaded. Only true of one that has ended."""
        return sorted(glob.glob(f"{glob.escape(self.staging)}/{self.pid}-*/*")) if self.staging else []


def absolute(directory: str | os.PathLike[str]) -> str:
    """The path as the mount table spells it.

    Only the parent is resolved: resolving the directory itself would ask a mount on it, which may not answer.
    """
    path = os.path.abspath(os.fspath(directory))
    parent, name = os.path.split(path)
    return os.path.join(os.path.realpath(parent), name) if name else path


def mounted_rows() -> Iterator[MountedRow]:
    """All mounts that this process sees, oldest first."""
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.split()
            dash = fields.index(b"-")
            yield MountedRow(
                device=fields[2].decode(),
                directory=_unescape(fields[4]),
                type=_unescape(fields[dash + 1]),
                source=_unescape(fields[dash + 2]),
            )


def find_mount(directory: str | os.PathLike[str]) -> MountedRow | None:
    """The topmost mount on exactly this directory."""
    path = absolute(directory)
    found = None
    for row in mounted_rows():
        if row.directory == path:
            found = row
    if found is None and os.path.islink(path):
        return find_mount(os.path.join(os.path.dirname(path), os.readlink(path)))
    return found


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it does not exist, or has ended already."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the command in parentheses and may contain anything, so count from its end.
    fields = text[text.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def record_directory(uid: int | None = None) -> Path:
    """Where the mounts of a user are recorded; the same in every session of theirs, whatever its environment."""
    uid = os.geteuid() if uid is None else uid
    if uid == 0:
        return Path("/run/aiovfs")
    session = Path(f"/run/user/{uid}")
    return session / "aiovfs" if session.is_dir() else Path(f"/tmp/aiovfs-{uid}")


class Registration:
    """The serving process's side of a record: made once the mount stands, removed when everything is in the store."""

    def __init__(self, record: Record, path: Path) -> None:
        self.record = record
        self.path = path

    def update(self, *, state: str, pending: int | None = None, error: str | None = None) -> None:
        changed = replace(self.record, state=state, pending=pending, error=error)
        if changed != self.record:
            self.record = changed
            _write(self.path, changed)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def register(
    directory: str, url: str, *, log_file: str | None = None, staging: str | None = None
) -> Registration | None:
    """Record that this process serves the mount that stands on `directory`.

    None when there is no such mount (any more), or no safe place for the record: mounting does not depend on it,
    but `aiovfs umount` will not be able to wait for this process.
    """
    row = find_mount(directory)
    if row is None:
        return None
    folder = record_directory()
    if not _is_safe(folder, create=True):
        return None
    pid = os.getpid()
    record = Record(
        device=row.device,
        directory=row.directory,
        url=url,
        pid=pid,
        started=process_start(pid) or 0,
        uid=os.geteuid(),
        log_file=log_file,
        staging=staging,
    )
    path = _path(record)
    try:
        _clear_dead(folder, row.device)
        _write(path, record)
    except OSError:
        return None
    return Registration(record, path)


def find_record(row: MountedRow) -> Record | None:
    """Who serves this mount, as far as is recorded; a record of another, earlier mount is not returned.

    Root finds the mounts of all users.
    """
    for uid in _uids():
        folder = record_directory(uid)
        if _is_safe(folder, uid=uid):
            found = [record for record in _of_device(folder, row.device, uid) if record.directory == row.directory]
            if found:
                # An earlier mount of the same directory may still be draining.
                return max(found, key=lambda record: (record.is_alive, record.state == "serving", record.started))
    return None


def _of_device(folder: Path, device: str, uid: int) -> list[Record]:
    records = (_read(path, uid=uid) for path in folder.glob(f"{glob.escape(device)}-*.json"))
    return [record for record in records if record is not None and record.device == device]


def _clear_dead(folder: Path, device: str) -> None:
    """Remove what servers that were killed left under a device number that the kernel has given away again."""
    for record in _of_device(folder, device, os.geteuid()):
        if not record.is_alive and record.error is None:
            _path(record).unlink(missing_ok=True)


def reread(record: Record) -> Record | None:
    """The present state of a record; None once it is gone."""
    current = _read(_path(record), uid=record.uid)
    if current is None or (current.pid, current.started, current.directory) != (
        record.pid,
        record.started,
        record.directory,
    ):
        return None
    return current


def forget(record: Record) -> None:
    """Remove the record of a server that has ended."""
    if reread(record) is not None:
        _path(record).unlink(missing_ok=True)


def holders(row: MountedRow, *, limit: int = 5) -> list[tuple[int, str]]:
    """Processes that keep a mount busy: `(pid, command)`, as far as /proc tells this user. Never touches the mount."""
    found: list[tuple[int, str]] = []
    inside = row.directory.rstrip("/") + "/"
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        for link in _links(entry.path):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target == row.directory or target.startswith(inside):
                try:
                    command = Path(entry.path, "comm").read_text().strip()
                except OSError:
                    command = "?"
                found.append((int(entry.name), command))
                break
        if len(found) == limit:
            break
    return found


def _path(record: Record) -> Path:
    return record_directory(record.uid) / f"{record.device}-{record.pid}.json"


def _links(process: str) -> Iterator[str]:
    yield f"{process}/cwd"
    yield f"{process}/root"
    yield f"{process}/exe"
    with contextlib.suppress(OSError):
        for number in os.listdir(f"{process}/fd"):
            yield f"{process}/fd/{number}"


def _uids() -> Iterator[int]:
    own = os.geteuid()
    yield own
    if own == 0:
        for folder, prefix in ((Path("/run/user"), ""), (Path("/tmp"), "aiovfs-")):
            with contextlib.suppress(OSError):
                for name in os.listdir(folder):
                    if name.startswith(prefix) and name[len(prefix) :].isdigit():
                        yield int(name[len(prefix) :])


def _is_safe(folder: Path, *, uid: int | None = None, create: bool = False) -> bool:
    """Whether nobody but the user (and root) can have written there: /tmp is everybody's."""
    try:
        if create:
            folder.mkdir(mode=0o700, exist_ok=True)
        info = folder.lstat()
    except OSError:
        return False
    owner = os.geteuid() if uid is None else uid
    return stat.S_ISDIR(info.st_mode) and info.st_uid == owner and not info.st_mode & 0o022


def _read(path: Path, *, uid: int) -> Record | None:
    try:
        record = Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # gone, or of another version
    return record if record.uid == uid else None


def _write(path: Path, record: Record) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(record)))
    part.replace(path)


def _unescape(field: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), field))
