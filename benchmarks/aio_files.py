"""Files and paths of `aio`, and aiofiles' names on it, beside aiofiles and anyio.

python -m benchmarks.aio_files --quick
python -m benchmarks.aio_files --output benchmarks/results/aio_files-NAME.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import rivals
from benchmarks.frame import ROOT, Results, Sample

PROGRAM = Path(__file__).parent / "aio_files_program.py"
LIBRARIES = ("aiovfs", "compat", "aiofiles", "anyio")
CASES = ("lines", "writes", "small", "stat", "durable")


def sample(library: str, case: str, repeat: int, seconds: float, directory: str) -> Sample:
    """One library, one case, in a process of its own."""
    is_rival = library == "aiofiles"
    if is_rival and (reason := rivals.unavailable("aiofiles")):
        return Sample(library, case, repeat, failure=reason)
    command = [rivals.python() if is_rival else sys.executable, str(PROGRAM), library, case, str(seconds), directory]
    environment = {**os.environ, "PYTHONPATH": "" if is_rival else str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        return Sample(library, case, repeat, failure=done.stderr.strip().splitlines()[-1])
    return Sample(library, case, repeat, json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Parse, measure in turn, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short repeat: only shows that everything runs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6, help="of each sample")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="where the files are made")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.seconds = 1, 0.1
    results = Results("aio_files", {key: str(value) for key, value in vars(options).items() if key != "output"})
    with tempfile.TemporaryDirectory(prefix="aiovfs-benchmark-", dir=options.directory) as directory:
        for repeat in range(1, options.repeats + 1):
            for case in CASES:
                for library in LIBRARIES if repeat % 2 else reversed(LIBRARIES):
                    results.add(sample(library, case, repeat, options.seconds, directory))
    print("\nthousand lines, writes, files, attributes or replacements a second · CPU µs each; medians\n")
    print(results.table(["k_ops", "cpu_us"], cases=CASES))
    print(f"\nwritten to {results.save(options.output)}")


if __name__ == "__main__":
    main()
