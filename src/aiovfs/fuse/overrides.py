"""Options that change what handlers answer: owners, modes, time-outs, how files are opened, who may ask.

Routes are changed once, when the session begins, and only those that an option is about: a mount without such options
pays nothing. What a handler returned is copied, never changed; it may use it again.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aiovfs.fuse.options import Settings
from aiovfs.fuse.packers import Pack, Reply, pack_nothing
from aiovfs.fuse.protocol import BY_NAME
from aiovfs.fuse.protocol import messages as m
from aiovfs.fuse.protocol.flags import GetattrFlags, SetattrValid
from aiovfs.fuse.replies import Attributes, DirEntry, Entry, Opened
from aiovfs.fuse.routes import Route

__all__ = ["Overrides"]

REMEMBERED_STAMPS = 65536
UNKNOWN_INO = 0xFFFF_FFFF
FORMAT = 0o170000
DIRECTORY = 0o040000

ENTRIES = frozenset({"lookup", "symlink", "mknod", "mkdir", "link"})
CREATED = frozenset({"create", "tmpfile"})
ATTRIBUTES = frozenset({"getattr", "setattr", "statx"})
LISTINGS = frozenset({"readdir", "readdirplus"})
# Requests on what is open are left alone: a descriptor may have been passed on by somebody who was allowed to open it.
ASKED_BY_NAME = ENTRIES | CREATED | ATTRIBUTES | {
    "readlink", "unlink", "rmdir", "rename", "rename2", "open", "opendir", "access", "statfs",
    "setxattr", "getxattr", "listxattr", "removexattr",
}  # fmt: skip


class Overrides:
    """The options of one session that routes are changed for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entry_timeout: float | None = settings["entry_timeout"]
        self._attr_timeout: float | None = settings["attr_timeout"]
        self._negative_timeout: float | None = settings["negative_timeout"]
        self._uid: int | None = settings["uid"]
        self._gid: int | None = settings["gid"]
        self._use_ino: bool = settings["use_ino"]
        self._file_mask: int | None = settings["umask"] if settings["fmask"] is None else settings["fmask"]
        self._directory_mask: int | None = settings["umask"] if settings["dmask"] is None else settings["dmask"]
        self._auto_cache: bool = settings["auto_cache"] and not settings["noauto_cache"]
        self._stamps: OrderedDict[int, tuple[int, int, float]] = OrderedDict()  # nodeid → mtime, size, looked at

    def applied(self, routes: dict[int, Route]) -> dict[int, Route]:
        """The routes with the options in force."""
        settings = self._settings
        if settings["no_open"]:
            self._drop(routes, "open", "release")
        if settings["no_opendir"]:
            self._drop(routes, "opendir", "releasedir")
        if self._auto_cache:
            self._look_before_open(routes)
        if settings["allow_root"] and BY_NAME["access"].opcode not in routes:
            routes[BY_NAME["access"].opcode] = Route("access", allow, pack_nothing, adds_lookup=False)
        changed = {}
        for opcode, route in routes.items():
            pack = self._pack_for(route.name, route.pack)
            handler = route.handler
            if settings["allow_root"] and route.name in ASKED_BY_NAME:
                handler = guarded(handler, {0, os.getuid()})
            elif pack is not route.pack:
                handler = called_each_time(handler)
            changed[opcode] = route._replace(pack=pack, handler=handler)
        return changed

    @property
    def changes_replies(self) -> bool:
        """Is anything changed in what handlers return? Then they must return our own values, and nothing packed."""
        names = ATTRIBUTES | ENTRIES | CREATED | LISTINGS | {"open", "opendir"}
        return (
            self._auto_cache
            or bool(self._negative_timeout)
            or any(self._pack_for(name, pack_nothing) is not pack_nothing for name in names)
        )

    @staticmethod
    def _drop(routes: dict[int, Route], *names: str) -> None:
        for name in names:
            routes.pop(BY_NAME[name].opcode, None)

    def _pack_for(self, name: str, pack: Pack) -> Pack:
        """The packer of one kind of reply with what has to be changed before; the same one where nothing has to."""
        settings = self._settings
        changes_attributes = (
            any(
                value is not None
                for value in (self._attr_timeout, self._uid, self._gid, self._file_mask, self._directory_mask)
            )
            or not self._use_ino
        )
        changes_entries = changes_attributes or self._entry_timeout is not None or self._negative_timeout is not None
        changes_opened = any(
            settings[option] for option in ("direct_io", "kernel_cache", "no_rofd_flush", "parallel_direct_writes")
        )
        if name in ATTRIBUTES and changes_attributes:
            return lambda request, value: pack(request, self.attributes(value, request.nodeid))
        if name in ENTRIES and changes_entries:
            return lambda request, value: pack(request, self.entry(value))
        if name in CREATED and (changes_entries or changes_opened):
            return lambda request, value: pack(request, (self.entry(value[0]), self.opened(request, value[1])))
        if name == "open" and changes_opened:
            return lambda request, value: pack(request, self.opened(request, value))
        if name == "opendir" and settings["cache_dirs"]:
            return lambda request, value: pack(request, opened_with(value, cache_dir=True, keep_cache=True))
        if name in LISTINGS and (not self._use_ino or (name == "readdirplus" and changes_entries)):
            return lambda request, value: pack(request, self.listing(value))
        return pack

    # Values

    def attributes(self, a: Attributes, nodeid: int) -> Attributes:
        mask = self._directory_mask if a.mode & FORMAT == DIRECTORY else self._file_mask
        return Attributes(
            ino=a.ino if self._use_ino else nodeid,
            mode=a.mode if mask is None else a.mode & FORMAT | 0o777 & ~mask,
            size=a.size,
            blocks=a.blocks,
            nlink=a.nlink,
            uid=a.uid if self._uid is None else self._uid,
            gid=a.gid if self._gid is None else self._gid,
            rdev=a.rdev,
            blksize=a.blksize,
            atime_ns=a.atime_ns,
            mtime_ns=a.mtime_ns,
            ctime_ns=a.ctime_ns,
            birthtime_ns=a.birthtime_ns,
            flags=a.flags,
            timeout=a.timeout if self._attr_timeout is None else self._attr_timeout,
        )

    def entry(self, entry: Entry) -> Entry:
        timeout = self._entry_timeout if entry.nodeid else self._negative_timeout
        return Entry(
            entry.nodeid,
            self.attributes(entry.attributes, entry.nodeid) if entry.nodeid else entry.attributes,
            generation=entry.generation,
            timeout=entry.timeout if timeout is None else timeout,
        )

    def opened(self, request: m.Open | m.Create | m.Tmpfile, opened: Opened) -> Opened:
        settings = self._settings
        is_for_reading = request.flags & os.O_ACCMODE == os.O_RDONLY
        return opened_with(
            opened,
            direct_io=opened.direct_io or settings["direct_io"],
            keep_cache=opened.keep_cache or settings["kernel_cache"],
            noflush=opened.noflush or (settings["no_rofd_flush"] and is_for_reading),
            parallel_direct_writes=opened.parallel_direct_writes or settings["parallel_direct_writes"],
        )

    def listing(self, entries: Iterable[DirEntry]) -> Iterator[DirEntry]:
        for one in entries:
            ino = one.ino
            if not self._use_ino and one.entry is not None:
                ino = one.entry.nodeid
            elif not self._use_ino and not self._settings["readdir_ino"]:
                ino = UNKNOWN_INO
            entry = None if one.entry is None else self.entry(one.entry)
            yield DirEntry(one.name, ino, one.mode, one.offset, entry)

    def negative_reply(self, route: Route, request: m.Request, exc: BaseException) -> Reply | None:
        """With `negative_timeout`, "no such name" is something that the kernel may remember."""
        if not self._negative_timeout or route.name != "lookup":
            return None
        if not isinstance(exc, OSError) or exc.errno != errno.ENOENT:
            return None
        return route.pack(request, Entry.negative(self._negative_timeout))

    # auto_cache

    def _look_before_open(self, routes: dict[int, Route]) -> None:
        """Compare mtime and size with those of the last open; unchanged pages are kept."""
        opening, looking = routes.get(BY_NAME["open"].opcode), routes.get(BY_NAME["getattr"].opcode)
        if opening is None or looking is None:
            return

        @functools.wraps(opening.handler)
        async def open_after_look(request: m.Open) -> Opened:
            opened: Opened = await awaited(opening.handler(request))
            if opened.keep_cache:
                return opened
            return opened_with(opened, keep_cache=await self._is_unchanged(looking.handler, request))

        routes[BY_NAME["open"].opcode] = opening._replace(handler=open_after_look)

    async def _is_unchanged(self, getattr_handler: Callable[[Any], Any], request: m.Open) -> bool:
        now = time.monotonic()
        known = self._stamps.get(request.nodeid)
        if known is not None and now - known[2] < self._settings["ac_attr_timeout"]:
            return True
        question = m.Getattr(
            unique=request.unique, nodeid=request.nodeid, uid=request.uid, gid=request.gid, pid=request.pid
        )
        found: Attributes = await awaited(getattr_handler(question))
        self._stamps[request.nodeid] = (found.mtime_ns, found.size, now)
        self._stamps.move_to_end(request.nodeid)
        if len(self._stamps) > REMEMBERED_STAMPS:
            self._stamps.popitem(last=False)
        return known is not None and known[:2] == (found.mtime_ns, found.size)


def opened_with(opened: Opened, **changes: bool) -> Opened:
    """A copy with some of the flags changed."""
    flags = {
        name: getattr(opened, name)
        for name in (
            "direct_io",
            "keep_cache",
            "nonseekable",
            "cache_dir",
            "stream",
            "noflush",
            "parallel_direct_writes",
        )
    }
    return Opened(opened.fh, **{**flags, **changes}, passthrough=opened.passthrough)


def guarded(handler: Callable[[Any], Any], uids: set[int]) -> Callable[[Any], Any]:
    """The handler for these users; the others get EACCES."""

    @functools.wraps(handler)
    def check(request: m.Request) -> Any:
        if request.uid not in uids and not is_about_open_file(request):
            raise PermissionError(errno.EACCES, "only root and who mounted may use this mount (allow_root)")
        return handler(request)

    return check


def is_about_open_file(request: m.Request) -> bool:
    match request:
        case m.Getattr() | m.Statx():
            return bool(request.getattr_flags & GetattrFlags.FH)
        case m.Setattr():
            return bool(request.valid & SetattrValid.FH)
    return False


def allow(request: m.Access) -> None:
    """ACCESS where the file system has no say: asked each time, because the answer depends on who asks."""


def called_each_time(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Hide that a handler is one of our defaults, whose replies are all the same and may be packed beforehand."""

    @functools.wraps(handler)
    def call(request: m.Request) -> Any:
        return handler(request)

    return call


async def awaited(value: Any) -> Any:
    """What a handler returned, be it a coroutine or the value itself."""
    return await value if inspect.isawaitable(value) else value
