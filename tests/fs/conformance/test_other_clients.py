"""The kit over the clients that others have written, against local servers. `./run clouds` runs it.

Nobody here is to blame: the lists in known_failures.toml say where a client differs from the contract, or from what a
user may hope for, so that those who drive it know. What ours makes of such clients is tested in tests/fs/stores.
"""

from __future__ import annotations

import importlib.util
import tomllib
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from servers import AzureServer, GCSServer, MotoServer, S3Server

from aiovfs.testing.conformance import AllTests, Backend, Capabilities, MakeFS

pytestmark = pytest.mark.servers

KNOWN = tomllib.loads(Path(__file__).with_name("known_failures.toml").read_text())

PREFIXES = "directories are prefixes of names"

OBJECTS: dict[str, Any] = {
    "empty_directories": PREFIXES,
    "strict_directories": PREFIXES,
    "append": "objects are written whole",
    "bounded_bulk": "its own bulk operations",
    "json": "credentials and sessions are arguments",
    "refuses_in_loop": "fsspec's synchronous face blocks a running loop",
    "fork_safe": "fsspec refuses instances that were inherited",
    "honest_errors": "fsspec leaves out directories that cannot be read",
    "loop_bound": "fsspec caches asynchronous instances by thread, not by loop",
    "atomic_downloads": "files are written in place",
    "text": "fsspec has no asynchronous text files",
    "modified": "fsspec has no coroutine for it",
    "async_seek": "fsspec's asynchronous files have no seek",
    "pread": "fsspec's asynchronous files have no position-free read",
    "touch": "fsspec has no coroutine for it",
    "max_gap": "fsspec announces it, and raises NotImplementedError",
    "pickle": "instances made outside of fsspec's cache, as here, do not come back equal",
    "atomic_files": "fsspec commits what was written when the body of a with statement fails",
}


class Client(Backend):
    loops = ("asyncio",)

    async def fill(self, fs: Any, root: str, files: Any) -> None:
        for name, content in files.items():
            await fs._pipe_file(f"{root}/{name}", content)


class S3fs(Client):
    capabilities = Capabilities(**OBJECTS)

    @pytest.fixture
    def root(self, moto_server: MotoServer) -> str:
        return f"{moto_server.new_bucket()}/root"

    @pytest.fixture
    def make_fs(self, moto_server: MotoServer) -> MakeFS:
        import s3fs

        return partial(s3fs.S3FileSystem, skip_instance_cache=True, **moto_server.storage_options)

    async def close(self, fs: Any) -> None:
        session = getattr(fs, "_s3", None)
        if session is not None:
            await session.close()


class ObstoreAdapter(Client):
    capabilities = Capabilities(**OBJECTS, open_async="the adapter has none", open_async_write="the adapter has none")

    @pytest.fixture
    def root(self, bucket: str) -> str:
        return f"{bucket}/root"

    @pytest.fixture
    def make_fs(self, s3_server: S3Server) -> MakeFS:
        from obstore.fsspec import FsspecStore

        config = {
            "endpoint": s3_server.url,
            "access_key_id": s3_server.storage_options["key"],
            "secret_access_key": s3_server.storage_options["secret"],
            "region": "us-east-1",
            "disable_bulk_delete": "true",
        }
        return partial(FsspecStore, "s3", skip_instance_cache=True, config=config, client_options={"allow_http": True})


class Adlfs(Client):
    capabilities = Capabilities(**OBJECTS, open_async="adlfs has none", open_async_write="adlfs has none")

    @pytest.fixture
    def root(self, azure_server: AzureServer) -> str:
        return f"{azure_server.new_container()}/root"

    @pytest.fixture
    def make_fs(self, azure_server: AzureServer) -> MakeFS:
        import adlfs

        return partial(adlfs.AzureBlobFileSystem, skip_instance_cache=True, **azure_server.storage_options)

    async def close(self, fs: Any) -> None:
        await fs.service_client.close()


class Gcsfs(Client):
    capabilities = Capabilities(**OBJECTS, open_async="gcsfs has none", open_async_write="gcsfs has none")

    @pytest.fixture
    def root(self, gcs_server: GCSServer) -> str:
        return f"{gcs_server.new_bucket()}/root"

    @pytest.fixture
    def make_fs(self, gcs_server: GCSServer, monkeypatch: pytest.MonkeyPatch) -> MakeFS:
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        import gcsfs

        return partial(gcsfs.GCSFileSystem, skip_instance_cache=True, **gcs_server.storage_options)

    async def close(self, fs: Any) -> None:
        session = getattr(fs, "_session", None)
        if session is not None:
            await session.close()


class TestS3fs(S3fs, AllTests):
    known_failures: ClassVar = KNOWN["s3fs"]


class TestObstoreAdapter(ObstoreAdapter, AllTests):
    known_failures: ClassVar = KNOWN["obstore"]


@pytest.mark.skipif(importlib.util.find_spec("adlfs") is None, reason="adlfs is not installed; ./run clouds does")
class TestAdlfs(Adlfs, AllTests):
    known_failures: ClassVar = KNOWN["adlfs"]


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is None, reason="gcsfs is not installed; ./run clouds does")
class TestGcsfs(Gcsfs, AllTests):
    known_failures: ClassVar = KNOWN["gcsfs"]
