"""s3fs with what a store needs beside: pinned ranges, a cheap look at a prefix. Import it only where s3fs is there."""

from __future__ import annotations

import re
from typing import Any

from s3fs import S3FileSystem

from aiovfs.errors import StaleError
from aiovfs.fs.quirks import is_dated

__all__ = ["PinnedS3FileSystem"]

_ENTITY_TAG = re.compile(r"[0-9a-f]{32}(-\d+)?")


class PinnedS3FileSystem(S3FileSystem):  # type: ignore[misc]
    """s3fs with bounded retries: both it and botocore retry, and the product of the two takes minutes."""

    retries = 3

    def __init__(self, *args: Any, config_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        bounded = {
            "retries": {"mode": "standard", "max_attempts": 2},
            "max_pool_connections": 64,
            **(config_kwargs or {}),
        }
        super().__init__(*args, config_kwargs=bounded, **kwargs)

    async def _close(self) -> None:
        """Close the connections of the running loop's client."""
        creator, self._s3creator, self._s3 = getattr(self, "_s3creator", None), None, None
        if creator is not None:
            await creator.__aexit__(None, None, None)

    async def _probe(self, path: str) -> bool:
        """Whether any object is below `path`. An exception when the bucket is not there or refuses."""
        bucket, key, _ = self.split_path(path)
        if not bucket:
            return bool(await self._ls("", detail=True))
        prefix = {"Prefix": key.rstrip("/") + "/"} if key else {}
        answer = await self._call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1, **prefix)
        return bool(answer.get("KeyCount") or answer.get("Contents"))

    async def _read_pinned(self, path: str, start: int, end: int, fingerprint: str | None) -> bytes:
        """The bytes from `start` to `end` of one version; `StaleError` when there is another one."""
        bucket, key, version = self.split_path(path)
        options: dict[str, Any] = {"Range": f"bytes={start}-{end - 1}"}
        tag = None if fingerprint is None or is_dated(fingerprint) else fingerprint
        by_version = tag is not None and self.version_aware and _ENTITY_TAG.fullmatch(tag) is None
        if version or by_version:
            options["VersionId"] = version or tag
        elif tag is not None:
            options["IfMatch"] = f'"{tag}"'
        for attempt in range(self.retries):
            answer = await self._call_s3("get_object", Bucket=bucket, Key=key, **options)
            try:
                # Not every server heeds If-Match.
                if "IfMatch" in options and answer.get("ETag") not in (None, options["IfMatch"]):
                    detail = f"{fingerprint} became {answer['ETag']}"
                    raise StaleError(f"{path!r} was replaced while it was open: {detail}", hint="open it again")
                data: bytes = await answer["Body"].read()
                return data
            except StaleError:
                raise
            except Exception:
                # s3fs retries requests, but not bodies that break off.
                if attempt + 1 == self.retries:
                    raise
            finally:
                answer["Body"].close()
        raise AssertionError("the last attempt returns or raises")

    async def _remove_marker_object(self, path: str) -> bool:
        """Delete the object "path/", if another program has left one; whether it was there."""
        bucket, key, _ = self.split_path(path)
        answer = await self._call_s3("list_objects_v2", Bucket=bucket, Prefix=key.rstrip("/") + "/", MaxKeys=1)
        if not any(item["Key"] == key.rstrip("/") + "/" for item in answer.get("Contents", [])):
            return False
        await self._call_s3("delete_object", Bucket=bucket, Key=key.rstrip("/") + "/")
        return True
