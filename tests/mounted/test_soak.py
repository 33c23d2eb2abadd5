"""The short form of tools/soak.py: nothing of a mount or a request stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/soak.py"


@pytest.mark.parametrize(("pure", "loops"), [("0", "asyncio,trio"), ("1", "asyncio")], ids=["native", "python"])
def test_serving_uses_nothing_up(pure: str, loops: str) -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse is not there or may not be opened")
    command = [sys.executable, str(TOOL), "--requests", "15000", "--cycles", "12", "--loops", loops]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=55, env=os.environ | {"AIOVFS_PURE": pure}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("nothing grew\n")
