"""S3, Google Cloud Storage and Azure as stores, through obstore or fsspec's own clients.

obstore costs a tenth of the CPU and is taken where it is installed and understands the options (`object_options`);
else s3fs, gcsfs or adlfs. `client="obstore"` or `"s3fs"` chooses.

What holds for all: a bucket that is not there is `FileNotFoundError` with its name; a prefix that is not there is an
empty directory when it is the root. A reader gets bytes of the version it was opened for, checked by entity tag.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import fsspec.config
from anyio.to_thread import run_sync

from aiovfs.errors import MissingPackageError, OptionError, StaleError, StoreError
from aiovfs.fs import paths, registry
from aiovfs.fs.driven import DrivenStore, progress_callback
from aiovfs.fs.failures import is_missing_bucket
from aiovfs.fs.info import Info, Kind
from aiovfs.fs.object_options import NATIVE, UntranslatableError, obstore_options
from aiovfs.fs.store import Progress, Store

__all__ = ["OPTION_NAMES", "STORE_CLASS", "ObjectStore", "connect"]

OPTION_NAMES = frozenset({"region", *NATIVE})

FAMILIES = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "adl": "az",
}
"""The protocols that are one service, by the name that obstore has for it."""

CLIENTS = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
"""fsspec's own client of each."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


async def connect(url: str, *, options: Mapping[str, Any], client: str | None, read_only: bool) -> Store:
    """The store for a bucket, or a prefix in one."""
    protocol = registry.protocol_of(url)
    family = FAMILIES[protocol]
    own = CLIENTS[family]
    if client not in (None, "obstore", own):
        raise OptionError(f"{protocol}:// has no client {client!r}; there are 'obstore' and {own!r}")
    root = url.partition("://")[2].strip("/")
    if client != own:
        try:
            return await _connect_obstore(url, family, root, options, read_only)
        except (UntranslatableError, ImportError) as exc:
            reason = f"obstore does not know {exc}" if isinstance(exc, UntranslatableError) else "it is not installed"
            if client == "obstore" or (importlib.util.find_spec(own) is None and isinstance(exc, UntranslatableError)):
                raise _cannot_use("obstore", reason, own, url) from exc
    if not any(name in options for name in NATIVE):
        return await _connect_fsspec(url, family, root, options, read_only)
    raise _cannot_use(own, "it does not take obstore's own options", "obstore", url)


def _cannot_use(client: str, reason: str, other: str, url: str) -> StoreError:
    shown = registry.redact(url)
    if reason == "it is not installed":
        return MissingPackageError(f"{shown}: {client} is not installed", url=shown, hint="pip install 'aiovfs[cloud]'")
    return StoreError(f"{shown} cannot use {client}: {reason}", url=shown, hint=f"choose the client {other!r}")


async def _connect_obstore(
    url: str, family: str, root: str, options: Mapping[str, Any], read_only: bool
) -> ObjectStore:
    if importlib.util.find_spec("obstore") is None:
        raise ImportError("obstore is not installed", name="obstore")
    if not root or "@" in root.partition("/")[0]:
        raise UntranslatableError("URLs without a bucket" if not root else "URLs with an account in them")
    translated = obstore_options(family, {**_configured(url), **options}, os.environ)
    fs = await run_sync(partial(_make_obstore, family, translated))
    return PinnedStore(fs, root, url=registry.redact(url), protocol=registry.protocol_of(url), read_only=read_only)


def _make_obstore(family: str, options: Any) -> Any:
    from aiovfs.fs.obstore_fs import CLASSES

    importlib.import_module("obstore.store")  # the class imports it when it is used, which is too late to choose s3fs
    # The store tries again by itself what may be tried again.
    return CLASSES[family](translated=options, retry_seconds=0.0, asynchronous=True, skip_instance_cache=True)


async def _connect_fsspec(url: str, family: str, root: str, options: Mapping[str, Any], read_only: bool) -> ObjectStore:
    protocol = registry.protocol_of(url)
    if family != "s3":
        fs, path = await registry.make_fs(url, options)
        return ObjectStore(fs, path, url=registry.redact(url), protocol=protocol, read_only=read_only)
    fs = await run_sync(partial(_make_s3fs, url, dict(options)))
    return PinnedStore(fs, root, url=registry.redact(url), protocol=protocol, read_only=read_only)


def _make_s3fs(url: str, options: dict[str, Any]) -> Any:
    from aiovfs.fs.s3fs_fs import PinnedS3FileSystem

    region = options.pop("region", None)
    if region is not None:
        options["client_kwargs"] = {"region_name": region, **(options.get("client_kwargs") or {})}
    try:
        return PinnedS3FileSystem(**{"skip_instance_cache": True, **options, "asynchronous": True})
    except (TypeError, KeyError, ValueError) as exc:
        shown = registry.redact(url)
        raise StoreError(f"{shown} does not take these options: {exc}", url=shown) from exc


def _configured(url: str) -> dict[str, Any]:
    """What fsspec's configuration files and `FSSPEC_<PROTOCOL>…` variables say for the URL's protocol."""
    configured: dict[str, Any] = {}
    by_protocol = {name: dict(values) for name, values in fsspec.config.conf.items() if isinstance(values, dict)}
    # The variables may have been set after fsspec was imported.
    fsspec.config.set_conf_env(by_protocol, os.environ)
    family = FAMILIES[registry.protocol_of(url)]
    for protocol in (name for name, member in FAMILIES.items() if member == family):
        configured |= by_protocol.get(protocol, {})
    return configured


class ObjectStore(DrivenStore):
    """A bucket through any fsspec client."""

    object_store = True

    def check_name(self, name: str) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise OSError(errno.EILSEQ, "names of objects are UTF-8, and this is not", name) from None
        if getattr(self.fs, "refuses_control_characters", False) and _CONTROL.search(name):
            raise OSError(errno.EINVAL, "obstore takes no control characters in names of objects", name)

    @property
    def bucket(self) -> str:
        """The bucket, or container, that the root is in."""
        return self.root.strip("/").partition("/")[0]

    async def _check_root(self) -> None:
        try:
            has_children = await self._has_children()
        except FileNotFoundError as exc:
            if not is_missing_bucket(exc) and "/" in self.root:
                return
            raise FileNotFoundError(errno.ENOENT, f"the bucket {self.bucket!r} does not exist", self.url) from exc
        if has_children or "/" not in self.root.strip("/"):
            return
        if not (await self.info("")).is_directory:
            raise NotADirectoryError(errno.ENOTDIR, "an object, not a prefix", self.url)

    async def _has_children(self) -> bool:
        return bool(await self._call("ls", self.root, about="", detail=False))

    async def _list_raw(self, path: str) -> Sequence[Mapping[str, Any]]:
        try:
            return await super()._list_raw(path)
        except FileNotFoundError as exc:
            if is_missing_bucket(exc):
                # Not "this directory is not there": everything would look deleted, and an absent root empty.
                raise OSError(errno.EIO, f"the bucket {self.bucket!r} does not exist any more", path or None) from exc
            raise


class PinnedStore(ObjectStore):
    """A bucket through a client of ours, which can pin a range to a version and tells what it uploaded."""

    pinned_reads = True

    async def _has_children(self) -> bool:
        return bool(await self._call("probe", self.root, about=""))

    async def verify(self) -> None:
        # Both clients retry by themselves, within bounds that we have set.
        await self._check_root()

    async def _close_fs(self) -> None:
        await self._driver.call("close")

    async def _read_range(self, path: str, info: Info, offset: int, size: int) -> bytes:
        data: bytes = await self._call(
            "read_pinned", self._full(path), offset, offset + size, info.fingerprint, about=path
        )
        return data

    async def _remove_foreign_marker(self, path: str) -> None:
        if not hasattr(self.fs, "_remove_marker_object"):
            # obstore cannot name an object whose key ends in a slash.
            await super()._remove_foreign_marker(path)
        elif not await self._call("remove_marker_object", self._full(path), about=path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    async def upload(
        self, source: str, path: str, *, exclusive: bool = False, progress: Progress | None = None
    ) -> Info:
        paths.check(path)
        self._check_writable(path)
        tag = await self._put(source, path, exclusive, progress)
        self._files_left.pop(paths.parent_of(path), None)
        info = await self.info(path)
        if isinstance(tag, str) and info.fingerprint not in (None, tag):
            # Somebody else has replaced it already. What we uploaded is known by its tag, and by nothing else.
            return Info(paths.name_of(path), Kind.FILE, size=(await _size_of(source)), fingerprint=tag)
        return info

    async def _upload(self, source: str, path: str, exclusive: bool, progress: Progress | None) -> None:
        await self._put(source, path, exclusive, progress)

    async def _put(self, source: str, path: str, exclusive: bool, progress: Progress | None) -> Any:
        options = {"mode": "create" if exclusive else "overwrite", "callback": progress_callback(progress)}
        try:
            return await self._call("put_file", source, self._full(path), about=path, **options)
        except StaleError as exc:
            if not exclusive:
                raise
            # The precondition of an exclusive upload is that nothing is there.
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from exc


async def _size_of(path: str) -> int:
    return (await run_sync(os.stat, path)).st_size


STORE_CLASS = ObjectStore
