"""aiofiles' names on ours: what its own suite does not look at. Trio among it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from aiovfs import aio
from aiovfs.compat import aiofiles
from aiovfs.compat.aiofiles import os as aiofiles_os
from aiovfs.compat.aiofiles import tempfile, threadpool


async def test_files_are_those_of_aio_on_every_loop(tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with aiofiles.open(path, "w+") as file:
        assert isinstance(file._file, aio.TextFile)
        await file.writelines(["one\n", "two\n"])
        await file.seek(0)
        assert [line async for line in file] == ["one\n", "two\n"]
        assert await file.writable()
        assert file.readable()
        assert (file.encoding, file.mode, file.closed) == (file._file.encoding, "w+", False)
    assert file.closed
    binary = await aiofiles.open(path, "rb")
    assert await binary.read1(3) == b"one"
    assert await binary.peek(1) == b"\ntwo\n"
    assert binary.raw is binary._file
    raw = binary.detach()
    assert raw.read() == b"\ntwo\n"
    raw.close()
    with pytest.raises(ValueError, match="detached"):
        await binary.read()
    async with aiofiles.open(path, "rb", buffering=0) as unbuffered:
        assert await unbuffered.readall() == b"one\ntwo\n"


async def test_paths_and_temporary_files_work_on_every_loop(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    async with aiofiles.open(path, "wb") as file:
        await file.write(b"x")
    assert (await aiofiles_os.stat(path)).st_size == 1
    assert await aiofiles_os.path.exists(path)
    await aiofiles_os.rename(path, f"{path}2")
    await aiofiles_os.makedirs(f"{path}3/4")
    assert sorted(await aiofiles_os.listdir(tmp_path)) == ["file2", "file3"]
    assert sorted(entry.name for entry in await aiofiles_os.scandir(tmp_path)) == ["file2", "file3"]
    await aiofiles_os.replace(f"{path}2", f"{path}5")
    await aiofiles_os.remove(f"{path}5")
    async with tempfile.TemporaryDirectory(dir=tmp_path) as name:
        assert Path(name).is_dir()
    async with tempfile.SpooledTemporaryFile(max_size=3, mode="w+b") as spooled:
        await spooled.writelines([b"ab", b"cd"])
        await spooled.seek(0)
        assert await spooled.read() == b"abcd"
    assert not Path(name).exists()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_executor_is_used_when_one_is_given(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        async with aiofiles.open(tmp_path / "f", "w", executor=executor) as file:
            assert not isinstance(file._file, aio.TextFile)
            await file.write("x")
    assert (tmp_path / "f").read_text() == "x"


async def test_files_can_be_mocked_as_aiofiles_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    threadpool.wrap.register(mock.MagicMock)(lambda *args, **kwargs: threadpool.AsyncBufferedIOBase(*args, **kwargs))
    chunks = iter([b"file chunks 1", b""])
    stream = mock.MagicMock(read=lambda *args, **kwargs: next(chunks))
    monkeypatch.setattr(threadpool, "sync_open", mock.MagicMock(return_value=stream))
    async with aiofiles.open("filename", "w") as file:
        await file.write("data")
        assert await file.read() == b"file chunks 1"
    stream.write.assert_called_once_with("data")


def test_install_puts_ours_under_the_other_name() -> None:
    program = (
        "from aiovfs.compat import aiofiles as ours; ours.install(); ours.install()\n"
        "import aiofiles, aiofiles.os, aiofiles.ospath\n"
        "from aiofiles.threadpool.binary import AsyncFileIO\n"
        "from aiofiles.tempfile.temptypes import AsyncTemporaryDirectory\n"
        "assert aiofiles is ours and aiofiles.os.path is aiofiles.ospath\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
