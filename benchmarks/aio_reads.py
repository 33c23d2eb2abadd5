"""Random 4 KiB reads with io_uring: ours beside other libraries, blocking calls and fio, on asyncio, uvloop and Trio.

    python -m benchmarks.aio_reads --quick
    python -m benchmarks.aio_reads --output benchmarks/results/aio_reads-NAME.json

fio's engine is io_uring with its defaults; its CPU figure leaves out the kernel's worker threads. Install it with
`apt-get install fio`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

from benchmarks.aio_frame import Case, Library, arguments, data_file, ratios, sample
from benchmarks.frame import Results, Sample

LIBRARIES = (
    Library("aiovfs", "aiovfs"),
    Library("aiovfs uvloop", "aiovfs@uvloop"),
    Library("aiovfs Trio", "trio:aiovfs"),
    Library("os.pread", "pread"),
    Library("caio", "caio", "caio"),
    Library("py-asyncfiles", "asyncfiles", "asyncfiles"),
    Library("ayafileio", "ayafileio", "ayafileio"),
    Library("aiofiles", "aiofiles", "aiofiles"),
    Library("anyio", "anyio"),
    Library("trio.open_file", "trio:open_file"),
)
CASES = (
    Case("cached QD1", "cached", 1),
    Case("cached QD64", "cached", 64),
    Case("cold QD1", "cold", 1),
    Case("cold QD64", "cold", 64),
    Case("cached QD32 with a timer", "timer", 32),
)
TIMED = CASES[4].name


def fio(case: Case, repeat: int, path: Path, seconds: float) -> Sample:
    """The same reads by fio's io_uring engine."""
    name = "fio io_uring"
    program = shutil.which("fio")
    if program is None:
        return Sample(name, case.name, repeat, failure="fio is not installed")
    command = [program, "--name=reads", f"--filename={path}", "--rw=randread", "--bs=4k", "--ioengine=io_uring"]
    command += [f"--iodepth={case.depth}", f"--runtime={max(1, round(seconds))}", "--time_based", "--readonly"]
    command += [f"--invalidate={int(case.case == 'cold')}", "--output-format=json", "--fadvise_hint=random"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return Sample(name, case.name, repeat, failure=done.stderr.strip().splitlines()[-1])
    (job,) = json.loads(done.stdout)["jobs"]
    iops = job["read"]["iops"]
    cpu = (job["usr_cpu"] + job["sys_cpu"]) / 100 / iops * 1e6
    return Sample(name, case.name, repeat, {"k_ops": iops / 1000, "cpu_us": cpu})


def measure(options: argparse.Namespace) -> Results:
    """Every case with every library, in turn, forwards and backwards."""
    results = Results("aio_reads", {key: str(value) for key, value in vars(options).items() if key != "output"})
    with data_file(options.directory, options.size) as path:
        for repeat in range(1, options.repeats + 1):
            for case in CASES:
                for library in LIBRARIES if repeat % 2 else list(reversed(LIBRARIES)):
                    if case.name != TIMED or not library.spec.startswith("trio:"):
                        results.add(sample(library, case, repeat, path, options.seconds, ()))
                if case.name != TIMED:
                    results.add(fio(case, repeat, path, options.seconds))
    return results


def main() -> None:
    """Parse, measure, print, save."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    if options.quick:
        options.repeats, options.seconds, options.size = 1, 0.3, 64
    results = measure(options)
    print("\nthousand reads a second · CPU µs a read; medians\n")
    print(results.table(["k_ops", "cpu_us"], cases=[case.name for case in CASES]))
    print("\nhow late a timer of 1 ms is, ms: p50 · p99, and how often it ran\n")
    print(results.table(["late_p50_ms", "late_p99_ms", "ticks"], cases=[TIMED]))
    rivals = [library.name for library in LIBRARIES[3:9]] + ["fio io_uring"]
    print("\n" + ratios(results, "aiovfs", {case.name: rivals for case in CASES[:4]}))
    print(ratios(results, "aiovfs Trio", {case.name: ["trio.open_file"] for case in CASES[:4]}))
    print(f"\nwritten to {results.save(options.output)}")


if __name__ == "__main__":
    main()
