"""The import contracts of pyproject.toml hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_layers_import_only_what_is_below_them() -> None:
    pytest.importorskip("importlinter", reason="import-linter is not installed (extra dev)")
    root = Path(__file__).parents[2]
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
