"""Open files: reading, seeking and writing with `open_async`, and with `open` for synchronous callers."""

from __future__ import annotations

import io
from typing import Any

import anyio
import anyio.to_thread
import pytest

from aiovfs.testing.conformance.backend import BINARY, Backend, MakeFS

__all__ = ["FileTests", "SyncFileTests"]

SIZE = len(BINARY)


class FileTests(Backend):
    """`open_async`."""

    async def test_a_file_is_read_whole_in_parts_and_to_its_end(self, fs: Any, tree: str) -> None:
        self.need("open_async")
        async with await fs.open_async(f"{tree}/b.bin", "rb") as file:
            assert await file.read(10) == BINARY[:10]
            assert await file.read(100) == BINARY[10:110]
            assert await file.read() == BINARY[110:]
            assert await file.read(10) == b""
            assert await file.read() == b""

    async def test_an_empty_file_is_read_as_nothing(self, fs: Any, tree: str) -> None:
        self.need("open_async")
        async with await fs.open_async(f"{tree}/empty", "rb") as file:
            assert await file.read() == b""

    async def test_opening_what_is_not_there_is_an_error(self, fs: Any, tree: str) -> None:
        self.need("open_async")
        with pytest.raises(FileNotFoundError):
            async with await fs.open_async(f"{tree}/absent", "rb") as file:
                await file.read()

    async def test_seek_moves_the_position_that_reads_go_on_from(self, fs: Any, tree: str) -> None:
        self.need("open_async", "async_seek")
        async with await fs.open_async(f"{tree}/b.bin", "rb") as file:
            assert await file.seek(5000) == 5000
            assert await file.read(10) == BINARY[5000:5010]
            assert file.tell() == 5010
            assert await file.seek(-10, 1) == 5000
            assert await file.read(4) == BINARY[5000:5004]
            assert await file.seek(-16, 2) == SIZE - 16
            assert await file.read() == BINARY[-16:]
            assert await file.seek(SIZE + 100) == SIZE + 100
            assert await file.read(10) == b""
            assert await file.seek(0) == 0
            assert await file.read(3) == BINARY[:3]

    async def test_seeking_before_the_start_is_an_error_and_moves_nothing(self, fs: Any, tree: str) -> None:
        self.need("open_async", "async_seek")
        async with await fs.open_async(f"{tree}/b.bin", "rb") as file:
            await file.seek(100)
            with pytest.raises((ValueError, OSError)):
                await file.seek(-1)
            assert await file.read(2) == BINARY[100:102]

    async def test_readinto_fills_a_buffer(self, fs: Any, tree: str) -> None:
        self.need("open_async", "async_seek")
        buffer = bytearray(100)
        async with await fs.open_async(f"{tree}/b.bin", "rb") as file:
            await file.seek(SIZE - 30)
            count = await file.readinto(buffer)
        assert count == 30
        assert bytes(buffer[:30]) == BINARY[-30:]

    async def test_lines_are_given_one_by_one(self, fs: Any, root: str) -> None:
        self.need("open_async", "async_seek")
        lines = [b"first\n", b"\n", b"a long line " * 1000 + b"\n", b"last without an end"]
        await self.fill(fs, root, {"lines": b"".join(lines)})
        async with await fs.open_async(f"{root}/lines", "rb") as file:
            assert [line async for line in file] == lines

    async def test_two_files_on_one_name_have_a_position_each(self, fs: Any, tree: str) -> None:
        self.need("open_async")
        async with await fs.open_async(f"{tree}/b.bin", "rb") as one, await fs.open_async(f"{tree}/b.bin", "rb") as two:
            assert await one.read(100) == BINARY[:100]
            assert await two.read(50) == BINARY[:50]
            assert await one.read(10) == BINARY[100:110]

    async def test_random_reads_give_what_is_there(self, fs: Any, tree: str) -> None:
        self.need("open_async", "async_seek")
        async with await fs.open_async(f"{tree}/b.bin", "rb") as file:
            for turn in range(40):
                offset = turn * 7919 % SIZE
                await file.seek(offset)
                assert await file.read(64) == BINARY[offset : offset + 64]

    async def test_positioned_reads_leave_the_position_and_may_be_made_at_once(self, fs: Any, tree: str) -> None:
        self.need("open_async", "pread")
        wrong = []
        async with await fs.open_async(f"{tree}/b.bin", "rb") as file:
            await file.seek(100)

            async def read(offset: int) -> None:
                if await file.pread(64, offset=offset) != BINARY[offset : offset + 64]:
                    wrong.append(offset)

            async with anyio.create_task_group() as group:
                for turn in range(32):
                    group.start_soon(read, turn * 7919 % SIZE)
            assert wrong == []
            assert file.tell() == 100
            assert await file.pread(10, offset=SIZE - 4) == BINARY[-4:]
            assert await file.pread(10, offset=SIZE) == await file.pread(10, offset=SIZE + 1000) == b""
            assert await file.read(2) == BINARY[100:102]

    async def test_what_was_written_in_parts_is_stored_when_closed(self, fs: Any, root: str) -> None:
        self.need("write", "open_async", "open_async_write")
        await self.fill(fs, root, {"other": b""})
        async with await fs.open_async(f"{root}/file", "wb") as file:
            for part in range(7):
                assert await file.write(BINARY[part * 1000 : part * 1000 + 1000]) == 1000
        assert await fs._cat_file(f"{root}/file") == BINARY[:7000]

    async def test_more_than_one_block_is_written(self, fs: Any, root: str) -> None:
        self.need("write", "open_async", "open_async_write")
        await self.fill(fs, root, {"other": b""})
        part = BINARY * 100
        async with await fs.open_async(f"{root}/file", "wb") as file:
            for _ in range(12):
                await file.write(part)
        assert await fs._cat_file(f"{root}/file") == part * 12

    async def test_a_file_that_nothing_was_written_to_is_empty(self, fs: Any, root: str) -> None:
        self.need("write", "open_async", "open_async_write")
        await self.fill(fs, root, {"file": b"before"})
        async with await fs.open_async(f"{root}/file", "wb"):
            pass
        assert await fs._cat_file(f"{root}/file") == b""

    async def test_appending_adds_to_what_is_there(self, fs: Any, tree: str) -> None:
        self.need("write", "open_async", "open_async_write", "append")
        async with await fs.open_async(f"{tree}/a.txt", "ab") as file:
            await file.write(b" and beta")
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha and beta"

    async def test_exclusive_opening_refuses_what_exists(self, fs: Any, tree: str) -> None:
        self.need("write", "open_async", "open_async_write", "exclusive_create")
        with pytest.raises(FileExistsError):
            async with await fs.open_async(f"{tree}/a.txt", "xb") as file:
                await file.write(b"other")
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha"
        async with await fs.open_async(f"{tree}/new", "xb") as file:
            await file.write(b"new")
        assert await fs._cat_file(f"{tree}/new") == b"new"

    async def test_a_closed_file_refuses(self, fs: Any, tree: str) -> None:
        self.need("open_async", "async_seek")
        file = await fs.open_async(f"{tree}/a.txt", "rb")
        await file.close()
        await file.close()
        with pytest.raises((ValueError, OSError)):
            await file.read(1)

    async def test_text_and_compression_are_taken_care_of(self, fs: Any, root: str) -> None:
        self.need("write", "open_async", "open_async_write", "text")
        await self.fill(fs, root, {"other": b""})
        async with await fs.open_async(f"{root}/words.txt", "w", encoding="utf-8") as file:
            await file.write("één\nzwei\n")
        assert await fs._cat_file(f"{root}/words.txt") == "één\nzwei\n".encode()
        async with await fs.open_async(f"{root}/words.txt", "r", encoding="utf-8") as file:
            assert await file.read() == "één\nzwei\n"
        async with await fs.open_async(f"{root}/packed.gz", "wb", compression="gzip") as file:
            await file.write(BINARY)
        assert (await fs._cat_file(f"{root}/packed.gz"))[:2] == b"\x1f\x8b"
        async with await fs.open_async(f"{root}/packed.gz", "rb", compression="gzip") as file:
            assert await file.read() == BINARY


class SyncFileTests(Backend):
    """`open`, for synchronous callers. What it reads was put there by the asynchronous side, and the reverse."""

    async def _on_a_thread(self, make_fs: MakeFS, func: Any) -> Any:
        return await anyio.to_thread.run_sync(lambda: func(make_fs(asynchronous=False)))

    async def test_open_reads_and_seeks(self, fs: Any, tree: str, make_fs: MakeFS) -> None:
        self.need("sync_open")

        def use(sync_fs: Any) -> None:
            with sync_fs.open(f"{tree}/b.bin", "rb") as file:
                assert file.read(10) == BINARY[:10]
                assert file.seek(5000) == 5000
                assert file.read(10) == BINARY[5000:5010]
                assert file.seek(-16, io.SEEK_END) == SIZE - 16
                assert file.read() == BINARY[-16:]
                assert file.read(1) == b""
                assert file.seek(0) == 0
                buffer = bytearray(64)
                assert file.readinto(buffer) == 64
                assert buffer == BINARY[:64]
                assert file.tell() == 64
                assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)

        await self._on_a_thread(make_fs, use)

    async def test_open_reads_text_lines(self, fs: Any, root: str, make_fs: MakeFS) -> None:
        self.need("sync_open")
        await self.fill(fs, root, {"words.txt": "één\ntwee\n".encode()})

        def use(sync_fs: Any) -> None:
            with sync_fs.open(f"{root}/words.txt", "r", encoding="utf-8") as file:
                assert list(file) == ["één\n", "twee\n"]

        await self._on_a_thread(make_fs, use)

    async def test_open_of_what_is_not_there_is_an_error(self, fs: Any, tree: str, make_fs: MakeFS) -> None:
        self.need("sync_open")

        def use(sync_fs: Any) -> None:
            with pytest.raises(FileNotFoundError), sync_fs.open(f"{tree}/absent", "rb") as file:
                file.read()

        await self._on_a_thread(make_fs, use)

    async def test_what_open_wrote_is_stored(self, fs: Any, root: str, make_fs: MakeFS) -> None:
        self.need("sync_open", "write")
        await self.fill(fs, root, {"other": b""})

        def use(sync_fs: Any) -> None:
            with sync_fs.open(f"{root}/small", "wb") as file:
                file.write(b"small")
            with sync_fs.open(f"{root}/large", "wb") as file:
                for _ in range(7):
                    file.write(BINARY * 100)
            with sync_fs.open(f"{root}/nothing", "wb"):
                pass
            sync_fs.touch(f"{root}/touched")

        await self._on_a_thread(make_fs, use)
        fs.invalidate_cache()
        assert await fs._cat_file(f"{root}/small") == b"small"
        assert await fs._cat_file(f"{root}/large") == BINARY * 700
        assert await fs._cat_file(f"{root}/nothing") == b""
        assert await fs._cat_file(f"{root}/touched") == b""

    async def test_open_compresses_and_closes(self, fs: Any, root: str, make_fs: MakeFS) -> None:
        self.need("sync_open", "write", "text")
        await self.fill(fs, root, {"other": b""})

        def use(sync_fs: Any) -> None:
            with sync_fs.open(f"{root}/text.gz", "wt", compression="gzip") as file:
                file.write("packed")
            with sync_fs.open(f"{root}/text.gz", "rt", compression="gzip") as file:
                assert file.read() == "packed"

        await self._on_a_thread(make_fs, use)
        fs.invalidate_cache()
        assert (await fs._cat_file(f"{root}/text.gz"))[:2] == b"\x1f\x8b"

    async def test_open_appends(self, fs: Any, tree: str, make_fs: MakeFS) -> None:
        self.need("sync_open", "write", "append")

        def use(sync_fs: Any) -> None:
            with sync_fs.open(f"{tree}/a.txt", "ab") as file:
                file.write(b" and beta")

        await self._on_a_thread(make_fs, use)
        fs.invalidate_cache()
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha and beta"

    async def test_open_refuses_to_create_what_exists(self, fs: Any, tree: str, make_fs: MakeFS) -> None:
        self.need("sync_open", "write", "exclusive_create")

        def use(sync_fs: Any) -> None:
            with pytest.raises(FileExistsError), sync_fs.open(f"{tree}/a.txt", "xb") as file:
                file.write(b"other")
            with sync_fs.open(f"{tree}/new", "xb") as file:
                file.write(b"new")

        await self._on_a_thread(make_fs, use)
        fs.invalidate_cache()
        assert await fs._cat_file(f"{tree}/a.txt") == b"alpha"
        assert await fs._cat_file(f"{tree}/new") == b"new"

    async def test_many_threads_read_one_instance(self, fs: Any, tree: str, make_fs: MakeFS) -> None:
        self.need("sync_open")

        def use(sync_fs: Any) -> None:
            from concurrent.futures import ThreadPoolExecutor

            def read(turn: int) -> bool:
                offset = turn * 7919 % (SIZE - 64)
                with sync_fs.open(f"{tree}/b.bin", "rb") as file:
                    file.seek(offset)
                    first = file.read(64)
                second = sync_fs.cat_file(f"{tree}/b.bin", offset, offset + 64)
                return bool(first == second == BINARY[offset : offset + 64])

            with ThreadPoolExecutor(8) as pool:
                assert all(pool.map(read, range(64)))

        await self._on_a_thread(make_fs, use)
