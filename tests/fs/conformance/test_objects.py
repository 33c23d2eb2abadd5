"""The conformance kit, and fsspec's own suite, over object stores: S3 here."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import fsspec.tests.abstract as suite
import pytest
from servers import S3Server

from aiovfs.fs.obstore_fs import S3FileSystem
from aiovfs.testing.conformance import AllTests, Backend, Capabilities, MakeFS

pytestmark = pytest.mark.servers


class Objects(Backend):
    loops = ("asyncio", "trio")
    capabilities = Capabilities(
        empty_directories="a directory is only the prefix of names",
        strict_directories="a directory is only the prefix of names",
        loop_bound="an instance keeps nothing that belongs to a loop: one serves all of them",
        fork_safe="obstore's threads do not survive a fork; it is said at once, and no call hangs",
    )
    known_failures: ClassVar = {
        "test_removing_what_is_not_there_is_an_error": "the services do not tell whether something was deleted",
    }

    @pytest.fixture
    def make_fs(self, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> MakeFS:
        monkeypatch.setattr("aiovfs.fs.obstore_fs.GRACE", 60.0)  # a machine under load must not decide
        return partial(S3FileSystem, retry_seconds=2.0, **s3_server.storage_options)

    @pytest.fixture
    def root(self, bucket: str) -> str:
        return f"{bucket}/conformance"


class TestObjects(Objects, AllTests):
    pass


class OfFsspec(suite.AbstractFixtures):
    @pytest.fixture
    def fs(self, s3_server: S3Server, bucket: str) -> Any:
        return S3FileSystem(skip_instance_cache=True, **s3_server.storage_options)

    @pytest.fixture
    def fs_path(self, bucket: str) -> str:
        return f"{bucket}/suite"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)


class TestCopyObjects(suite.AbstractCopyTests, OfFsspec):
    pass


class TestGetObjects(suite.AbstractGetTests, OfFsspec):
    pass


class TestPutObjects(suite.AbstractPutTests, OfFsspec):
    pass


class TestPipeObjects(suite.AbstractPipeTests, OfFsspec):
    pass


class TestOpenObjects(suite.AbstractOpenTests, OfFsspec):
    pass
