"""What the drivers of `aio` share: a file, and samples of `aio_reader` taken in turn, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import rivals
from benchmarks.frame import ROOT, Results, Sample, format_number

__all__ = ["Case", "Library", "arguments", "data_file", "ratios", "run"]

READER = Path(__file__).parent / "aio_reader.py"
TIMEOUT = 60.0


@dataclass(frozen=True)
class Library:
    """One column: its name, how `aio_reader` calls it, and the module it needs when it is a rival's."""

    name: str
    spec: str
    rival: str | None = None

    def interpreter(self) -> str:
        return rivals.python() if self.rival else sys.executable

    def unavailable(self) -> str | None:
        return rivals.unavailable(self.rival) if self.rival else None


@dataclass(frozen=True)
class Case:
    """One row."""

    name: str
    case: str
    depth: int


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one short repeat: only shows that everything runs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6, help="of each sample")
    parser.add_argument("--size", type=int, default=256, help="MiB of the file")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="where the file is made")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    return parser


@contextmanager
def data_file(directory: Path, mebibytes: int) -> Iterator[Path]:
    """A file of random bytes on a real disk, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="aiovfs-benchmark-", dir=directory) as place:
        path = Path(place, "data")
        with path.open("wb") as file:
            for _ in range(mebibytes):
                file.write(os.urandom(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        yield path


def sample(library: Library, case: Case, repeat: int, path: Path, seconds: float, prefix: Sequence[str]) -> Sample:
    if reason := library.unavailable():
        return Sample(library.name, case.name, repeat, failure=reason)
    command = [*prefix, library.interpreter(), str(READER), library.spec, case.case, str(case.depth), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src") if not library.rival else ""}
    done = subprocess.run(
        [*command, str(path)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT + seconds,
    )
    if done.returncode or not done.stdout.strip():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
        return Sample(library.name, case.name, repeat, failure=lines[-1])
    return Sample(library.name, case.name, repeat, json.loads(done.stdout.splitlines()[-1]))


def run(
    driver: str,
    options: argparse.Namespace,
    libraries: Sequence[Library],
    cases: Sequence[Case],
    *,
    prefix: Sequence[str] = (),
) -> Results:
    """Every case with every library, in turn, forwards and backwards. `prefix` is put before each command."""
    results = Results(driver, {key: str(value) for key, value in vars(options).items() if key != "output"})
    with data_file(options.directory, options.size) as path:
        for repeat in range(1, options.repeats + 1):
            for case in cases:
                for library in libraries if repeat % 2 else list(reversed(libraries)):
                    results.add(sample(library, case, repeat, path, options.seconds, prefix))
    return results


def ratios(results: Results, ours: str, goals: Mapping[str, Sequence[str]]) -> str:
    """Ours over each rival's: reads a second, and reads a CPU second, by case."""
    lines = []
    for case, others in goals.items():
        for rival in others:
            speed = [results.median(name, case, "k_ops") for name in (ours, rival)]
            cpu = [results.median(name, case, "cpu_us") for name in (rival, ours)]
            if all(speed) and all(cpu):
                lines.append(
                    f"{case}: {ours} makes {format_number(speed[0] / speed[1])} times the reads of {rival}, "  # type: ignore[operator]
                    f"{format_number(cpu[0] / cpu[1])} times as many for a second of CPU"  # type: ignore[operator]
                )
    return "\n".join(lines)
