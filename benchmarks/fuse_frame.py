"""What the drivers of FUSE sessions share: their subjects, how one is measured, and the comparison at the end."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import rivals
from benchmarks.frame import BenchmarkError, Results, Sample, Subject, format_number, mounted
from benchmarks.loadgen import run
from benchmarks.native import compiled, flags_of

__all__ = ["PAIRS", "Case", "drive", "subjects"]

PAIRS = (
    ("aiovfs asyncio", "pyfuse3 asyncio"),
    ("aiovfs uvloop", "pyfuse3 asyncio"),
    ("aiovfs trio", "pyfuse3 trio"),
    ("aiovfs asyncio", "libfuse C"),
    ("aiovfs uvloop", "libfuse C"),
    ("aiovfs trio", "libfuse C"),
)


@dataclass(frozen=True)
class Case:
    """One operation of the load generator, by so many programs at a time; None: as many as --clients says."""

    name: str
    operation: str
    clients: int | None = None


def subjects(*, pure: bool, environment: Mapping[str, str] | None = None) -> list[Subject]:
    """Ours on each loop, then the rivals; `environment` tells all the servers in Python what to do."""
    told = dict(environment or {})
    server = (sys.executable, "-m", "benchmarks.servers.aiovfs_server", "{mountpoint}")
    ours = told | ({"AIOVFS_PURE": "1"} if pure else {})
    python = rivals.python()
    return [
        *(Subject(f"aiovfs {loop}", (*server, loop), ours) for loop in ("asyncio", "uvloop", "trio")),
        *(
            Subject(
                f"pyfuse3 {loop}",
                (python, "-m", "benchmarks.servers.pyfuse3_server", "{mountpoint}", loop),
                told,
                unavailable=rivals.unavailable("pyfuse3"),
            )
            for loop in ("asyncio", "trio")
        ),
        Subject(
            "mfusepy",
            (python, "-m", "benchmarks.servers.mfusepy_server", "{mountpoint}"),
            told,
            unavailable=rivals.unavailable("mfusepy"),
        ),
        libfuse(),
    ]


def libfuse() -> Subject:
    """libfuse's own low-level interface, in C: not a rival, but what there is to reach."""
    flags = flags_of("fuse3")
    if flags is None:
        return Subject("libfuse C", (), unavailable="libfuse 3's headers or pkg-config are not installed")
    program = compiled("libfuse_server", *flags)
    return Subject("libfuse C", (str(program), "{mountpoint}"), unavailable=None if program else "no C compiler")


def spinning(subject: Subject, microseconds: int) -> Subject:
    """One of ours that looks for requests for so long before it goes back to its loop."""
    environment = {**subject.environment, "BENCHMARK_SPIN": str(microseconds)}
    return Subject(f"{subject.name} spin", subject.command, environment)


def measure(results: Results, chosen: Sequence[Subject], cases: Sequence[Case], options: argparse.Namespace) -> None:
    """Each repeat starts each server once and runs every case on it."""
    cpu = None if options.free else options.cpu
    others = sorted(os.sched_getaffinity(0) - {options.cpu})
    if options.across and not others:
        raise BenchmarkError("--across needs two CPUs")
    server_cpu = others[0] if options.across else cpu
    for repeat in range(1, options.repeats + 1):
        for subject in chosen:
            try:
                with mounted(subject, cpu=server_cpu) as server:
                    for case in cases:
                        sample = Sample(subject.name, case.name, repeat)
                        clients = case.clients or options.clients
                        try:
                            sample.figures = run(server, case.operation, options.seconds, clients=clients, cpu=cpu)
                        except BenchmarkError as error:
                            sample.failure = str(error)
                        results.add(sample)
            except BenchmarkError as error:
                for case in cases:
                    results.add(Sample(subject.name, case.name, repeat, failure=str(error)))


def ratios(results: Results, pairs: Sequence[tuple[str, str]], cpu: str) -> str:
    """How many times the operations a second of the others we do, and how many times our CPU each of theirs takes."""
    lines = []
    for ours, theirs in pairs:
        parts = []
        for case in results.cases():
            values = [results.median(name, case, figure) for figure in ("us", cpu) for name in (theirs, ours)]
            if values[0] and values[1]:
                part = f"{case} {format_number(values[0] / values[1])}"
                if values[2] and values[3]:
                    part += f" ({format_number(values[2] / values[3])})"
                parts.append(part)
        if parts:
            lines.append(f"{ours} / {theirs}: " + ", ".join(parts))
    return "\n".join(lines)


def drive(
    name: str,
    description: str,
    cases: Sequence[Case],
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    environment: Mapping[str, str] | None = None,
    all_subjects: Sequence[Subject] | None = None,
    cpu: str = "server_cpu_us",
) -> None:
    """Parse, measure, print, save. `cpu` is the figure that is compared beside the time."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one repeat of 0.2 s: only shows that everything runs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="per operation and repeat")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--cpu", type=int, default=min(os.sched_getaffinity(0)), help="the CPU of client and server")
    parser.add_argument("--free", action="store_true", help="do not pin anything (for several clients)")
    parser.add_argument("--across", action="store_true", help="client and server on two CPUs")
    parser.add_argument("--spin", type=int, default=0, help="µs: ours with the option spin as well, as other subjects")
    parser.add_argument("--pure", action="store_true", help="ours without native code (AIOVFS_PURE=1)")
    parser.add_argument("--subjects", default="", help="only those whose name contains one of these words, by comma")
    parser.add_argument("--operations", default="", help=f"of {', '.join(case.name for case in cases)}; by comma")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.seconds = 1, 0.2
    words = [word for word in options.subjects.split(",") if word]
    every = subjects(pure=options.pure, environment=environment) if all_subjects is None else all_subjects
    if options.spin:
        every = [*every, *(spinning(subject, options.spin) for subject in every if subject.name.startswith("aiovfs"))]
    chosen = [subject for subject in every if not words or any(word in subject.name for word in words)]
    wanted = [word for word in options.operations.split(",") if word] or [case.name for case in cases]
    if unknown := set(wanted) - {case.name for case in cases}:
        parser.error(f"unknown operation {', '.join(sorted(unknown))}")
    results = Results(name, {k: v for k, v in vars(options).items() if k != "output"})
    measure(results, chosen, [case for case in cases if case.name in wanted], options)
    figures = ["us", "server_cpu_us", *([] if cpu == "server_cpu_us" else [cpu])]
    print(f"\nper operation: µs that the client sees · {' · '.join(figures[1:])}; medians\n")
    print(results.table(figures))
    if text := ratios(results, pairs, cpu):
        print(f"\noperations a second, ours / theirs ({cpu}, theirs / ours)\n{text}")
    print(f"\nwritten to {results.save(options.output)}")
