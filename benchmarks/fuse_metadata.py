"""What one FUSE request costs: metadata and small I/O in memory, ours against pyfuse3, mfusepy and libfuse in C.

    python -m benchmarks.fuse_metadata --quick
    python -m benchmarks.fuse_metadata --repeats 5 --seconds 0.5 --clients 1

All servers serve the same name space (servers/namespace.py) with all time-outs 0, so that each operation reaches the
server: stat = LOOKUP + GETATTR, open_close = LOOKUP, OPEN, FLUSH, RELEASE, and so on. Client and server share one CPU
by default: that measures work; with two CPUs a virtual machine measures its wake-ups.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks import rivals
from benchmarks.frame import BenchmarkError, Results, Sample, Subject, format_number, mounted
from benchmarks.loadgen import OPERATIONS, run
from benchmarks.native import compiled, flags_of


def subjects(*, pure: bool) -> list[Subject]:
    """Ours on each loop, then the rivals."""
    environment = {"AIOVFS_PURE": "1"} if pure else {}
    server = (sys.executable, "-m", "benchmarks.servers.aiovfs_server", "{mountpoint}")
    ours = [Subject(f"aiovfs {loop}", (*server, loop), environment) for loop in ("asyncio", "uvloop", "trio")]
    python = rivals.python()
    theirs = [
        Subject(
            f"pyfuse3 {loop}",
            (python, "-m", "benchmarks.servers.pyfuse3_server", "{mountpoint}", loop),
            unavailable=rivals.unavailable("pyfuse3"),
        )
        for loop in ("asyncio", "trio")
    ]
    mfusepy = Subject(
        "mfusepy",
        (python, "-m", "benchmarks.servers.mfusepy_server", "{mountpoint}"),
        unavailable=rivals.unavailable("mfusepy"),
    )
    return [*ours, *theirs, mfusepy, libfuse()]


def libfuse() -> Subject:
    """libfuse's own low-level interface, in C: not a rival, but what there is to reach."""
    flags = flags_of("fuse3")
    if flags is None:
        return Subject("libfuse C", (), unavailable="libfuse 3's headers or pkg-config are not installed")
    program = compiled("libfuse_server", *flags)
    return Subject("libfuse C", (str(program), "{mountpoint}"), unavailable=None if program else "no C compiler")


def measure(results: Results, chosen: list[Subject], operations: list[str], options: argparse.Namespace) -> None:
    """Each repeat starts each server once and runs every operation on it."""
    cpu = None if options.free else options.cpu
    for repeat in range(1, options.repeats + 1):
        for subject in chosen:
            try:
                with mounted(subject, cpu=cpu) as server:
                    for operation in operations:
                        sample = Sample(subject.name, operation, repeat)
                        try:
                            sample.figures = run(server, operation, options.seconds, clients=options.clients, cpu=cpu)
                        except BenchmarkError as error:
                            sample.failure = str(error)
                        results.add(sample)
            except BenchmarkError as error:
                for operation in operations:
                    results.add(Sample(subject.name, operation, repeat, failure=str(error)))


def ratios(results: Results) -> str:
    """How many times the operations a second of the others we do, and how many times our CPU each of theirs takes."""
    lines = []
    for ours, theirs in (
        ("aiovfs asyncio", "pyfuse3 asyncio"),
        ("aiovfs uvloop", "pyfuse3 asyncio"),
        ("aiovfs trio", "pyfuse3 trio"),
        ("aiovfs asyncio", "libfuse C"),
    ):
        parts = []
        for case in results.cases():
            pair = [results.median(name, case, figure) for figure in ("us", "server_cpu_us") for name in (theirs, ours)]
            if all(pair):
                speed, cpu = pair[0] / pair[1], pair[2] / pair[3]  # type: ignore[operator]
                parts.append(f"{case} {format_number(speed)} ({format_number(cpu)})")
        if parts:
            lines.append(f"{ours} / {theirs}: " + ", ".join(parts))
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print, save."""
    parser = argparse.ArgumentParser(description="Metadata and small I/O: ours against pyfuse3 and mfusepy.")
    parser.add_argument("--quick", action="store_true", help="one repeat of 0.2 s: only shows that everything runs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="per operation and repeat")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--cpu", type=int, default=min(os.sched_getaffinity(0)), help="the CPU of client and server")
    parser.add_argument("--free", action="store_true", help="do not pin anything (for several clients)")
    parser.add_argument("--pure", action="store_true", help="ours without native code (AIOVFS_PURE=1)")
    parser.add_argument("--subjects", default="", help="only those whose name contains one of these words, by comma")
    parser.add_argument("--operations", default="", help=f"of {', '.join(OPERATIONS)}; by comma")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.seconds = 1, 0.2
    words = [word for word in options.subjects.split(",") if word]
    chosen = [s for s in subjects(pure=options.pure) if not words or any(word in s.name for word in words)]
    operations = [name for name in options.operations.split(",") if name] or list(OPERATIONS)
    if unknown := set(operations) - set(OPERATIONS):
        parser.error(f"unknown operation {', '.join(sorted(unknown))}; known are {', '.join(OPERATIONS)}")
    results = Results("fuse_metadata", {k: v for k, v in vars(options).items() if k != "output"})
    measure(results, chosen, operations, options)
    print("\nµs per operation seen by the client · CPU µs per operation of the server; medians\n")
    print(results.table(["us", "server_cpu_us"]))
    if text := ratios(results):
        print(f"\noperations a second, ours / theirs (CPU per operation, theirs / ours)\n{text}")
    print(f"\nwritten to {results.save(options.output)}")


if __name__ == "__main__":
    main()
