"""What every driver does: start a server, measure it in turn with the others, take medians, print and keep the results.

A driver names its *subjects* (what is compared) and its *cases* (what is done to each) and takes *samples*. Samples of
all subjects are taken in turn, A B C A B C, each from a server process that was started for it: a machine that gets
slower or faster for a minute then changes all columns alike, and no server profits from what an earlier case left.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine

__all__ = [
    "BenchmarkError",
    "Mounted",
    "Results",
    "Sample",
    "Subject",
    "cpu_time_ns",
    "format_number",
    "is_mountpoint",
    "mounted",
    "pinned",
    "unmount",
]

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0


class BenchmarkError(Exception):
    """A subject could not be started, or failed at a case. The text goes into the results."""


@dataclass(frozen=True)
class Subject:
    """One thing that is compared. The process stays in the foreground.

    `{mountpoint}` and `{scratch}` (an empty directory, removed afterwards) are replaced in the command and environment.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Added to our environment; None removes a variable."""
    unavailable: str | None = None
    """Why it cannot run here. It is then reported as failed with this reason, not left out."""


@dataclass
class Sample:
    """One measurement of one case: named figures, or why there are none."""

    subject: str
    case: str
    repeat: int
    figures: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


def cpu_time_ns(pid: int) -> int:
    """CPU time that process `pid` has used so far, all threads, in nanoseconds.

    This is the process CPU clock of clock_getcpuclockid(3), whose number Linux derives from the pid.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Processes started in here run on `cpu` only; None: anywhere."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Mounted:
    """A running server and the directory it serves."""

    subject: Subject
    mountpoint: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The process that answers the kernel."""
        return self.process.pid

    def cpu_time_ns(self) -> int:
        """CPU time of the server so far."""
        return cpu_time_ns(self.pid)

    def complain(self, what: str) -> BenchmarkError:
        """An error that quotes the last line the server wrote."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return BenchmarkError(f"{what}: {lines[-1].strip()}" if lines else what)


def is_mountpoint(directory: Path) -> bool:
    """Whether something is mounted there; asks the kernel's table, never the file system itself."""
    wanted = str(directory).encode()
    return any(line.split()[4] == wanted for line in Path("/proc/self/mountinfo").read_bytes().splitlines())


def unmount(directory: Path) -> None:
    """Unmount `directory` whoever serves it; lazily when it is busy. Nothing when nothing is mounted there."""
    for options in ((), ("-l",)):
        if not is_mountpoint(directory):
            return
        command = ["umount", *options] if os.getuid() == 0 else ["fusermount3", "-u", *("-z" for _ in options)]
        subprocess.run([*command, str(directory)], capture_output=True, check=False)


@contextmanager
def mounted(subject: Subject, *, cpu: int | None = None) -> Iterator[Mounted]:
    """Start the subject's server on a new directory; wait until it answers; stop it whatever happens."""
    if subject.unavailable:
        raise BenchmarkError(subject.unavailable)
    environment = dict(os.environ)
    for name, value in subject.environment.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    with tempfile.TemporaryDirectory(prefix="aiovfs-benchmark-") as scratch:
        mountpoint = Path(scratch, "mnt")
        mountpoint.mkdir()
        log = Path(scratch, "log")

        def fill_in(text: str) -> str:
            return text.replace("{mountpoint}", str(mountpoint)).replace("{scratch}", scratch)

        environment = {name: fill_in(value) for name, value in environment.items()}
        command = [fill_in(part) for part in subject.command]
        with pinned(cpu), log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        server = Mounted(subject, mountpoint, process, log)
        try:
            wait_until_served(server)
            yield server
        finally:
            stop(server)


def wait_until_served(server: Mounted) -> None:
    """Return when the directory is a mount that answers; raise when the process ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while not is_mountpoint(server.mountpoint):
        if (status := server.process.poll()) is not None:
            raise server.complain(f"ended with status {status} before it was mounted")
        if time.monotonic() > deadline:
            raise server.complain(f"was not mounted within {START_TIMEOUT:.0f} s")
        time.sleep(0.01)
    # In a process of its own: a server that never answers must not hang the benchmark.
    probe = subprocess.Popen(
        ["stat", "-f", str(server.mountpoint)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        probe.wait(START_TIMEOUT)
    except subprocess.TimeoutExpired:
        probe.kill()
        raise server.complain("is mounted but does not answer") from None


def stop(server: Mounted) -> None:
    """Unmount and wait for the process; kill it when it does not end."""
    unmount(server.mountpoint)
    try:
        server.process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.process.send_signal(signal.SIGTERM)
        try:
            server.process.wait(2)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
    unmount(server.mountpoint)


def format_number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


class Results:
    """The samples of one run, their medians, and where they go."""

    def __init__(self, driver: str, settings: Mapping[str, Any]) -> None:
        self.driver = driver
        self.settings = dict(settings)
        self.facts = machine.facts()
        self.samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Keep a sample, and show on the terminal that work goes on."""
        self.samples.append(sample)
        shown = sample.failure or "  ".join(f"{name} {format_number(value)}" for name, value in sample.figures.items())
        print(f"[{sample.repeat}] {sample.case:<16} {sample.subject:<22} {shown}", file=sys.stderr, flush=True)

    def subjects(self) -> list[str]:
        """Names of subjects in the order they were first measured."""
        return list(dict.fromkeys(sample.subject for sample in self.samples))

    def cases(self) -> list[str]:
        """Names of cases in the order they were first measured."""
        return list(dict.fromkeys(sample.case for sample in self.samples))

    def median(self, subject: str, case: str, figure: str) -> float | None:
        """Median over the repeats that succeeded; None when none did."""
        values = [
            sample.figures[figure]
            for sample in self.samples
            if sample.subject == subject and sample.case == case and figure in sample.figures
        ]
        return statistics.median(values) if values else None

    def failure(self, subject: str, case: str) -> str | None:
        """Why a case has no figure; None when it has one."""
        failures = [s.failure for s in self.samples if s.subject == subject and s.case == case and s.failure]
        return failures[-1] if failures else None

    def table(self, figures: Sequence[str], *, cases: Iterable[str] | None = None) -> str:
        """A Markdown table, cases down and subjects across; cells hold the named figures, joined by a middle dot."""
        cases = list(self.cases() if cases is None else cases)
        subjects = list(dict.fromkeys(sample.subject for sample in self.samples if sample.case in cases))
        rows = [["case", *subjects], ["---"] * (len(subjects) + 1)]
        notes: list[str] = []
        for case in cases:
            row = [case]
            for subject in subjects:
                values = [self.median(subject, case, figure) for figure in figures]
                known = [format_number(value) if value is not None else "–" for value in values]
                failure = self.failure(subject, case)
                if any(value is not None for value in values):
                    row.append(" · ".join(known))
                elif failure:
                    if failure not in notes:
                        notes.append(failure)
                    row.append(f"failed ({notes.index(failure) + 1})")
                else:
                    row.append("–")
            rows.append(row)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
        ]
        lines += ["", *(f"({number}) {note}" for number, note in enumerate(notes, 1))] if notes else []
        return "\n".join(lines)

    def save(self, path: Path | None = None) -> Path:
        """Write everything as JSON: facts, settings, medians, and each sample."""
        self.facts["load_average_after"] = [round(load, 2) for load in os.getloadavg()]
        if path is None:
            stamp = str(self.facts["date"])[:16].replace(":", "").replace("-", "")
            path = RESULTS / f"{self.driver}-{stamp}.local.json"
        figures = sorted({name for sample in self.samples for name in sample.figures})
        medians: dict[str, dict[str, dict[str, Any]]] = {
            case: {
                subject: {name: value for name in figures if (value := self.median(subject, case, name)) is not None}
                or {"failure": self.failure(subject, case)}
                for subject in self.subjects()
            }
            for case in self.cases()
        }
        document = {
            "driver": self.driver,
            "machine": self.facts,
            "settings": self.settings,
            "medians": medians,
            "samples": [sample.__dict__ for sample in self.samples],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return path
