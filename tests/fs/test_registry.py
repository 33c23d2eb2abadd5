"""From a URL to a store."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import backends
import fsspec
import pytest

from aiovfs.errors import MissingPackageError, StoreError, UnknownProtocolError
from aiovfs.fs import known_protocols, open_store, redact, storage_option_names
from aiovfs.fs.driven import DrivenStore
from aiovfs.fs.local_store import LocalStore
from aiovfs.fs.memory_store import MemoryStore


@pytest.mark.parametrize("form", ["{}", "file://{}", "local://{}", "{}/"])
async def test_a_directory_opens_by_every_form_of_its_name(tmp_path: Path, form: str) -> None:
    async with await open_store(form.format(tmp_path)) as store:
        assert isinstance(store, LocalStore)
        assert (store.url, store.protocol, store.root) == (f"file://{tmp_path}", "file", str(tmp_path))


async def test_a_relative_name_is_one_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    async with await open_store("data") as store:
        assert store.root == str(tmp_path / "data")


async def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with await open_store("~") as store:
        assert store.root == str(tmp_path)


async def test_names_with_url_characters_are_taken_as_they_are(tmp_path: Path) -> None:
    odd = tmp_path / "a?b#c%20d@e"
    odd.mkdir()
    async with await open_store(str(odd)) as store:
        assert store.root == str(odd)


async def test_memory_is_shared_by_name_within_the_process(tmp_path: Path) -> None:
    name = f"memory://{tmp_path.name}"
    async with await open_store(name) as one, await open_store(name) as other:
        assert isinstance(one, MemoryStore)
        await one.mkdir("d")
        assert [info.name for info in await other.list("")] == ["d"]


async def test_another_protocol_is_left_to_fsspec() -> None:
    with pytest.raises(StoreError) as caught:
        await open_store("dask://somewhere/x")
    assert isinstance(caught.value, MissingPackageError)


async def test_a_live_file_system_is_driven_and_stays_open(tmp_path: Path) -> None:
    fs = fsspec.filesystem("file")
    async with await open_store(fs, root=str(tmp_path)) as store:
        assert isinstance(store, DrivenStore)
        assert store.fs is fs
        assert (store.url, await store.list("")) == (f"file://{tmp_path}", [])
    assert fs.ls(str(tmp_path)) == []


async def test_a_file_system_of_ours_brings_its_own_store(tmp_path: Path) -> None:
    from aiovfs.fs.local import LocalFileSystem

    async with await open_store(LocalFileSystem(), root=str(tmp_path)) as store:
        assert isinstance(store, LocalStore)


async def test_the_root_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await open_store(str(tmp_path / "missing"))
    assert caught.value.filename == f"file://{tmp_path}/missing"


async def test_the_root_must_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        await open_store(str(tmp_path / "file"))


async def test_an_unknown_protocol_is_answered_with_the_nearest_known() -> None:
    with pytest.raises(UnknownProtocolError, match=r"did you mean .*sftp"):
        await open_store("sftpp://host/x")


async def test_a_missing_package_is_answered_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(protocol: str) -> type:
        raise ImportError("Install paramiko to use sftp", name="paramiko")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(MissingPackageError, match=r"aiovfs\[sftp\]"):
        await open_store("sftp://127.0.0.1/x")


async def test_a_store_that_refuses_access_says_so() -> None:
    fs = backends.Objects()

    def refuse(call: str, path: str) -> None:
        raise PermissionError(errno.EACCES, "no")

    fs.fail = refuse
    with pytest.raises(StoreError, match="credentials"):
        await open_store(fs, root="bucket")


async def test_a_server_that_is_down_is_reported_at_once() -> None:
    fs = backends.Objects()
    calls: list[str] = []

    def refuse(call: str, path: str) -> None:
        calls.append(call)
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    fs.fail = refuse
    with pytest.raises(StoreError, match="is the server running"):
        await open_store(fs, root="bucket")
    assert calls == ["info"]


class Strict(backends.OneThread):  # type: ignore[misc]
    protocol = "aiovfs-strict"

    def __init__(self, shape: str = "round") -> None:
        super().__init__()


async def test_a_wrong_option_is_an_error_that_names_it() -> None:
    fsspec.register_implementation("aiovfs-strict", Strict, clobber=True)
    with pytest.raises(StoreError, match="colour"):
        await open_store("aiovfs-strict://", storage_options={"colour": "red"})
    assert "shape" in storage_option_names("aiovfs-strict://x")


async def test_options_and_a_live_file_system_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="already made"):
        await open_store(fsspec.filesystem("file"), storage_options={"auto_mkdir": True})
    with pytest.raises(ValueError, match="put it into the URL"):
        await open_store("memory://x", root="y")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/p", "s3://bucket/p"),
        ("s3://key:secret@bucket/p", "s3://bucket/p"),
        ("https://u:p@host:80/x?token=abc#frag", "https://host:80/x"),
        ("sftp://user@host/x", "sftp://host/x"),
        ("zip://in@side.txt::https://u:p@host/a.zip?sig=1", "zip://side.txt::https://host/a.zip"),
        ("simplecache::s3://k:s@b/x", "simplecache::s3://b/x"),
        ("file:///a?b#c@d", "file:///a?b#c@d"),
        ("/plain/path@x", "/plain/path@x"),
        ("memory://", "memory://"),
        ("http://[broken/x?secret", "http://[broken/x"),
        ("http://u:p%40w@h/x", "http://h/x"),
    ],
)
def test_nothing_secret_is_left_in_a_shown_url(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_option_names_are_those_of_the_class() -> None:
    names = storage_option_names("s3://bucket")
    assert {"key", "secret", "endpoint_url", "anon", "use_listings_cache"} <= names
    assert not {"self", "kwargs", "asynchronous", "loop"} & names
    assert "auto_mkdir" in storage_option_names("/plain/path")


def test_all_protocols_of_fsspec_and_ours_are_known() -> None:
    assert {"s3", "memory", "file", "sftp", "zip"} <= set(known_protocols())


async def test_a_connector_gets_what_the_caller_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from aiovfs.fs import local

    seen: dict[str, Any] = {}
    connect = local.connect

    async def spy(url: str, **kwargs: Any) -> Any:
        seen.update(kwargs, url=url)
        return await connect(url, options={}, client=None, read_only=kwargs["read_only"])

    monkeypatch.setattr(local, "connect", spy)
    store = await open_store(f"file://{tmp_path}", read_only=True, client="x", storage_options={"a": 1})
    assert seen == {"url": f"file://{tmp_path}", "read_only": True, "client": "x", "options": {"a": 1}}
    assert not store.capabilities.writable
