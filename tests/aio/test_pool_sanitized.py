"""The pool of threads under ThreadSanitizer and AddressSanitizer: the short form of tools/check_pool.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_sanitizers_have_nothing_to_say_about_the_pool() -> None:
    if not shutil.which("gcc"):
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail("CI must be able to build with sanitizers; install gcc", pytrace=False)
        pytest.skip("there is no C compiler; install gcc")
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "check_pool.py", "--rounds", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("every request ended once") == 2
