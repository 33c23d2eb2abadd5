"""caio's names, how the implementation is chosen, and what its documentation shows."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from aiovfs.compat import caio
from aiovfs.compat.caio import selection
from aiovfs.compat.caio.errors import OperationError, SubmissionError, operation_error, submission_error

PROGRAM = Path(__file__).parent / "documented_program.py"


def run(script: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize("name", ["uring", "linux", "thread", "python"])
def test_the_documented_program_runs_with_its_import_changed(name: str, tmp_path: Path) -> None:
    program = PROGRAM.read_text().replace("from caio import", "from aiovfs.compat.caio import")
    assert "aiovfs.compat" in program
    done = run(program, tmp_path, CAIO_IMPL=name, PYTHONWARNINGS="default")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["b'Hello world'", "b'Hello from async world'"]


@pytest.mark.parametrize("name", caio.__all__)
def test_every_public_name_of_caio_is_there(name: str) -> None:
    assert hasattr(caio, name)


def test_the_best_implementation_that_works_is_preferred() -> None:
    assert caio.variants[-1] is caio.python_aio
    assert [module.__name__ for module in caio.variants_asyncio] == [
        f"{module.__name__}_asyncio" for module in caio.variants
    ]
    if "CAIO_IMPL" not in os.environ:
        assert caio.preferred is caio.variants[0]
        assert caio.Context is caio.variants[0].Context


@pytest.mark.parametrize("name", ["uring", "linux", "thread", "python"])
def test_the_environment_chooses_the_implementation(name: str, tmp_path: Path) -> None:
    done = run("from aiovfs.compat import caio; print(caio.Context.__doc__)", tmp_path, CAIO_IMPL=name)
    assert name in done.stdout or getattr(caio, selection.IMPLEMENTATIONS[name]) is None, done.stderr


def test_an_unknown_choice_is_warned_of_and_the_best_is_taken(tmp_path: Path) -> None:
    done = run("from aiovfs.compat import caio; print(caio.preferred.__name__)", tmp_path, CAIO_IMPL="aio2")
    assert "RuntimeWarning: CAIO_IMPL contains unsupported value 'aio2'" in done.stderr
    assert done.stdout.strip() == caio.variants[0].__name__


def test_a_file_beside_the_package_chooses_when_the_environment_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAIO_IMPL", raising=False)
    available: dict[str, ModuleType | None] = dict.fromkeys(selection.IMPLEMENTATIONS, caio.python_aio)
    assert selection.choose(available, tmp_path) == "uring"
    (tmp_path / "default_implementation").write_text("# for packagers\nnothing known\n thread \nlinux\n")
    assert selection.choose(available, tmp_path) == "thread"
    assert selection.choose({**available, "thread": None}, tmp_path) == "linux"
    monkeypatch.setenv("CAIO_IMPL", "python")
    assert selection.choose(available, tmp_path) == "python"


FORBIDDEN = """
from aiovfs.testing.forbidden import IO_URING, forbid
forbid(IO_URING, 1)
from aiovfs.compat import caio
assert caio.linux_uring is None and caio.linux_uring_asyncio is None
assert caio.preferred is caio.linux_aio
"""


def test_where_io_uring_is_forbidden_kernel_aio_and_threads_remain(tmp_path: Path) -> None:
    if caio.linux_aio is None:
        pytest.skip("kernel AIO cannot be used here")
    program = PROGRAM.read_text().replace("from caio import", "from aiovfs.compat.caio import")
    done = run(FORBIDDEN + program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["b'Hello world'", "b'Hello from async world'"]


def test_without_the_parts_in_c_python_remains(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["aiovfs.compat.caio._contexts"] = None
from aiovfs.compat import caio
assert caio.linux_uring is caio.linux_aio is caio.thread_aio is None
assert caio.variants == (caio.python_aio,)
assert caio.AsyncioContext is caio.python_aio_asyncio.AsyncioContext
"""
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr


def test_errors_are_what_old_and_new_programs_catch() -> None:
    failed = operation_error(errno.ENOSPC, "write of descriptor 3")
    assert isinstance(failed, OSError)
    assert isinstance(failed, SystemError)
    assert failed.errno == errno.ENOSPC
    assert str(failed) == f"[Errno {errno.ENOSPC}] No space left on device: write of descriptor 3"
    refused = submission_error(errno.EBADF)
    assert isinstance(refused, ValueError)
    assert issubclass(SubmissionError, OperationError)


@pytest.mark.parametrize("variant", caio.variants, ids=lambda module: module.__name__.rpartition(".")[2])
def test_classes_are_registered_with_the_abstract_ones(variant: ModuleType) -> None:
    assert issubclass(variant.Context, caio.AbstractContext)
    assert issubclass(variant.Operation, caio.AbstractOperation)
