"""The suites of caio and of aiofile (which stands on it), run against our modules under caio's name.

They are fetched when the tests run. Both are run in a virtual environment without the original, in which the shim is
installed as a distribution *named* caio: parts of caio's suite start interpreters with an empty environment, and would
otherwise test whatever is installed. Only `tests/` of the archives is unpacked, so that no other caio can be found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("pytest>=8", "aiomisc-pytest", "pytest-rerunfailures", "anyio>=4.6", "fsspec", "setuptools>=77")


@dataclass(frozen=True)
class Suite:
    """A distribution whose tests are run, and how many there are where all four implementations can be used."""

    name: str
    version: str
    sha256: str
    passed: int


SUITES = (
    Suite("caio", "0.12.10", "5cecc44c04d5c6291d98b61bdba999f49a7e58dff2d782b4bb0642dc6f7ecf58", 240),
    Suite("aiofile", "3.12.3", "caa6aa746b5e47e2165f7abd741b6415e49cf4d44fddc0f61844612cc3924d41", 479),
)

pytestmark = pytest.mark.timeout(420)


def missing(reason: str) -> None:
    """Skip here, fail where everything has to be there."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"CI must be able to run caio's suite: {reason}", pytrace=False)
    pytest.skip(reason)


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "CAIO", "PYTHONPATH"))}


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=clean_environment())
    if done.returncode:
        missing(f"{' '.join(command[2:])}: {done.stderr.strip()[-600:]}")


def fetch(suite: Suite, directory: Path) -> Path:
    """A directory with the tests of `suite`."""
    wanted = directory / f"{suite.name}.txt"
    wanted.write_text(f"{suite.name}=={suite.version} --hash=sha256:{suite.sha256}\n")
    pip("download", "--no-deps", "--no-binary", suite.name, "--require-hashes", "-d", directory, "-r", wanted)
    prefix = f"{suite.name}-{suite.version}/"
    with tarfile.open(directory / f"{suite.name}-{suite.version}.tar.gz") as tar:
        members = [
            m
            for m in tar.getmembers()
            if m.name.startswith(f"{prefix}tests/") or m.name in (f"{prefix}pyproject.toml", f"{prefix}README.md")
        ]
        tar.extractall(directory, members, filter="data")
    return directory / prefix


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which our shim is what is called caio."""
    directory = tmp_path_factory.mktemp("shim")
    venv.create(directory / "venv", with_pip=False, symlinks=True)
    interpreter = directory / "venv" / "bin" / "python"
    shim = directory / "caio-shim"
    shutil.copytree(ROOT / "packaging" / "caio-shim", shim)
    metadata = shim / "pyproject.toml"
    text = metadata.read_text().replace('name = "aiovfs-caio"', 'name = "caio"')
    metadata.write_text(text.replace('dependencies = ["aiovfs"]', "dependencies = []"))
    pip("--python", interpreter, "install", "-q", *TOOLS)
    pip("--python", interpreter, "install", "-q", "--no-deps", "--no-build-isolation", shim, "aiofile==3.12.3")
    places = subprocess.run(
        [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(places, "aiovfs.pth").write_text(f"{ROOT / 'src'}\n")
    return interpreter


@pytest.fixture(scope="module")
def running(
    python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """Both suites, running at the same time; each writes into a file."""
    directory = tmp_path_factory.mktemp("suites")
    processes: dict[str, tuple[subprocess.Popen[str], Path]] = {}
    try:
        for suite in SUITES:
            place = fetch(suite, directory)
            log = directory / f"{suite.name}.log"
            # Some of these tests give themselves three seconds; on a busy machine they may need another try.
            command = [python, "-m", "pytest", "-q", "-p", "no:anyio", "-p", "no:asyncio", "--reruns", "4", "tests"]
            with log.open("w") as output:
                processes[suite.name] = (
                    subprocess.Popen(
                        command, cwd=place, env=clean_environment(), stdout=output, stderr=output, text=True
                    ),
                    log,
                )
        yield processes
    finally:
        for process, _ in processes.values():
            process.kill()
            process.wait()


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_the_suite_passes_against_ours(
    suite: Suite, running: dict[str, tuple[subprocess.Popen[str], Path]], python: Path
) -> None:
    process, log = running[suite.name]
    status = process.wait(400)
    said = log.read_text(errors="replace")
    assert status == 0, said[-6000:]
    there = subprocess.run(
        [python, "-c", "import caio; print(len(caio.variants))"], capture_output=True, text=True, check=True
    ).stdout.strip()
    passed = re.search(r"^(\d+) passed", said, re.MULTILINE)
    assert passed, said[-3000:]
    assert int(passed[1]) == suite.passed or there != "4", said[-3000:]


def test_the_documented_program_runs_with_the_shim(python: Path, tmp_path: Path) -> None:
    program = ROOT / "tests" / "compat" / "caio" / "documented_program.py"
    done = subprocess.run(
        [python, program], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["b'Hello world'", "b'Hello from async world'"]


def test_the_shim_has_every_module_and_name_of_ours(python: Path) -> None:
    script = """
import importlib, pkgutil
import caio
from aiovfs.compat import caio as ours
assert set(caio.__all__) == set(ours.__all__)
for name in ours.__all__:
    getattr(caio, name)
public = {name for _, name, _ in pkgutil.iter_modules(caio.__path__)}
wanted = {"abstract", "asyncio_base"} | {
    base + end for base in ("linux_uring", "linux_aio", "thread_aio", "python_aio") for end in ("", "_asyncio")
}
assert wanted <= public, wanted - public
assert importlib.import_module("caio.asyncio_base").AsyncioContextBase
assert isinstance(importlib.import_module("caio.linux_uring").SQPOLL_ALLOWED, bool) or caio.linux_uring is None
assert caio.__version__ == "0.12.10"
"""
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False, env=clean_environment())
    assert done.returncode == 0, done.stderr
