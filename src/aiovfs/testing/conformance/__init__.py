"""A conformance kit for file systems on fsspec's asynchronous interface, to be subclassed by any author.

    import pytest
    from aiovfs.testing.conformance import AllTests, Backend, Capabilities

    class Mine(Backend):
        capabilities = Capabilities(empty_directories="a directory is only the prefix of names")

        @pytest.fixture
        def make_fs(self):
            return MyFileSystem

    class TestMine(Mine, AllTests): ...

`AllTests` is one class a group: `LookingTests`, `FindingTests`, `ReadingTests`, `WritingTests`, `TransferTests`,
`FileTests`, `SyncFileTests`, `ErrorTests`, `ConcurrencyTests`, `CancellationTests`, `LoopTests`, `IdentityTests`; take
those you want. It needs pytest, and AnyIO's plugin, which comes with AnyIO. See `backend` for what to override, and
`stepping` for cancelling work of your own at every await.
"""

from __future__ import annotations

import pytest

GROUPS = (
    "backend",
    "cancellation",
    "concurrency",
    "failing",
    "files",
    "looking",
    "loops",
    "reading",
    "transfers",
    "writing",
)

pytest.register_assert_rewrite(*(f"{__name__}.{group}" for group in GROUPS))

from aiovfs.testing.conformance.backend import BINARY, TREE, Backend, Capabilities, MakeFS  # noqa: E402
from aiovfs.testing.conformance.cancellation import CancellationTests  # noqa: E402
from aiovfs.testing.conformance.concurrency import ConcurrencyTests  # noqa: E402
from aiovfs.testing.conformance.failing import ErrorTests, failing  # noqa: E402
from aiovfs.testing.conformance.files import FileTests, SyncFileTests  # noqa: E402
from aiovfs.testing.conformance.looking import FindingTests, LookingTests  # noqa: E402
from aiovfs.testing.conformance.loops import IdentityTests, LoopTests  # noqa: E402
from aiovfs.testing.conformance.reading import ReadingTests  # noqa: E402
from aiovfs.testing.conformance.stepping import at_every_await, at_every_tick  # noqa: E402
from aiovfs.testing.conformance.transfers import TransferTests  # noqa: E402
from aiovfs.testing.conformance.writing import WritingTests  # noqa: E402

__all__ = [
    "BINARY",
    "TREE",
    "AllTests",
    "Backend",
    "CancellationTests",
    "Capabilities",
    "ConcurrencyTests",
    "ErrorTests",
    "FileTests",
    "FindingTests",
    "IdentityTests",
    "LookingTests",
    "LoopTests",
    "MakeFS",
    "ReadingTests",
    "SyncFileTests",
    "TransferTests",
    "WritingTests",
    "at_every_await",
    "at_every_tick",
    "failing",
]


@pytest.mark.anyio
class AllTests(
    LookingTests,
    FindingTests,
    ReadingTests,
    WritingTests,
    TransferTests,
    FileTests,
    SyncFileTests,
    ErrorTests,
    ConcurrencyTests,
    CancellationTests,
    LoopTests,
    IdentityTests,
):
    """Every group."""
