"""The parts in C are optional: without a compiler the package still installs, unless that is forbidden."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's sources without anything that was built."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tmp_path / name)
    leave = shutil.ignore_patterns("*.so", "*.c", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=leave)
    return tmp_path


def build(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("Cython", reason="Cython is not installed")
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip(f"setuptools {setuptools.__version__} is older than 77, which pyproject.toml asks for")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "built", "--build-temp", "temporary"]
    return subprocess.run(command, cwd=root, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_without_a_compiler_the_build_succeeds_and_has_no_extensions(copy: Path) -> None:
    done = build(copy, CC="/bin/false")
    assert done.returncode == 0, done.stderr
    assert not list((copy / "built").rglob("*.so"))


def test_a_build_that_requires_the_extensions_fails_without_a_compiler(copy: Path) -> None:
    assert build(copy, CC="/bin/false", AIOVFS_REQUIRE_EXT="1").returncode != 0


def test_extensions_can_be_left_out(copy: Path) -> None:
    done = build(copy, AIOVFS_SKIP_EXT="1")
    assert done.returncode == 0, done.stderr
    assert not list(copy.rglob("*.so"))


def test_contradicting_switches_are_refused(copy: Path) -> None:
    done = build(copy, AIOVFS_SKIP_EXT="1", AIOVFS_REQUIRE_EXT="1")
    assert done.returncode != 0
    assert "contradict each other" in done.stderr


def test_a_source_distribution_has_the_sources_of_the_parts_in_c(copy: Path) -> None:
    pytest.importorskip("Cython", reason="Cython is not installed")
    shutil.copy(ROOT / "MANIFEST.in", copy / "MANIFEST.in")
    command = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", "made"]
    environment = os.environ | {"AIOVFS_SKIP_EXT": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = (copy / "made").iterdir()
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    sources = {str(path.relative_to(copy)) for path in (copy / "src").rglob("*.p[yx][xd]")}
    assert len(sources) >= 6
    assert sources <= names


CHOICE = "from aiovfs.fuse import core, replies; print(core.NATIVE is None, replies.NATIVE is None, core.REASON)"


def test_the_environment_chooses_python_at_run_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHOICE],
        env=os.environ | {"AIOVFS_PURE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True True AIOVFS_PURE=1 chooses Python\n"
