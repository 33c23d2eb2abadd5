"""A second S3 server: moto, which knows more of the protocol than localbucket (bulk delete, versions) and is slower."""

from __future__ import annotations

import http.client
import itertools
from pathlib import Path
from typing import Any

from servers.process import ServerProcess, free_port, require_binary
from servers.s3 import storage_options

__all__ = ["MotoServer"]


class MotoServer:
    """Buckets in memory."""

    def __init__(self, lab: Path) -> None:
        program = require_binary("moto_server", install="pip install 'moto[server]'")
        lab.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.storage_options: dict[str, Any] = storage_options(self.url)
        self._numbers = itertools.count(1)
        command = [program, "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = ServerProcess(command, self.port, lab / "output.log", seconds=60)

    def new_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{next(self._numbers)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("PUT", f"/{name}", headers={"Host": f"127.0.0.1:{self.port}"})
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the bucket {name!r} could not be made: {answer.status} {body}")
        return name

    def stop(self) -> None:
        """Stop the server."""
        self._process.stop()
