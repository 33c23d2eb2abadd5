"""From a URL to a store: our own file systems for a few protocols, fsspec's registry for all others.

`CONNECTORS` is the table of our own. A connector lives in a module that is imported when its protocol is used:

    async def connect(url: str, *, options: Mapping[str, Any], client: str | None, read_only: bool) -> Store

It builds the store and does not look whether the root exists; `open_store` calls `Store.verify` afterwards, within
`VERIFY_TIMEOUT` seconds.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import anyio
import fsspec
from anyio.to_thread import run_sync
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.registry import known_implementations
from fsspec.registry import registry as registered

from aiovfs.errors import AiovfsError, MissingPackageError, StoreError, UnknownProtocolError
from aiovfs.fs import failures
from aiovfs.fs.driven import DrivenStore
from aiovfs.fs.store import Store

__all__ = ["EXTRAS", "identity_of", "known_protocols", "open_store", "protocol_of", "redact", "storage_option_names"]

OBJECT_STORES = "aiovfs.fs.objectstores"

CONNECTORS = {
    "file": "aiovfs.fs.local",
    "local": "aiovfs.fs.local",
    "memory": "aiovfs.fs.memory",
    "http": "aiovfs.fs.http_store",
    "https": "aiovfs.fs.http_store",
    "s3": OBJECT_STORES,
    "s3a": OBJECT_STORES,
    "gs": OBJECT_STORES,
    "gcs": OBJECT_STORES,
    "az": OBJECT_STORES,
    "abfs": OBJECT_STORES,
    "abfss": OBJECT_STORES,
    "adl": OBJECT_STORES,
    "zip": "aiovfs.fs.archives",
    "tar": "aiovfs.fs.archives",
}
"""Module of the connector, per protocol (the outermost of a chained URL). Other protocols are fsspec's."""

EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
    "sftp": "sftp",
    "ssh": "sftp",
    "http": "http",
    "https": "http",
}
"""The extra of this package that brings what a protocol needs."""

VERIFY_TIMEOUT = 15.0
"""Seconds after which a store that does not answer is reported as down."""

Connector = Callable[..., Awaitable[Store]]

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-_]*)(?:://|::)")
_COMMON_OPTIONS = frozenset(
    {"use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache", "batch_size"}
)
_HIDDEN_PARAMETERS = frozenset({"self", "args", "kwargs", "storage_options", "asynchronous", "loop", "fo", "fs"})
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"[?#][^:]*(?=::|\Z)")
_IN_PROCESS = frozenset({"memory", "file", "local", "data"})
"""What a process has by itself, or as fast as any cache on its disk."""
_PLACE_IN_ENVIRONMENT = re.compile(r"AWS_ENDPOINT|AWS_PROFILE|STORAGE_EMULATOR_HOST|AZURE_STORAGE|FSSPEC_|GOOGLE_.*URL")
_WHO_ASKS = re.compile(r"secret|token|password|credential|sas|^key$", re.IGNORECASE)


async def open_store(
    url_or_fs: str | AbstractFileSystem,
    *,
    root: str | None = None,
    read_only: bool = False,
    client: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    verify: bool = True,
) -> Store:
    """Open what a URL names, or put a live fsspec file system behind a store, and check that its root is a directory.

    `root` is a path inside a file system that is passed alive (in its own form); it may not be given with a URL.
    `verify=False` leaves out that check, for callers that look at one name below a root that they may not list.
    `client` chooses between "s3fs" and "obstore" where both can serve a protocol. `storage_options` are fsspec's.

    Raises `UnknownProtocolError`, `MissingPackageError`, `StoreError` (credentials, server down),
    `FileNotFoundError` or `NotADirectoryError` for the root.
    """
    if isinstance(url_or_fs, str):
        if root is not None:
            raise ValueError(f"root={root!r} belongs to a live file system; put it into the URL {redact(url_or_fs)!r}")
        store = await _connect(url_or_fs, client, read_only, dict(storage_options or {}))
        store.identity = identity_of(url_or_fs, storage_options or {})
    else:
        if storage_options:
            raise ValueError("storage_options were given for a file system that is already made")
        store = adopt(url_or_fs, root=root, read_only=read_only)
    try:
        if verify:
            await _verify(store)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await store.aclose()
        raise
    return store


def identity_of(url: str, options: Mapping[str, Any]) -> str | None:
    """What a URL and its options show, as `Store.identity`: a hash, so that no secret can be read off it.

    Options that only say who asks are left out: tokens change, the place stays. What the environment says of the
    place counts, too.
    """
    protocols = {protocol_of(link) for link in url.split("::") if "://" in link} | {protocol_of(url)}
    if "://" not in url.rpartition("::")[2]:
        return None  # a path of this machine
    if protocols & _IN_PROCESS or not protocols <= CONNECTORS.keys() | known_implementations.keys():
        return None  # a class that was registered in this process may be anything
    environment = {name: value for name, value in os.environ.items() if _PLACE_IN_ENVIRONMENT.match(name)}
    place = {name: value for name, value in options.items() if not _WHO_ASKS.search(name)}
    try:
        text = json.dumps([url, place, environment], sort_keys=True)
    except (TypeError, ValueError):
        return None  # options that are objects
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def adopt(fs: AbstractFileSystem, *, root: str | None, read_only: bool) -> Store:
    """A store on a live file system, which stays its owner's: it is not closed with the store."""
    make = getattr(fs, "make_store", None)
    path = fs._strip_protocol(root if root is not None else "")
    if make is not None:
        store: Store = make(path, read_only=read_only)
        return store
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    cls = store_class(protocol)
    url = redact(fs.unstrip_protocol(path))
    return cls(fs, path, url=url, protocol=protocol, read_only=read_only, owned=False)


def store_class(protocol: str) -> type[DrivenStore]:
    """The class that drives fsspec file systems of a protocol: what its connector's module names `STORE_CLASS`."""
    module = _connector_module(protocol)
    cls: type[DrivenStore] = getattr(module, "STORE_CLASS", DrivenStore)
    return cls


def protocol_of(url: str) -> str:
    """The outermost protocol of a URL; "file" for a plain path."""
    match = _PROTOCOL.match(url)
    return match[1].lower() if match else "file"


def known_protocols() -> list[str]:
    """Every protocol that ours or fsspec's registry knows, installed or not."""
    return sorted({*CONNECTORS, *fsspec.available_protocols(), *registered})


def redact(url: str) -> str:
    """The URL as it may be shown: no user, no password, no query, no fragment, in any link of a chain."""
    return "::".join(_redact_link(link) for link in url.split("::"))


def _redact_link(link: str) -> str:
    if "://" not in link:
        return link
    try:
        parts = urlsplit(link)
    except ValueError:
        return _QUERY.sub("", _USER_INFO.sub("", link))
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("file", "local", "memory"):
        return link  # names of files may hold any of these characters, and no secrets
    shown = urlunsplit((parts.scheme, host, parts.path, "", ""))
    return shown if "://" in shown else f"{parts.scheme}://{host}{parts.path}"


def storage_option_names(url: str) -> frozenset[str]:
    """The names of options that the class behind the URL's protocol accepts: from its signature, and fsspec's own.

    An empty set when the class takes just anything (`**kwargs` and nothing named), or its package is not installed:
    another client may know the names, and opening the store says what is missing.
    """
    protocol = protocol_of(url)
    module = _connector_module(protocol)
    names = set(getattr(module, "OPTION_NAMES", ()))
    try:
        cls = fsspec.get_filesystem_class(protocol)
    except ImportError:
        return frozenset()
    except ValueError:
        cls = None
    for base in cls.__mro__ if cls is not None else ():
        if "__init__" in vars(base):
            names.update(inspect.signature(base.__init__).parameters)
    names -= _HIDDEN_PARAMETERS
    return frozenset(names | _COMMON_OPTIONS) if names else frozenset()


async def _connect(url: str, client: str | None, read_only: bool, options: dict[str, Any]) -> Store:
    protocol = protocol_of(url)
    if _PROTOCOL.match(url) is None:
        url = "file://" + absolute(url)
    _check_host(url)
    try:
        connector = getattr(await run_sync(_connector_module, protocol), "connect", None)
        if connector is not None:
            store: Store = await connector(url, options=options, client=client, read_only=read_only)
            return store
        return await connect(url, options=options, client=client, read_only=read_only)
    except ImportError as exc:
        raise missing_package(protocol, exc) from exc


async def connect(url: str, *, options: Mapping[str, Any], client: str | None, read_only: bool) -> Store:
    """The connector of protocols without one of their own: fsspec makes the file system, `DrivenStore` drives it."""
    protocol = protocol_of(url)
    _check_known(protocol, url)
    fs, path = await make_fs(url, options)
    return DrivenStore(fs, path, url=redact(url), protocol=protocol, read_only=read_only)


async def make_fs(url: str, options: Mapping[str, Any]) -> tuple[AbstractFileSystem, str]:
    """An fsspec file system of our own for a URL, async where it can be, and the path of the URL inside it.

    Made in a thread: constructors import packages, read credentials, and some connect.
    """
    asynchronous: dict[str, Any] = {"skip_instance_cache": True, **options}
    if getattr(fsspec.get_filesystem_class(protocol_of(url)), "async_impl", False) is True and "::" not in url:
        asynchronous["asynchronous"] = True
    try:
        fs, path = await run_sync(partial(url_to_fs, url, **asynchronous))
    except (ImportError, AiovfsError):
        raise
    except TypeError as exc:
        raise StoreError(f"{redact(url)} does not take these options: {exc}", url=redact(url)) from exc
    except Exception as exc:
        raise _failed(redact(url), failures.translate(exc)) from exc
    return fs, path


def _check_host(url: str) -> None:
    """A web address must have a host, and be well formed. Raises `StoreError`."""
    shown = redact(url)
    for link in url.split("::"):
        if protocol_of(link) not in ("http", "https") or "://" not in link:
            continue
        try:
            host = urlsplit(link).hostname
        except ValueError as exc:
            raise StoreError(f"{shown} is not a URL: {exc}", url=shown) from exc
        if not host:
            raise StoreError(f"{shown} names no host", url=shown, hint=f"write {protocol_of(link)}://HOST/…")


def missing_package(protocol: str, exc: ImportError) -> MissingPackageError:
    """The error for a protocol whose package is not installed."""
    extra = EXTRAS.get(protocol)
    hint = f"pip install 'aiovfs[{extra}]'" if extra else str(exc) if exc.name else None
    missing = exc.name or str(exc)
    return MissingPackageError(f"{protocol}:// needs a package that is not installed: {missing}", hint=hint)


def _check_known(protocol: str, url: str) -> None:
    known = known_protocols()
    if protocol in known:
        return
    near = difflib.get_close_matches(protocol, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "known are fsspec's protocols and " + ", ".join(CONNECTORS)
    raise UnknownProtocolError(f"{redact(url)}: nobody knows the protocol {protocol!r}", url=redact(url), hint=hint)


def _connector_module(protocol: str) -> Any:
    """The module of a protocol's connector; None when fsspec's registry serves it."""
    name = CONNECTORS.get(protocol)
    if name is None or importlib.util.find_spec(name) is None:
        return None
    return importlib.import_module(name)


def absolute(path: str) -> str:
    """A plain local path from `~` or the current directory on."""
    return os.path.abspath(os.path.expanduser(path))


async def _verify(store: Store) -> None:
    try:
        with anyio.fail_after(VERIFY_TIMEOUT):
            await store.verify()
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise type(exc)(exc.errno, exc.strerror or str(exc), store.url) from exc
    except OSError as exc:
        raise _failed(store.url, exc) from exc


_MEANINGS = {
    errno.EACCES: "access was refused; check the credentials",
    errno.EPERM: "access was refused; check the credentials",
    errno.ECONNREFUSED: "nobody answers there; is the server running, and the address right?",
    errno.EHOSTUNREACH: "the host cannot be found or reached; check the address and the network",
    errno.ENETUNREACH: "the network cannot be reached",
    errno.ETIMEDOUT: "no answer in time; is the server up?",
    errno.ECONNRESET: "the connection broke; is the server up?",
}


def _failed(url: str, exc: OSError | AiovfsError) -> Exception:
    """What `open_store` raises for a failure of the store."""
    if isinstance(exc, AiovfsError):
        return exc
    number = errno.ETIMEDOUT if isinstance(exc, TimeoutError) else exc.errno
    detail = exc.strerror or str(exc) or type(exc).__name__
    meaning = _MEANINGS.get(number) if number is not None else None
    return StoreError(f"{url} could not be opened: {detail}", url=url, hint=meaning)
