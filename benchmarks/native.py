"""The small C programs of the benchmarks: compiled on first use, kept until their source changes."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

__all__ = ["compiled", "flags_of"]

HERE = Path(__file__).parent
BUILD = HERE / "build"


@cache
def flags_of(package: str) -> tuple[str, ...] | None:
    """How to compile with a C library; None when its headers (or pkg-config) are not installed."""
    try:
        result = subprocess.run(
            ["pkg-config", "--cflags", "--libs", package], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(result.stdout.split())


@cache
def compiled(name: str, *flags: str) -> Path | None:
    """The program made from `name`.c beside this file; None without a C compiler."""
    source, program = HERE / f"{name}.c", BUILD / name
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    BUILD.mkdir(exist_ok=True)
    subprocess.run([compiler, "-O2", "-Wall", "-pthread", "-o", program, source, *flags], check=True)
    return program
