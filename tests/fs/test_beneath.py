"""The local store stays below its root, also when another program swaps a directory for a symlink."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiovfs.fs import Info, Kind, Store, beneath, open_store


@pytest.fixture(params=["openat2", "each component"])
async def store(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    """A store whose directory `swapped/in` leads out of it."""
    if request.param != "openat2":
        monkeypatch.setattr(beneath, "_has_openat2", False)
    (tmp_path / "root" / "deep" / "in").mkdir(parents=True)
    (tmp_path / "root" / "deep" / "in" / "file").write_bytes(b"inside")
    (tmp_path / "outside" / "in").mkdir(parents=True)
    (tmp_path / "outside" / "in" / "file").write_bytes(b"outside")
    (tmp_path / "root" / "swapped").symlink_to(tmp_path / "outside")
    store = await open_store(str(tmp_path / "root"))
    yield store
    await store.aclose()


def snapshot(directory: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(directory)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.is_file() and path.read_bytes(),
        )
        for path in sorted(directory.rglob("*"))
    }


async def read(store: Store, path: str) -> bytes:
    reader = await store.open_reader(path, Info(name="file", kind=Kind.FILE, size=0))
    try:
        return await reader.read(0, 100)
    finally:
        await reader.aclose()


CALLS: dict[str, Any] = {
    "info": lambda store, path: store.info(path),
    "list": lambda store, path: store.list(path.rpartition("/")[0]),
    "read": read,
    "open": lambda store, path: store.open_file(path, writable=True),
    "create": lambda store, path: store.open_file(f"{path}-new", writable=True, create=True),
    "truncate": lambda store, path: store.open_file(path, writable=True, truncate=True),
    "upload": lambda store, path: store.upload(__file__, path),
    "download": lambda store, path: store.download(path, f"{store.root}/target"),
    "remove": lambda store, path: store.remove(path),
    "mkdir": lambda store, path: store.mkdir(f"{path}-new"),
    "rmdir": lambda store, path: store.rmdir(path.rpartition("/")[0]),
    "copy from": lambda store, path: store.copy(path, "copy"),
    "copy to": lambda store, path: store.copy("deep/in/file", path),
    "rename from": lambda store, path: store.rename(path, "moved"),
    "rename to": lambda store, path: store.rename("deep/in/file", path),
    "symlink": lambda store, path: store.symlink("x", f"{path}-new"),
    "readlink": lambda store, path: store.readlink(path),
    "chmod": lambda store, path: store.set_attributes(path, mode=0o600),
    "resize": lambda store, path: store.set_attributes(path, size=1),
    "touch": lambda store, path: store.set_attributes(path, mtime_ns=0),
}


@pytest.mark.parametrize("name", CALLS)
async def test_no_call_follows_a_directory_that_became_a_symlink(store: Store, tmp_path: Path, name: str) -> None:
    before = snapshot(tmp_path)
    with pytest.raises(OSError) as caught:  # noqa: PT011 (the errno is looked at)
        await CALLS[name](store, "swapped/in/file")
    assert caught.value.errno == errno.ENOTDIR
    assert str(caught.value.filename).startswith(store.root)
    assert snapshot(tmp_path) == before


async def test_below_real_directories_every_call_works(store: Store, tmp_path: Path) -> None:
    assert await read(store, "deep/in/file") == b"inside"
    assert [info.name for info in await store.list("deep/in")] == ["file"]
    assert (await store.info("swapped")).target == str(tmp_path / "outside")
    await store.upload(__file__, "deep/in/up")
    await store.copy("deep/in/up", "deep/copy")
    await store.download("deep/copy", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == Path(__file__).read_bytes()
    await store.rename("deep/copy", "deep/in/moved")
    await store.set_attributes("deep/in/moved", mode=0o640, mtime_ns=5_000_000_000, size=3)
    info = await store.info("deep/in/moved")
    assert (info.size, info.mode & 0o7777) == (3, 0o640)
    await store.remove("deep/in/moved")
    assert sorted(os.listdir(tmp_path / "root/deep/in")) == ["file", "up"]
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    by_alias = await open_store(str(tmp_path / "alias" / "deep"))  # the root's own name may lead through symlinks
    assert (await by_alias.info("in/file")).size == 6
    await by_alias.aclose()


async def test_errors_have_the_full_path(store: Store) -> None:
    for call in (
        store.info("deep/none"),
        store.remove("deep/none"),
        store.readlink("deep/in/none"),
        store.list("none"),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            await call
        assert str(caught.value.filename).startswith(f"{store.root}/")
    with pytest.raises(OSError, match="directory") as both:
        await store.rename("deep/in", "deep/in/file")
    assert both.value.errno in (errno.ENOTDIR, errno.EINVAL)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with beneath.parent_of(str(tmp_path), "a/b/c") as place:
            assert not os.path.exists(place.full)
        for path in ("a/none/c", "a/b/c/d"):
            with pytest.raises(FileNotFoundError), beneath.parent_of(str(tmp_path), path):
                raise AssertionError("there is no such directory")
        os.close(beneath.open_directory(str(tmp_path), "a/b", os.O_RDONLY))
    assert sorted(os.listdir("/proc/self/fd")) == before
