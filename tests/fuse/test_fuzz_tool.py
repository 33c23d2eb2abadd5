"""The fuzzer in short: a few thousand inputs by chance. tools/fuzz_fuse.py has the long runs, guided by coverage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aiovfs.fuse import core

TOOL = Path(__file__).parents[2] / "tools" / "fuzz_fuse.py"


@pytest.mark.parametrize("seed", [1, 2])
def test_no_bytes_make_the_cores_crash_or_disagree(seed: int) -> None:
    command = [sys.executable, str(TOOL), "--plain", "--inputs", "1500", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    cores = 1 if core.NATIVE is None else 2
    assert done.stdout == f"1500 inputs, {cores} cores: nothing is wrong\n"


def test_a_crash_file_can_be_replayed(tmp_path: Path) -> None:
    (tmp_path / "crash").write_bytes(b"\x30\0\0\0\2\0\0\0" + bytes(40))
    command = [sys.executable, str(TOOL), "--replay", str(tmp_path / "crash")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/crash: nothing is wrong\n"), done.stderr
