"""The virtual environment that the rivals live in, and what is installed there.

Rivals never share an environment with aiovfs: their dependencies must not decide ours, and a rival that does not
install must cost one column of a table, not the whole run. Packages are therefore installed one by one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path

__all__ = ["ENVIRONMENT", "REQUIREMENTS", "python", "tool", "unavailable", "versions"]

ENVIRONMENT = Path(__file__).parent / ".venv-rivals"
REQUIREMENTS = Path(__file__).parent / "rivals.txt"


def requirements() -> list[str]:
    """The lines of rivals.txt without comments."""
    lines = (line.split("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    return [line for line in lines if line]


@cache
def install() -> dict[str, str]:
    """Make the environment unless it was made from these requirements; what could not be installed, and why."""
    stamp = ENVIRONMENT / "installed.json"
    wanted = requirements()
    if stamp.exists():
        made = json.loads(stamp.read_text())
        if made["requirements"] == wanted:
            known: dict[str, str] = made["failures"]
            return known
    print(f"making {ENVIRONMENT} …", file=sys.stderr)
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    failures: dict[str, str] = {}
    for requirement in wanted:
        command = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "install", "--quiet", requirement]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if line.strip()] or ["pip said nothing"]
            failures[requirement] = next((line for line in lines if "error" in line.lower()), lines[-1]).strip()
            print(f"  {requirement}: {failures[requirement]}", file=sys.stderr)
    stamp.write_text(json.dumps({"requirements": wanted, "failures": failures}))
    return failures


def python() -> str:
    """The interpreter that has the rivals installed."""
    install()
    return str(ENVIRONMENT / "bin/python")


def tool(name: str) -> Path | None:
    """A program that a rival's package installed, such as rclone; None when it is not there."""
    install()
    path = ENVIRONMENT / "bin" / name
    return path if path.exists() else None


@cache
def unavailable(module: str) -> str | None:
    """Why `module` cannot be imported in the rivals' environment; None when it can."""
    result = subprocess.run([python(), "-c", f"import {module}"], capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return None
    lines = result.stderr.strip().splitlines()
    return lines[-1] if lines else f"importing {module} ended with status {result.returncode}"


@cache
def versions() -> dict[str, str]:
    """Name and version of each package in the rivals' environment."""
    result = subprocess.run(
        [python(), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    pairs = (line.split("==", 1) for line in result.stdout.splitlines() if "==" in line)
    return {name.lower(): version for name, version in pairs}


if __name__ == "__main__":
    for name, version in versions().items():
        print(f"{name} {version}")
    sys.exit(1 if install() else 0)
