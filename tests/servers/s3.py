"""An S3 server over a directory: localbucket, which needs no more than Python.

What it does not do, so that tests know: it checks no credentials, has no bulk delete, ignores `If-Match` on reads, and
refuses keys that end in a slash or have empty components.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servers.process import ServerProcess, free_port, require_binary

__all__ = ["S3Server", "storage_options"]

KEY, SECRET = "test-key", "test-secret"

# It writes an answer's head and body apart. With Nagle's algorithm the body then waits for the client's delayed
# acknowledgement, 40 ms an answer. Five connections may wait to be accepted; of a hundred that come at once, most would
# be dropped, and come again after seconds.
LOCALBUCKET = """
import socketserver, sys
socketserver.StreamRequestHandler.disable_nagle_algorithm = True
socketserver.TCPServer.request_queue_size = 1024
import localbucket
sys.exit(localbucket.main())
"""


def storage_options(endpoint: str) -> dict[str, Any]:
    """What fsspec users would pass to reach the server at `endpoint`."""
    return {"endpoint_url": endpoint, "key": KEY, "secret": SECRET, "client_kwargs": {"region_name": "us-east-1"}}


class S3Server:
    """Buckets are folders of `root`, so a test may look at them, or change them, behind the client's back."""

    def __init__(self, lab: Path) -> None:
        require_binary("localbucket", install="pip install localbucket")
        self.root = lab / "buckets"
        self.root.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.storage_options = storage_options(self.url)
        self._numbers = itertools.count(1)
        command = [sys.executable, "-c", LOCALBUCKET, "--port", str(self.port), str(self.root)]
        self._process = ServerProcess(command, self.port, lab / "output.log")

    @property
    def env(self) -> Mapping[str, str]:
        """The same as `storage_options`, as environment variables of AWS."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def new_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{next(self._numbers)}"
        (self.root / name).mkdir()
        return name

    def path(self, bucket: str, key: str = "") -> Path:
        """The file on disk of an object."""
        return self.root / bucket / key

    def stop(self) -> None:
        """Stop the server."""
        self._process.stop()
