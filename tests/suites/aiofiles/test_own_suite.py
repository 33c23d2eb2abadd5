"""aiofiles' own tests, run against our modules under its names.

They are fetched when the test runs and not kept here. Only `tests/` of the source distribution is unpacked, so that
none of aiofiles' code can be imported by accident.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VERSION = "25.1.0"
SHA256 = "a8d728f0a29de45dc521f18f07297428d56992a742f0cd2701ba86e44d23d5b2"
TESTS = {
    "test_os.py": 37,
    "test_simple.py": 2,
    "test_stdio.py": 2,
    "test_tempfile.py": 17,
    "threadpool/test_binary.py": 99,
    "threadpool/test_concurrency.py": 1,
    "threadpool/test_open.py": 4,
    "threadpool/test_text.py": 44,
    "threadpool/test_wrap.py": 4,
}

CONFTEST = '''
"""Our modules under aiofiles' names, and the two things that its tests take from pytest-asyncio."""

import socket

import pytest

from aiovfs.compat import aiofiles

aiofiles.install()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def unused_tcp_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
'''

pytestmark = pytest.mark.timeout(300)


def missing(reason: str) -> None:
    """Skip here, fail where everything has to be there."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"CI must be able to run aiofiles' suite: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with aiofiles' tests/."""
    directory = tmp_path_factory.mktemp("aiofiles")
    wanted = directory / "requirements.txt"
    wanted.write_text(f"aiofiles=={VERSION} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "aiofiles", "--require-hashes"]
    done = subprocess.run(
        [*command, "-d", str(directory), "-r", str(wanted)], capture_output=True, text=True, check=False, timeout=200
    )
    archive = directory / f"aiofiles-{VERSION}.tar.gz"
    if done.returncode or not archive.exists():
        missing(f"aiofiles {VERSION} cannot be downloaded: {done.stderr.strip()[-500:]}")
    prefix = f"aiofiles-{VERSION}/"
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if member.name.startswith(f"{prefix}tests/")]
        tar.extractall(directory, members, filter="data")
    (directory / prefix / "tests" / "conftest.py").write_text(CONFTEST)
    return directory / prefix


def run(suite: Path, name: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    # Root may read what nobody may read, where one test expects another user.
    left_out = ["--deselect", "tests/test_os.py::test_access"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "pytest", *left_out, "-p", "no:cacheprovider", "-p", "no:asyncio"]
    done = subprocess.run(
        [*command, "-o", "anyio_mode=auto", "-q", f"tests/{name}"],
        cwd=suite,
        env={**environment, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", TESTS)
def test_aiofiles_own_tests_pass(suite: Path, name: str) -> None:
    said = run(suite, name)
    if name == "threadpool/test_concurrency.py" and not all_passed(said, TESTS[name]):
        # Counts what happens within a second; on a busy machine it fails now and then with aiofiles itself.
        said = run(suite, name)
    assert all_passed(said, TESTS[name]), said[-6000:]


def all_passed(said: str, least: int) -> bool:
    """At least that many tests passed (there are more on newer Pythons), and none failed."""
    summary = re.search(r"^(\d+) passed.* in ", said, re.MULTILINE)
    return summary is not None and int(summary[1]) >= least and not re.search(r"\d+ (failed|error)", said)
