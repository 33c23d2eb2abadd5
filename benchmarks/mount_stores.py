"""What a mounted store feels like: S3 and HTTP mounted by aiovfs, by rclone and by fsspec.fuse.

    python -m benchmarks.mount_stores --quick
    python -m benchmarks.mount_stores --repeats 3 --delay-ms 20 --store s3

Every case starts from a fresh mount with an empty cache (`read again` follows `read cold` on the same mount). Beside
the time it took: CPU seconds of the mount process, megabytes that came from the server, and requests. A rival that
cannot do a case is listed with what it said.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import rivals
from benchmarks.frame import ROOT, BenchmarkError, Mounted, Results, Sample, Subject, mounted
from benchmarks.stores import BUCKET, Link, Sizes, Stores, serving

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_REGION": "us-east-1"}
CASE_TIMEOUT = 180.0
DURABLE_TIMEOUT = 90.0
QUICK = Sizes(big=32 << 20, tree_directories=5, tree_files=40, small_files=20, written=8 << 20, archive_files=40)


def s3_subjects(stores: Stores) -> list[Subject]:
    """Every way to mount the bucket."""
    endpoint = f"http://127.0.0.1:{stores.s3.port}"
    environment: dict[str, str | None] = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_CA_BUNDLE": None,
        "XDG_CACHE_HOME": "{scratch}/cache",
    }
    aiovfs = (sys.executable, "-m", "aiovfs", "mount", f"s3://{BUCKET}", "{mountpoint}")
    remote = f":s3,provider=Other,env_auth,endpoint='{endpoint}':{BUCKET}"
    return [
        *(Subject(f"aiovfs {client}", (*aiovfs, "--client", client), environment) for client in ("obstore", "s3fs")),
        *rclone(remote, environment),
        fsspec_fuse(f"s3://{BUCKET}", environment),
    ]


def http_subjects(stores: Stores) -> list[Subject]:
    """Every way to mount nginx's directory."""
    if stores.http is None:
        return []
    url = f"http://127.0.0.1:{stores.http.port}/{BUCKET}/"
    environment: dict[str, str | None] = {"XDG_CACHE_HOME": "{scratch}/cache"}
    return [
        Subject("aiovfs", (sys.executable, "-m", "aiovfs", "mount", url, "{mountpoint}"), environment),
        *rclone(f":http,url='{url}':", environment),
        fsspec_fuse(url, environment),
    ]


def rclone(remote: str, environment: dict[str, str | None]) -> list[Subject]:
    """rclone without and with its disk cache, the packaged one and the distribution's (older)."""
    found: list[Subject] = []
    programs = [rivals.tool("rclone"), Path(path) if (path := shutil.which("rclone")) else None]
    for program in programs:
        for mode in ("off", "full") if program == programs[0] else ("full",):
            name = f"rclone {version(program) if program else '?'} {mode}"
            command = (str(program), "mount", remote, "{mountpoint}", "--vfs-cache-mode", mode)
            missing = None if program else "rclone is not installed"
            if program or not found:
                cache = ("--cache-dir", "{scratch}/cache", "--config", "/nonexistent/rclone.conf")
                found.append(Subject(name, (*command, *cache), environment, unavailable=missing))
    return found


def version(program: Path) -> str:
    """The number that rclone calls itself."""
    output = subprocess.run([str(program), "version"], capture_output=True, text=True, check=False).stdout
    return output.split()[1].removeprefix("v").split("-")[0] if output else "?"


def fsspec_fuse(url: str, environment: dict[str, str | None]) -> Subject:
    """fsspec's own mount."""
    command = (rivals.python(), "-m", "benchmarks.servers.fsspec_server", url, "{mountpoint}")
    return Subject("fsspec.fuse", command, environment, unavailable=rivals.unavailable("fsspec.fuse"))


def work(server: Mounted, case: str, *arguments: str) -> dict[str, float]:
    """Run one workload in its own process; raises with what it said when it fails or takes too long."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.workload", case, str(server.mountpoint), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=CASE_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise BenchmarkError(f"not finished after {CASE_TIMEOUT:.0f} s") from None
    if process.returncode:
        lines = errors.strip().splitlines()
        raise BenchmarkError(lines[-1] if lines else f"status {process.returncode}")
    figures: dict[str, float] = json.loads(output)
    return figures


def until(condition: Callable[[], bool], what: str) -> float:
    """Seconds until `condition` holds."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > DURABLE_TIMEOUT:
            raise BenchmarkError(f"{what} did not reach the store within {DURABLE_TIMEOUT:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - start


def forget(path: Path) -> None:
    """Remove what a case wrote, so that the next subject starts from the same store."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_case(server: Mounted, stores: Stores) -> dict[str, float]:
    """Write one large file; until close(), and until the whole of it is in the store."""
    target = stores.content / "written"
    forget(target)
    figures = work(server, "write", str(stores.sizes.written))
    more = until(lambda: target.exists() and target.stat().st_size == stores.sizes.written, "the file")
    return {**figures, "durable_s": figures["close_s"] + more}


def untar_case(server: Mounted, stores: Stores) -> dict[str, float]:
    """Untar; until the shell returns, and until every file is in the store. The count includes no marker objects."""
    target = stores.content / "untarred"
    forget(target)
    figures = work(server, "untar", str(stores.archive))

    def complete() -> bool:
        return sum(1 for path in target.rglob("*.py") if path.is_file()) == stores.sizes.archive_files

    return {**figures, "durable_s": figures["shell_s"] + until(complete, "the tree")}


Action = Callable[[Mounted, Stores], dict[str, float]]
GROUPS: dict[str, tuple[tuple[str, Action], ...]] = {
    "read": (("read cold", lambda m, s: work(m, "read")), ("read again", lambda m, s: work(m, "read"))),
    "random": (("random 4 KiB", lambda m, s: work(m, "random")),),
    "find": (("find", lambda m, s: work(m, "find", str(s.sizes.tree_directories * s.sizes.tree_files))),),
    "small": (("small files", lambda m, s: work(m, "small", str(s.sizes.small_files))),),
    "write": (("write", write_case),),
    "untar": (("untar", untar_case),),
}
"""Cases that share a mount. Writing groups are left out on HTTP."""
WRITING = {"write", "untar"}


def measure(
    results: Results, name: str, link: Link, subjects: list[Subject], stores: Stores, options: argparse.Namespace
) -> None:
    """All groups of one store, subjects in turn."""
    groups = [group for group in options.groups if name != "http" or group not in WRITING]
    for repeat in range(1, options.repeats + 1):
        for group in groups:
            for subject in subjects:
                samples = [Sample(subject.name, f"{name}: {case}", repeat) for case, _ in GROUPS[group]]
                try:
                    with mounted(subject) as server:
                        for sample, (_, act) in zip(samples, GROUPS[group], strict=True):
                            before, cpu = link.passed(), server.cpu_time_ns()
                            sample.figures = act(server, stores)
                            sample.figures["cpu_s"] = (server.cpu_time_ns() - cpu) / 1e9
                            sample.figures |= {key: value - before[key] for key, value in link.passed().items()}
                except (BenchmarkError, ProcessLookupError, OSError) as error:
                    for sample in samples:
                        if not sample.figures:
                            sample.failure = str(error)
                for sample in samples:
                    results.add(sample)


TABLES = (
    ("MB/s · CPU s of the mount · MB from the server", ("mb_s", "cpu_s", "from_server_mb"), "read"),
    (
        "reads a second · p50 ms · MB from the server · requests",
        ("iops", "p50_ms", "from_server_mb", "requests"),
        "random",
    ),
    ("seconds · CPU s of the mount · requests", ("seconds", "cpu_s", "requests"), "find small"),
    ("seconds to close · to durable · CPU s of the mount", ("close_s", "durable_s", "cpu_s"), "write"),
    ("seconds to the shell · to durable · CPU s of the mount", ("shell_s", "durable_s", "cpu_s"), "untar"),
)


def show(results: Results, name: str) -> None:
    """Print one store's tables."""
    chosen = [case for case in results.cases() if case.startswith(f"{name}: ")]
    for title, figures, words in TABLES:
        cases = [case for case in chosen if any(word in case for word in words.split())]
        if cases:
            print(f"\n{title}\n\n{results.table(figures, cases=cases)}")


def main() -> None:
    """Parse, serve, measure, print, save."""
    parser = argparse.ArgumentParser(description="Mounted stores: ours against rclone and fsspec.fuse.")
    parser.add_argument("--quick", action="store_true", help="small data, one repeat: only shows that everything runs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--delay-ms", type=float, default=0, help="round trip that the relay adds")
    parser.add_argument("--store", choices=("s3", "http", "both"), default="both")
    parser.add_argument("--groups", default=",".join(GROUPS), help="cases to run, by comma")
    parser.add_argument("--subjects", default="", help="only those whose name contains one of these words, by comma")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    options = parser.parse_args()
    options.groups = options.groups.split(",")
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"unknown group {', '.join(sorted(unknown))}; known are {', '.join(GROUPS)}")
    if options.quick:
        options.repeats = 1
    words = [word for word in options.subjects.split(",") if word]
    results = Results("mount_stores", {key: value for key, value in vars(options).items() if key != "output"})
    with (
        tempfile.TemporaryDirectory(prefix="aiovfs-stores-") as scratch,
        serving(Path(scratch), QUICK if options.quick else Sizes(), delay_ms=options.delay_ms) as stores,
    ):
        runs = [("s3", stores.s3, s3_subjects(stores)), ("http", stores.http, http_subjects(stores))]
        for name, link, subjects in runs:
            if link is not None and options.store in (name, "both"):
                chosen = [s for s in subjects if not words or any(word in s.name for word in words)]
                measure(results, name, link, chosen, stores, options)
    for name in ("s3", "http"):
        show(results, name)
    print(f"\nwritten to {results.save(options.output)}")


if __name__ == "__main__":
    main()
