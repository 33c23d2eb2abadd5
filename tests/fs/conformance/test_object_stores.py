"""The conformance kit over our object stores, each against a server of its kind.

Azure and Google get the groups in which services differ; S3 has all of it in test_objects. `./run clouds` gives all of
it to all of them, on every loop.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, ClassVar

import pytest
from servers import AzureServer, GCSServer, S3Server

from aiovfs.fs.published_objects import AioAzureFileSystem, AioGCSFileSystem, AioS3FileSystem
from aiovfs.testing.conformance import (
    AllTests,
    Backend,
    CancellationTests,
    Capabilities,
    ConcurrencyTests,
    ErrorTests,
    FileTests,
    IdentityTests,
    LookingTests,
    MakeFS,
    ReadingTests,
    SyncFileTests,
    WritingTests,
)

pytestmark = pytest.mark.servers

PREFIXES = "directories are prefixes of names"

OBJECTS: dict[str, Any] = {
    "empty_directories": PREFIXES,
    "strict_directories": PREFIXES,
    "atomic_writes": True,
    "fork_safe": "obstore's threads do not survive a fork; a child that was spawned works",
}


FULL = "AIOVFS_CLOUDS" in os.environ


class Service(
    LookingTests,
    ReadingTests,
    WritingTests,
    FileTests,
    SyncFileTests,
    ErrorTests,
    ConcurrencyTests,
    CancellationTests,
    IdentityTests,
):
    """The groups in which one service may differ from another behind the same client."""


EveryTest: Any = AllTests if FULL else Service


class Objects(Backend):
    capabilities = Capabilities(**OBJECTS)

    async def fill(self, fs: Any, root: str, files: Any) -> None:
        await fs._pipe({f"{root}/{name}": content for name, content in files.items()})


class S3(Objects):
    loops = ("asyncio", "uvloop", "trio")
    known_failures: ClassVar = {
        "test_removing_what_is_not_there_is_an_error": "S3 answers the removal of what is not there as any other",
    }

    @pytest.fixture
    def root(self, bucket: str) -> str:
        return f"{bucket}/root"

    @pytest.fixture
    def make_fs(self, s3_server: S3Server) -> MakeFS:
        return partial(AioS3FileSystem, **s3_server.storage_options)


class Azure(Objects):
    loops = ("asyncio", "trio") if FULL else ("asyncio",)

    @pytest.fixture
    def root(self, azure_server: AzureServer) -> str:
        return f"{azure_server.new_container()}/root"

    @pytest.fixture
    def make_fs(self, azure_server: AzureServer) -> MakeFS:
        return partial(AioAzureFileSystem, connection_string=azure_server.storage_options["connection_string"])


class Google(Objects):
    loops = ("uvloop", "trio") if FULL else ("uvloop",)

    @pytest.fixture
    def root(self, gcs_server: GCSServer) -> str:
        return f"{gcs_server.new_bucket()}/root"

    @pytest.fixture
    def make_fs(self, gcs_server: GCSServer) -> MakeFS:
        return partial(AioGCSFileSystem, endpoint_url=gcs_server.xml_url, token="anon")


if FULL:

    class TestS3(S3, AllTests):
        pass


class TestAzure(Azure, EveryTest):
    pass


class TestGoogle(Google, EveryTest):
    pass
