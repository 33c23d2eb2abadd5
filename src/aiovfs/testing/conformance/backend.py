"""What an author tells the kit about a file system: how to make one, where to work, what it can do.

    class Mine(Backend):
        capabilities = Capabilities(append="objects are written whole")

        @pytest.fixture
        def make_fs(self):
            return MyFileSystem

    class TestMine(Mine, AllTests): ...

Tests that need a capability which is absent are skipped with the reason that was given; a reason must be given. Faults
that are known are listed by test in `known_failures`: those tests must fail (strictly), so a fault that was mended is
reported, and a name that no test has is an error.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, ClassVar

import pytest

__all__ = ["BINARY", "TREE", "Backend", "Capabilities", "MakeFS", "open_files"]

MakeFS = Callable[..., Any]
"""Makes an instance; called with `asynchronous=True` or `False`, and with options of fsspec's base class."""

BINARY = bytes(range(256)) * 40
"""10240 bytes in which every offset tells its place within 256."""

TREE: dict[str, bytes] = {
    "a.txt": b"alpha",
    "b.bin": BINARY,
    "empty": b"",
    "dir/one": b"1",
    "dir/two.txt": b"22",
    "dir/sub/three": b"333",
    "dir/sub/deep/four.txt": b"4444",
    "other/one": b"other one",
}
"""Files that many tests begin with, below their root."""

Yes = bool | str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capabilities:
    """`True`, or the reason why not. What is absent is never `False` alone: `True` or a sentence."""

    write: Yes = True
    """Files can be stored, removed, copied and moved."""
    empty_directories: Yes = True
    """A directory exists by itself: `_mkdir` makes it, `_rmdir` removes it, removing its last file does not."""
    strict_directories: Yes = True
    """`_mkdir` and `_makedirs` refuse what exists; `_rmdir` refuses what is not empty."""
    exclusive_create: Yes = True
    """`mode="create"` refuses to replace."""
    append: Yes = True
    """Files can be opened with mode "ab"."""
    open_async: Yes = True
    """`open_async` reads."""
    open_async_write: Yes = True
    """`open_async` writes."""
    async_seek: Yes = True
    """Files of `open_async` have a position that `seek` changes."""
    pread: Yes = True
    """Files of `open_async` have `pread(size, offset=...)`, which has no position."""
    text: Yes = True
    """`open_async` opens text files and compressed ones, and a closed compressed file leaves nothing open."""
    sync_open: Yes = True
    """`open` opens files for synchronous callers."""
    atomic_writes: Yes = True
    """A file is seen as it was or as it is to be, never in between."""
    atomic_files: Yes = True
    """A file that is given up while it is written (an exception, a cancellation) leaves what was there before."""
    atomic_downloads: Yes = True
    """A local file that `_get_file` makes is whole or is not there."""
    listing: Yes = True
    """Directories can be listed."""
    modified: Yes = True
    """`_modified` tells when a file changed."""
    odd_names: Yes = True
    """Names may hold blanks, percent signs, hashes, question marks and letters of any alphabet."""
    honest_errors: Yes = True
    """A failure that is not an absence is never reported as one, nor left out of a listing."""
    loop_bound: Yes = True
    """An asynchronous instance belongs to its loop: a second loop gets one that works there."""
    refuses_in_loop: Yes = True
    """The synchronous face refuses to block a running loop, and says what to call instead."""
    fork_safe: Yes = True
    """A synchronous instance works in a forked child."""
    json: Yes = True
    """Instances can be written to JSON and made again from it."""
    pickle: Yes = True
    """Instances can be pickled, and made again in another process."""
    timeouts: Yes = True
    """`timeout=` of the synchronous face ends the work."""
    touch: Yes = True
    """There is a coroutine `_touch`."""
    max_gap: Yes = True
    """`_cat_ranges` takes `max_gap`."""
    bounded_bulk: Yes = True
    """Bulk operations call the file's own coroutine, at most `batch_size` at once."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not True and not (isinstance(value, str) and value.strip()):
                raise ValueError(f"{field.name}={value!r}: write True, or the reason why not")


class Backend:
    """Base of what an author writes; override `make_fs` and, for names that matter, `root`."""

    loops: ClassVar[tuple[str, ...]] = ("asyncio", "trio")
    """Of "asyncio", "uvloop" and "trio", those that the file system runs on."""
    capabilities: ClassVar[Capabilities] = Capabilities()
    known_failures: ClassVar[Mapping[str, str]] = {}
    """Name of a test, with or without the part in brackets, and why it fails."""

    _roots = itertools.count()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run each async test on each of `loops`."""
        if "anyio_backend" in metafunc.fixturenames:
            known = {"uvloop": ("asyncio", {"use_uvloop": True})}
            values = [known.get(loop, (loop, {})) for loop in self.loops]
            metafunc.parametrize("anyio_backend", values, ids=self.loops)

    # What an author overrides

    @pytest.fixture
    def make_fs(self) -> MakeFS:
        """The class of the file system, or a function that makes instances of it."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture make_fs")

    @pytest.fixture
    def root(self) -> str:
        """A directory that is empty, or not there and made by writing below it. Without a slash at its end."""
        return f"/conformance-{uuid.uuid4().hex[:12]}"

    async def fill(self, fs: Any, root: str, files: Mapping[str, bytes]) -> None:
        """Put files below `root`. Override it where the file system itself cannot write."""
        if self.capabilities.empty_directories is True:
            for parent in sorted({f"{root}/{name}".rpartition("/")[0] for name in files}):
                await fs._makedirs(parent, exist_ok=True)
        for name, content in files.items():
            await fs._pipe_file(f"{root}/{name}", content)

    async def close(self, fs: Any) -> None:
        """End an asynchronous instance, on its loop."""

    # What the tests use

    def need(self, *names: str) -> None:
        """Skip the test, with the author's reason, when a capability is absent."""
        for name in names:
            reason = getattr(self.capabilities, name)
            if reason is not True:
                pytest.skip(f"{type(self).__name__}: {name}: {reason}")

    @pytest.fixture(autouse=True)
    def _apply_known_failures(self, request: pytest.FixtureRequest) -> None:
        name, bare = request.node.name, getattr(request.node, "originalname", request.node.name)
        for known in self.known_failures:
            if not hasattr(type(self), known.partition("[")[0]):
                raise pytest.UsageError(f"{type(self).__name__}.known_failures names {known!r}; there is no such test")
        reason = self.known_failures.get(name, self.known_failures.get(bare))
        if reason is not None:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture
    async def fs(self, make_fs: MakeFS) -> AsyncIterator[Any]:
        """An asynchronous instance."""
        instance = make_fs(asynchronous=True)
        yield instance
        await self.close(instance)

    @pytest.fixture
    async def tree(self, fs: Any, root: str) -> str:
        """The root with `TREE` below it."""
        await self.fill(fs, root, TREE)
        return root

    @pytest.fixture
    def sync_fs(self, make_fs: MakeFS) -> Any:
        """A synchronous instance."""
        return make_fs(asynchronous=False)

    def names(self, fs: Any, root: str, found: Any) -> list[str]:
        """Names of a listing, below `root`, sorted. What is not below it is left whole, to be seen."""
        top = str(fs._strip_protocol(root)).rstrip("/") + "/"
        texts = [str(each["name"] if isinstance(each, Mapping) else each).rstrip("/") for each in found]
        return sorted(text.removeprefix(top) for text in texts)


def open_files(directory: str) -> list[str]:
    """The files below `directory` that this process has open."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(directory):
            found.append(target)
    return sorted(found)
