"""An Azure Blob server in memory: Azurite, Microsoft's own emulator. It needs Node; `./run` installs both."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import http.client
import itertools
import urllib.parse
from pathlib import Path
from typing import Any

from servers.process import ServerProcess, free_port, require_binary

__all__ = ["AzureServer"]

ACCOUNT = "devstoreaccount1"
# Azurite's only account; the key is in its documentation.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2023-11-03"


class AzureServer:
    """Containers in memory. `storage_options` are what users of adlfs would pass."""

    def __init__(self, lab: Path) -> None:
        program = require_binary("azurite-blob", install="npm install --global azurite")
        lab.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        self.storage_options: dict[str, Any] = {
            "account_name": ACCOUNT,
            "account_key": KEY,
            "connection_string": (
                f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.url};"
            ),
        }
        self.obstore_options: dict[str, Any] = {
            "account_name": ACCOUNT,
            "account_key": KEY,
            "endpoint": self.url,
        }
        self._numbers = itertools.count(1)
        command = [program, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        command += ["--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        self._process = ServerProcess(command, self.port, lab / "output.log", seconds=60)

    def new_container(self) -> str:
        """The name of a new, empty container."""
        name = f"container-{next(self._numbers)}"
        path = f"/{ACCOUNT}/{name}?restype=container"
        now = datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"x-ms-date": now, "x-ms-version": VERSION, "Content-Length": "0"}
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{_signature(name, now)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("PUT", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 201:
            raise RuntimeError(f"the container {name!r} could not be made: {answer.status} {body}")
        return name

    def stop(self) -> None:
        """Stop the server."""
        self._process.stop()


def _signature(container: str, date: str) -> str:
    """Azure's shared-key signature of "make this container", at `date`."""
    # Source: "Authorize with Shared Key" in Azure's documentation of its REST interface.
    resource = f"/{ACCOUNT}/{ACCOUNT}/{urllib.parse.quote(container)}\nrestype:container"
    text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{VERSION}\n{resource}"
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
