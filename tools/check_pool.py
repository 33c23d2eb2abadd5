"""Build the pool of threads with ThreadSanitizer, then with AddressSanitizer, and put load on it.

    python tools/check_pool.py                # some minutes
    python tools/check_pool.py --rounds 3     # the short form, which the tests run

Needs gcc or clang with the sanitizers' libraries. Ends with status 1 when a sanitizer has something to say, or a
request did not end exactly once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SANITIZERS = ("thread", "address,undefined")


def check(sanitizer: str, rounds: int, compiler: str, directory: Path) -> str | None:
    """What is wrong, or None."""
    program = directory / f"pool_stress-{sanitizer.split(',')[0]}"
    command = [compiler, "-std=gnu11", "-g", "-O1", f"-fsanitize={sanitizer}", "-Wall", "-Wextra", "-pthread"]
    built = subprocess.run(
        [*command, "-Wno-unused-function", "-I", ROOT / "src", "-o", program, ROOT / "tools" / "pool_stress.c"],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode or built.stderr.strip():
        return f"building: {built.stderr.strip()}"
    data = directory / "data"
    data.write_bytes(b"x" * 65536)
    # Sanitizers lay out memory themselves; some of their versions do not cope with how far kernels randomise it today.
    unrandomised = [setarch, "-R"] if (setarch := shutil.which("setarch")) else []
    run = subprocess.run(
        [*unrandomised, program, str(rounds), data],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1:exitcode=66", "ASAN_OPTIONS": "detect_leaks=0"},
    )
    if run.returncode or "WARNING" in run.stderr or "ERROR" in run.stderr:
        return f"status {run.returncode}: {run.stderr.strip()[:6000]}"
    print(f"{sanitizer}: {run.stdout.strip()}")
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        print("there is no C compiler; install gcc", file=sys.stderr)
        return 1
    failed = 0
    with tempfile.TemporaryDirectory(prefix="aiovfs-pool-") as directory:
        for sanitizer in SANITIZERS:
            if wrong := check(sanitizer, options.rounds, compiler, Path(directory)):
                print(f"{sanitizer}: {wrong}", file=sys.stderr)
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
