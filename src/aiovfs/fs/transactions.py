"""Transactions: everything that changes the file system, done at the end, in order, or not at all.

fsspec's transaction waits with files that were opened, and with nothing else. In ours, from `start` to the end, the
instance's own writing coroutines are replaced by ones that note what to do: `pipe_file`, `put_file` and `touch` write
to a `Writer` that is not committed, the others (`cp_file`, `mv`, `rm`, `mkdir`, …) are put off. So bulk operations,
async callers and subclasses are covered, whatever path they take. What is read meanwhile is the state before.

A commit that fails stops there: what is behind it is discarded, and the error says how much was done before. No store
can take back what it has already shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio

from aiovfs import aio
from aiovfs.fs.facade import run_blocking
from aiovfs.fs.files import place_of
from aiovfs.fs.sources import Writer
from aiovfs.types import Buffer

__all__ = ["Staged", "Transaction"]

PUT_OFF = (
    "_cp_file",
    "_mv_file",
    "_mv",
    "_rm_file",
    "_rm",
    "_mkdir",
    "_makedirs",
    "_rmdir",
    "_chmod",
    "_link",
    "_symlink",
)
"""Coroutines that are called at the end instead, with the same arguments."""

COPY_CHUNK = 4 * 1024 * 1024


class Staged(Writer):
    """A writer of a transaction: `commit` means that the content is complete; the transaction commits it."""

    def __init__(self, writer: Writer, path: str) -> None:
        self.path = path
        self._writer = writer
        self._is_wanted = False

    async def write(self, data: Buffer) -> None:
        await self._writer.write(data)

    async def commit(self) -> None:
        self._is_wanted = True

    async def discard(self) -> None:
        self._is_wanted = False
        await self._writer.discard()

    async def apply(self) -> None:
        """Store it; nothing when it was discarded, or never completed."""
        if self._is_wanted:
            await self._writer.commit()
        else:
            await self._writer.discard()


class PutOff:
    """A call to be made at the end."""

    def __init__(self, call: Callable[[], Awaitable[Any]], path: str) -> None:
        self.path = path
        self._call = call

    async def apply(self) -> None:
        """Make it."""
        await self._call()

    async def discard(self) -> None:
        """Do not."""


class Transaction:
    """What `fs.transaction` is. Use as `with fs.transaction:`, or `async with fs.transaction:` on a loop."""

    def __init__(self, fs: Any, **kwargs: Any) -> None:
        self.fs = fs
        self._replaced: dict[str, Any] = {}
        self.files: deque[Any] = deque()
        """What is to be done: `Staged`, `PutOff`, and files that were opened."""

    def start(self) -> None:
        """From here on nothing is done at once."""
        fs = self.fs
        self.files = deque()
        fs._intrans = True
        replaced: dict[str, Any] = {
            "_pipe_file": self._pipe_file,
            "_put_file": self._put_file,
            "_touch": partial(self._touch, fs._touch),
        }
        for name in PUT_OFF:
            original = getattr(fs, name, None)
            if original is not None:
                replaced[name] = partial(self._put_off, name, original)
        vars(fs).update(replaced)
        self._replaced = replaced

    def stage(self, staged: Staged) -> Staged:
        """Add new content of a file."""
        self.files.append(staged)
        return staged

    def complete(self, commit: bool = True) -> None:
        """Do everything, or discard everything. Blocks."""
        fs = self._stop()
        opened = [entry for entry in self.files if not hasattr(entry, "apply")]
        if not opened:
            run_blocking(fs, self._finish, (commit,), {}, None, eager=False)
            return
        # Files know their own loop, and block the caller.
        done = 0
        try:
            while self.files and commit:
                entry = self.files[0]
                if hasattr(entry, "apply"):
                    run_blocking(fs, entry.apply, (), {}, None, eager=False)
                else:
                    entry.commit()
                self.files.popleft()
                done += 1
        except Exception as exc:
            exc.add_note(f"{done} changes of the transaction were made before this one")
            raise
        finally:
            while self.files:
                entry = self.files.popleft()
                if hasattr(entry, "apply"):
                    run_blocking(fs, entry.discard, (), {}, None, eager=False)
                else:
                    entry.discard()

    async def acomplete(self, commit: bool = True) -> None:
        """`complete`, on a loop. Files that were opened by the synchronous `open` are finished in a thread."""
        fs = self._stop()
        if any(not hasattr(entry, "apply") for entry in self.files):
            await aio.run(self.complete, commit)
            return
        await place_of(fs)(self._finish, commit)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.complete(commit=kind is None)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.acomplete(commit=kind is None)

    def _stop(self) -> Any:
        fs = self.fs
        for name, replacement in self._replaced.items():
            if vars(fs).get(name) is replacement:
                del vars(fs)[name]
        self._replaced = {}
        fs._intrans = False
        fs._transaction = None
        return fs

    async def _finish(self, commit: bool) -> None:
        done = 0
        try:
            while self.files and commit:
                await self.files[0].apply()
                self.files.popleft()
                done += 1
        except Exception as exc:
            exc.add_note(f"{done} changes of the transaction were made before this one")
            raise
        finally:
            with anyio.CancelScope(shield=True):
                while self.files:
                    await self.files.popleft().discard()

    # What stands in the place of the file system's coroutines

    async def _pipe_file(self, path: str, value: Buffer, mode: str = "overwrite", **kwargs: Any) -> None:
        path = self.fs._strip_protocol(path)
        staged = Staged(await self.fs._open_writer(path, "xb" if mode == "create" else "wb", **kwargs), path)
        self.stage(staged)
        await staged.write(value)
        await staged.commit()

    async def _put_file(
        self, lpath: Any, rpath: str, mode: str = "overwrite", callback: Any = None, **kwargs: Any
    ) -> None:
        path = self.fs._strip_protocol(rpath)
        source: Any = await aio.run(partial(open, lpath, "rb"))
        try:
            staged = self.stage(Staged(await self.fs._open_writer(path, "xb" if mode == "create" else "wb"), path))
            while part := await aio.run(source.read, COPY_CHUNK):
                await staged.write(part)
                if callback is not None:
                    callback.relative_update(len(part))
            await staged.commit()
        finally:
            source.close()

    async def _touch(self, original: Any, path: str, truncate: bool = True, **kwargs: Any) -> None:
        if truncate:
            await self._pipe_file(path, b"")
        else:
            await self._put_off("_touch", original, path, truncate=truncate, **kwargs)

    async def _put_off(self, name: str, original: Any, *args: Any, **kwargs: Any) -> None:
        self.files.append(PutOff(partial(original, *args, **kwargs), str(args[0]) if args else name))
