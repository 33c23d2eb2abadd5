"""pyfuse3's own tests and examples, run against our modules under its names.

They are fetched when the test runs and not kept here: pyfuse3 is under the LGPL. Only `test/` and `examples/` of its
source distribution are unpacked, so that none of its code can be imported by accident.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VERSION = "3.5.0"
SHA256 = "88399a9494b88603230bba300f4ba9ad63fece5ed514ca3633d555a0c6a42b24"
TESTS = {"test_api.py": 6, "test_rounding.py": 1, "test_fs.py": 7, "test_examples.py": 5}
PATH = [str(ROOT / "packaging" / "pyfuse3-shim" / "src"), str(ROOT / "src")]

pytestmark = [pytest.mark.mounted, pytest.mark.timeout(300)]


def missing(reason: str) -> None:
    """Skip here, fail where everything has to be there."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"CI must be able to run pyfuse3's suite: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with pyfuse3's test/ and examples/."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        missing("/dev/fuse is not there or may not be opened")
    directory = tmp_path_factory.mktemp("pyfuse3")
    wanted = directory / "requirements.txt"
    wanted.write_text(f"pyfuse3=={VERSION} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "pyfuse3", "--require-hashes"]
    done = subprocess.run(
        [*command, "-d", str(directory), "-r", str(wanted)], capture_output=True, text=True, check=False, timeout=200
    )
    archive = directory / f"pyfuse3-{VERSION}.tar.gz"
    if done.returncode or not archive.exists():
        missing(f"pyfuse3 {VERSION} cannot be downloaded: {done.stderr.strip()[-500:]}")
    prefix = f"pyfuse3-{VERSION}/"
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.name.startswith((f"{prefix}test/", f"{prefix}examples/"))]
        tar.extractall(directory, members, filter="data")
    yield directory / prefix
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if place.startswith(f"{directory}/"):
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def run(suite: Path, name: str, python: str = sys.executable, path: Sequence[str] = PATH) -> str:
    base = suite.parent / f"tmp-{name}"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
        "PYTHONPATH": os.pathsep.join(path),
    }
    command = [python, "-m", "pytest", "-c", "test/pytest.ini", "--rootdir", "test", "-o", "addopts="]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--installed", "--basetemp", str(base), "-q", f"test/{name}"],
        cwd=suite,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", TESTS)
def test_pyfuse3s_own_tests_pass(suite: Path, name: str) -> None:
    expected = rf"^{TESTS[name]} passed in "
    said = run(suite, name)
    if name == "test_examples.py" and not re.search(expected, said, re.MULTILINE):
        # Compares times of two file systems; on a busy machine it fails now and then with pyfuse3 itself.
        said = run(suite, name)
    assert re.search(expected, said, re.MULTILINE), said[-6000:]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment in which pip has installed aiovfs and the shim; what they need comes from this one."""
    home = tmp_path_factory.mktemp("environment")
    sources = home / "aiovfs"
    sources.mkdir()
    shutil.copytree(ROOT / "src", sources / "src", ignore=shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__"))
    shutil.copytree(
        ROOT / "packaging" / "pyfuse3-shim",
        home / "shim",
        ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "build"),
    )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, sources)
    directory = home / "venv"
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    pip = [sys.executable, "-m", "pip"]
    built = ["wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(home / "wheels")]
    for command in (
        [*pip, *built, str(sources), str(home / "shim")],
        [*pip, "--python", str(python), "install", "-q", "--no-deps", "--no-index"],
    ):
        wheels = sorted(map(str, (home / "wheels").glob("*.whl")))
        done = subprocess.run(
            [*command, *wheels],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "AIOVFS_SKIP_EXT": "1", "AIOVFS_REQUIRE_EXT": "0"},
            timeout=200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    place = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    Path(place.stdout.strip(), "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return python


def test_what_pip_installs_is_pyfuse3_to_programs(environment: Path) -> None:
    program = (
        "import pyfuse3, pyfuse3.asyncio, pyfuse3_asyncio, _pyfuse3\n"
        "from importlib.metadata import version\n"
        "assert pyfuse3_asyncio is pyfuse3.asyncio and _pyfuse3.Operations is pyfuse3.Operations\n"
        "print(pyfuse3.__version__, version('aiovfs-pyfuse3'), pyfuse3.__file__)"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([environment, "-c", program], env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version, distribution, file = done.stdout.split()
    assert (version, distribution) == (VERSION, VERSION)
    assert str(environment.parents[1]) in file


def test_pyfuse3s_own_tests_pass_on_what_pip_installs(suite: Path, environment: Path) -> None:
    """Without parts in C this time, as on a machine without a compiler."""
    said = run(suite, "test_fs.py", str(environment), ())
    assert re.search(r"^7 passed in ", said, re.MULTILINE), said[-6000:]
