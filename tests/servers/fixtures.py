"""Fixtures of the servers. One server of a kind serves the whole session; a proxy serves one test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from servers.azure import AzureServer
from servers.gcs import GCSServer
from servers.moto import MotoServer
from servers.nginx import Nginx
from servers.proxy import Proxy
from servers.s3 import S3Server

__all__ = ["azure_server", "bucket", "gcs_server", "moto_server", "nginx", "proxied", "s3_server"]


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx with several sites over one directory; see `Nginx`."""
    server = Nginx(tmp_path_factory.mktemp("nginx"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server; see `S3Server`."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """An Azure Blob server; see `AzureServer`."""
    server = AzureServer(tmp_path_factory.mktemp("azure"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    """A Google Cloud Storage server; see `GCSServer`."""
    server = GCSServer(tmp_path_factory.mktemp("gcs"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """Another S3 server; see `MotoServer`."""
    server = MotoServer(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new, empty bucket, with nothing of the machine's own AWS configuration in the way."""
    clean_aws_environment(monkeypatch)
    return s3_server.new_bucket()


@pytest.fixture
def proxied() -> Iterator[Callable[[int], Proxy]]:
    """Puts a counting, weather-making proxy in front of a port."""
    proxies: list[Proxy] = []

    def put_in_front(port: int) -> Proxy:
        proxies.append(Proxy(port))
        return proxies[-1]

    yield put_in_front
    for proxy in proxies:
        proxy.stop()


def clean_aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take AWS's and fsspec's variables and files away, so that tests see only what they pass."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "FSSPEC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
