"""The short form of `tools/cancel_reads.py`: cancelled in the middle, nothing is lost, leaked or freed early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "tools" / "cancel_reads.py"


@pytest.mark.parametrize("engine", ["uring", "pool"])
def test_cancelled_operations_leave_nothing_behind(engine: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--count", "4000"],
        env={**os.environ, "AIOVFS_ENGINE": engine},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["cancelled"] >= 4000
    assert seen["descriptors"] == 0
    assert seen["threads"] <= 0
