"""The stores that are mounted: an S3 server and nginx on 127.0.0.1, both over one directory, each behind a relay.

What lies in the directory is the bucket `bench`: an object is a file, so "is it durable" is asked of the directory.
"""

from __future__ import annotations

import random
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.frame import BenchmarkError
from benchmarks.native import compiled

__all__ = ["BUCKET", "Link", "Sizes", "Stores", "serving"]

BUCKET = "bench"
# It writes an answer's head and body apart. With Nagle's algorithm the body then waits for the client's delayed
# acknowledgement, 40 ms an answer, and the benchmark would measure that.
LOCALBUCKET = """
import socketserver, sys
socketserver.StreamRequestHandler.disable_nagle_algorithm = True
import localbucket
sys.exit(localbucket.main())
"""
NGINX = """
daemon off; worker_processes 1; pid {scratch}/pid; error_log {scratch}/error; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {scratch}/b; proxy_temp_path {scratch}/p; fastcgi_temp_path {scratch}/f;
  uwsgi_temp_path {scratch}/u; scgi_temp_path {scratch}/s;
  server {{ listen 127.0.0.1:{port}; root {root}; autoindex on; }}
}}
"""


@dataclass(frozen=True)
class Sizes:
    """How much data there is."""

    big: int = 256 << 20
    tree_directories: int = 20
    tree_files: int = 100
    small_files: int = 200
    written: int = 64 << 20
    archive_files: int = 200


class Link:
    """One relay: the port that a mount talks to, and what has passed."""

    def __init__(self, port: int, counters: Path) -> None:
        self.port = port
        self.counters = counters

    def passed(self) -> dict[str, float]:
        """Totals so far: megabytes from and to the server, and requests."""
        to_server, from_server, _, turns = struct.unpack("=4Q", self.counters.read_bytes()[:32])
        return {"from_server_mb": from_server / 1e6, "to_server_mb": to_server / 1e6, "requests": turns}


@dataclass(frozen=True)
class Stores:
    """The running servers and their content."""

    content: Path
    archive: Path
    sizes: Sizes
    s3: Link
    http: Link | None
    """None without nginx."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], what: str) -> None:
    """Return when somebody listens; raise when the process ended instead."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchmarkError(f"{what} ended with status {process.returncode} before it listened on port {port}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise BenchmarkError(f"{what} does not listen on port {port}")


@contextmanager
def process(command: list[str], port: int) -> Iterator[None]:
    """A server that is there while the block runs."""
    silent = subprocess.DEVNULL
    running = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent)
    try:
        wait_for_port(port, running, Path(command[0]).name)
        yield
    finally:
        running.terminate()
        try:
            running.wait(5)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def relay(stack: ExitStack, target: int, scratch: Path, delay_ms: float) -> Link:
    """Start a relay in front of port `target`; half of `delay_ms` is added each way."""
    program = compiled("relay")
    if program is None:
        raise BenchmarkError("the relay that counts bytes needs a C compiler (cc or $CC)")
    port = free_port()
    counters = scratch / f"counters-{target}"
    stack.enter_context(process([str(program), str(port), str(target), str(counters), f"{delay_ms / 2}"], port))
    return Link(port, counters)


def fill(content: Path, archive: Path, sizes: Sizes) -> None:
    """Make the files; the same bytes each time."""
    rng = random.Random(42)
    with open(content / "big", "wb") as file:
        file.writelines(rng.randbytes(1 << 20) for _ in range(sizes.big >> 20))
    for number in range(sizes.tree_directories):
        folder = content / "tree" / f"d{number:03}"
        folder.mkdir(parents=True)
        for index in range(sizes.tree_files):
            (folder / f"f{index:03}.txt").write_bytes(rng.randbytes(rng.randint(100, 2000)))
    (content / "small").mkdir()
    for number in range(sizes.small_files):
        (content / "small" / f"s{number:04}.bin").write_bytes(rng.randbytes(100_000))
    source = archive.parent / "source"
    for number in range(sizes.archive_files):
        folder = source / f"package{number % 20:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"module{number:03}.py").write_bytes(rng.randbytes(rng.randint(500, 20_000)))
    with tarfile.open(archive, "w") as file:
        file.add(source, ".")
    shutil.rmtree(source)


@contextmanager
def serving(scratch: Path, sizes: Sizes, *, delay_ms: float = 0) -> Iterator[Stores]:
    """Content made, servers and relays started; all gone afterwards."""
    root = scratch / "root"
    content, archive = root / BUCKET, scratch / "source.tar"
    content.mkdir(parents=True)
    fill(content, archive, sizes)
    with ExitStack() as stack:
        s3_port = free_port()
        command = [sys.executable, "-c", LOCALBUCKET, str(root), "--port", str(s3_port)]
        stack.enter_context(process(command, s3_port))
        s3 = relay(stack, s3_port, scratch, delay_ms)
        http = None
        if nginx := shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"):
            port = free_port()
            # Started by root, nginx would read the files as a user that may not enter our scratch directory.
            user = "user root;" if Path("/root").owner() == "root" and scratch.stat().st_uid == 0 else ""
            configuration = scratch / "nginx.conf"
            configuration.write_text(NGINX.format(scratch=scratch, port=port, root=root, user=user))
            stack.enter_context(process([nginx, "-e", str(scratch / "error"), "-c", str(configuration)], port))
            http = relay(stack, port, scratch, delay_ms)
        yield Stores(content, archive, sizes, s3, http)
