"""What pyfuse3's interface costs on ours: the same handlers behind `aiovfs.compat.pyfuse3` and behind `aiovfs.fuse`.

    python -m benchmarks.fuse_compat --quick
    python -m benchmarks.fuse_compat --repeats 5 --seconds 0.5

`servers/pyfuse3_server.py` is run unchanged on the shim (packaging/pyfuse3-shim) and on pyfuse3 itself;
`servers/aiovfs_server.py` is the same file system in our own words. The ratio that is printed is our own interface's
CPU per operation over the shim's: 1.0 would mean that the old interface costs nothing.

Every listing is one with attributes (READDIRPLUS), which is what pyfuse3 always sends; so ours is told to do that too.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks import rivals
from benchmarks.frame import ROOT, BenchmarkError, Results, Sample, Subject, format_number, mounted
from benchmarks.loadgen import OPERATIONS, run

SHIM = ROOT / "packaging" / "pyfuse3-shim" / "src"
LOOPS = ("asyncio", "trio")


def subjects(*, with_pyfuse3: bool) -> list[Subject]:
    """Our own interface, pyfuse3's on ours, and pyfuse3; each on both loops."""
    chosen = []
    for loop in LOOPS:
        native = (sys.executable, "-m", "benchmarks.servers.aiovfs_server", "{mountpoint}", loop, "readdirplus_auto=no")
        chosen.append(Subject(f"aiovfs {loop}", native))
        shim = (sys.executable, "-m", "benchmarks.servers.pyfuse3_server", "{mountpoint}", loop)
        chosen.append(Subject(f"shim {loop}", shim, {"PYTHONPATH": str(SHIM)}))
        if with_pyfuse3:
            theirs = (rivals.python(), "-m", "benchmarks.servers.pyfuse3_server", "{mountpoint}", loop)
            chosen.append(Subject(f"pyfuse3 {loop}", theirs, unavailable=rivals.unavailable("pyfuse3")))
    return chosen


def measure(results: Results, chosen: list[Subject], operations: list[str], options: argparse.Namespace) -> None:
    """Each repeat starts each server once and runs every operation on it."""
    for repeat in range(1, options.repeats + 1):
        for subject in chosen:
            try:
                with mounted(subject, cpu=options.cpu) as server:
                    for operation in operations:
                        sample = Sample(subject.name, operation, repeat)
                        try:
                            sample.figures = run(server, operation, options.seconds, cpu=options.cpu)
                        except BenchmarkError as error:
                            sample.failure = str(error)
                        results.add(sample)
            except BenchmarkError as error:
                for operation in operations:
                    results.add(Sample(subject.name, operation, repeat, failure=str(error)))


def ratios(results: Results) -> str:
    """CPU per operation, medians: our own interface's over the shim's, and pyfuse3's over the shim's."""
    lines = []
    for loop in LOOPS:
        for other in ("aiovfs", "pyfuse3"):
            parts = []
            for case in results.cases():
                cpu = [results.median(f"{name} {loop}", case, "server_cpu_us") for name in (other, "shim")]
                if all(cpu):
                    parts.append(f"{case} {format_number(cpu[0] / cpu[1])}")  # type: ignore[operator]
            if parts:
                lines.append(f"{loop}, {other} / shim: " + ", ".join(parts))
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print, save."""
    parser = argparse.ArgumentParser(description="The same handlers behind pyfuse3's interface and behind ours.")
    parser.add_argument("--quick", action="store_true", help="one repeat of 0.2 s: only shows that everything runs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="per operation and repeat")
    parser.add_argument("--cpu", type=int, default=min(os.sched_getaffinity(0)), help="the CPU of client and server")
    parser.add_argument("--no-pyfuse3", action="store_true", help="without pyfuse3 itself, which has to be compiled")
    parser.add_argument("--operations", default="", help=f"of {', '.join(OPERATIONS)}; by comma")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.seconds = 1, 0.2
    operations = [name for name in options.operations.split(",") if name] or list(OPERATIONS)
    if unknown := set(operations) - set(OPERATIONS):
        parser.error(f"unknown operation {', '.join(sorted(unknown))}; known are {', '.join(OPERATIONS)}")
    results = Results("fuse_compat", {k: v for k, v in vars(options).items() if k != "output"})
    measure(results, subjects(with_pyfuse3=not options.no_pyfuse3), operations, options)
    print("\nCPU µs per operation of the server; medians\n")
    print(results.table(["server_cpu_us"]))
    print(f"\n{ratios(results)}\n\nwritten to {results.save(options.output)}")


if __name__ == "__main__":
    main()
