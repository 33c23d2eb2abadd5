"""`aios3://`, `aiogs://`, `aioaz://` for fsspec's users; see `published`. obstore is imported when a bucket is used."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from aiovfs.fs.obstore_fs import AzureFileSystem, GCSFileSystem, S3FileSystem
from aiovfs.fs.published import Renamed

__all__ = ["AioAzureFileSystem", "AioGCSFileSystem", "AioS3FileSystem"]


class AioS3FileSystem(Renamed, S3FileSystem):
    """`aios3://bucket/key`: see `S3FileSystem`."""

    protocol = "aios3"  # type: ignore[assignment]
    schemes: ClassVar = {"aios3": "s3"}


class AioGCSFileSystem(Renamed, GCSFileSystem):
    """`aiogs://bucket/key`: see `GCSFileSystem`."""

    protocol = "aiogs"  # type: ignore[assignment]
    schemes: ClassVar = {"aiogs": "gs"}


class AioAzureFileSystem(Renamed, AzureFileSystem):
    """`aioaz://container/blob`, or `aioaz://container@account.dfs.core.windows.net/blob`: see `AzureFileSystem`."""

    protocol = "aioaz"  # type: ignore[assignment]
    schemes: ClassVar = {"aioaz": "az"}

    @staticmethod
    def _get_kwargs_from_urls(url: str) -> dict[str, Any]:
        host = urlsplit(url).netloc
        account = host.partition("@")[2].partition(".")[0]
        return {"account_name": account} if account else {}
