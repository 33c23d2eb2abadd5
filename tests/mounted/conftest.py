"""Fixtures of the mounted tier: directories that the command line mounted, and a guard that a hang cannot outlive.

A test that touches a mount whose server hangs waits in the kernel, where no exception and no signal reaches it. So
each test has a watchdog that kills the servers (which ends the wait with an error), and the whole run has a reaper in
a process of its own that unmounts and kills whatever is left, also when pytest itself is killed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers import S3Server

# As tests/conftest.py does with `servers`, and for the same reason.
_PLACES = Path(__file__).parent / "places.py"
_spec = importlib.util.spec_from_file_location("places", _PLACES)
assert _spec is not None
assert _spec.loader is not None
sys.modules["places"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["places"])

from places import Place, Run, write_tree  # noqa: E402

if TYPE_CHECKING:
    from servers import Nginx

STORES = ("file", "memory", "s3fs", "obstore")
WATCHDOG_S = 45.0
"""Below the time-out of pytest, so that a hang is reported as an error of the test and the run goes on."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory needs /dev/fuse."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.mounted)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The processes and mounts of this test run; skips where nothing can be mounted."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        missing = "/dev/fuse is not there or may not be opened"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"CI must be able to mount: {missing}", pytrace=False)
        pytest.skip(missing)
    mounts = Run(tmp_path_factory.mktemp("mounted"))
    yield mounts
    mounts.end()


@pytest.fixture(autouse=True)
def watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """Kill the servers of a test that takes too long; its system calls then fail instead of waiting for ever."""
    if "run" not in request.fixturenames:
        yield
        return
    mounts: Run = request.getfixturevalue("run")
    timer = threading.Timer(WATCHDOG_S, mounts.kill)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


def make_place(store: str, run: Run, s3_server: S3Server) -> Place:
    """A new, empty store of this kind, to be mounted."""
    if store == "memory":
        return Place(run, "memory://", in_foreground=True)
    if store == "file":
        folder = run.directory("store")
        return Place(run, f"file://{folder}", backing=folder)
    bucket = s3_server.new_bucket()
    environment = {**s3_server.env, "AWS_ALLOW_HTTP": "true"}
    return Place(run, f"s3://{bucket}", "--client", store, environment=environment, backing=s3_server.path(bucket))


@pytest.fixture(scope="session", params=STORES)
def shared_place(request: pytest.FixtureRequest, run: Run, s3_server: S3Server) -> Iterator[Place]:
    """One mounted store of each kind for all tests; use `place`."""
    place = make_place(request.param, run, s3_server)
    place.mount()
    yield place
    place.umount()


@pytest.fixture
def place(shared_place: Place) -> Place:
    """A mounted store: every kind in turn. Mounted again if an earlier test broke it."""
    shared_place.ensure_mounted()
    return shared_place


@pytest.fixture
def here(place: Place, request: pytest.FixtureRequest) -> Path:
    """A new directory inside of a mounted store, for one test."""
    return place.new_directory(request.node.name)


@pytest.fixture(params=["file", "s3fs", "obstore"])
def lasting(request: pytest.FixtureRequest, run: Run, s3_server: S3Server) -> Iterator[Place]:
    """A store that outlives its mount, mounted for one test."""
    place = make_place(request.param, run, s3_server)
    place.mount()
    yield place
    place.umount()


@pytest.fixture
def local(run: Run, s3_server: S3Server) -> Iterator[Place]:
    """A mounted local directory, for one test."""
    place = make_place("file", run, s3_server)
    place.mount()
    yield place
    place.umount()


@pytest.fixture
def s3(run: Run, s3_server: S3Server) -> Iterator[Place]:
    """A mounted bucket, by the default client, for one test."""
    place = make_place("obstore", run, s3_server)
    place.mount()
    yield place
    place.umount()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small source tree on the local disk."""
    return write_tree(tmp_path / "tree")


@pytest.fixture
def site(nginx: Nginx) -> Path:
    """The same tree in the directory that nginx serves."""
    folder = nginx.files / "site"
    return folder if folder.exists() else write_tree(folder, odd=False)
