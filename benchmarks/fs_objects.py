"""What objects in a bucket cost through aiovfs, s3fs, obstore's own fsspec adapter, and boto3.

    python -m benchmarks.fs_objects --quick
    python -m benchmarks.fs_objects --repeats 5 --output benchmarks/results/fs_objects-NAME.json

All talk to one canned server (`servers/canned_s3`) in another process, without and with a delay before each answer.
Every sample is of a new client. CPU is of its process, all threads; requests and MiB are counted by the server.
boto3 runs 32 threads where there is more than one object. It has no files and no readahead: where the others `open`, it
makes one ranged GET a read, or reads the body of one GET.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.frame import Results, Sample

MIB = 1024 * 1024
SMALL = 4096
READ = 128 * 1024
ROOT = Path(__file__).parent.parent


@contextmanager
def server(delay_ms: float) -> Iterator[str]:
    """A canned server; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.servers.canned_s3", str(port), str(delay_ms)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def stats(url: str) -> dict[str, int]:
    """What the server has counted since the last time."""
    with urllib.request.urlopen(f"{url}/_stats") as answer:
        counted: dict[str, int] = json.load(answer)
    return counted


def small_names(count: int) -> list[str]:
    return [f"bench/small/{number % 1000:04d}" for number in range(count)]


class Files:
    """A client with fsspec's interface."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def get_small(self, count: int) -> None:
        found = self.fs.cat(small_names(count))
        assert len(found) == count
        assert all(len(content) == SMALL for content in found.values())

    def put_small(self, count: int) -> None:
        self.fs.pipe({f"bench/put/{number:04d}": bytes(SMALL) for number in range(count)})

    def random(self, reads: int) -> None:
        draw = random.Random(1)
        with self.fs.open("bench/large", "rb") as file:
            for _ in range(reads):
                file.seek(draw.randrange(65536) * SMALL)
                assert len(file.read(SMALL)) == SMALL

    def sequential(self, size: int) -> None:
        got = 0
        with self.fs.open("bench/seq", "rb") as file:
            while got < size and (part := file.read(READ)):
                got += len(part)
        assert got >= size

    def whole(self, size: int) -> None:
        assert len(self.fs.cat_file("bench/seq")) == 64 * MIB

    def listing(self, names: int) -> None:
        assert len(self.fs.find("bench/many")) == 10_000


class Boto:
    """boto3, with threads."""

    def __init__(self, url: str) -> None:
        import boto3
        from botocore.config import Config

        self.client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id="k",
            aws_secret_access_key="s",
            region_name="us-east-1",
            config=Config(max_pool_connections=32, s3={"addressing_style": "path"}),
        )

    def _get(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket="bench", Key=key)["Body"].read()
        return body

    def get_small(self, count: int) -> None:
        with ThreadPoolExecutor(32) as pool:
            keys = [name.removeprefix("bench/") for name in small_names(count)]
            assert all(len(content) == SMALL for content in pool.map(self._get, keys))

    def put_small(self, count: int) -> None:
        def put(number: int) -> None:
            self.client.put_object(Bucket="bench", Key=f"put/{number:04d}", Body=bytes(SMALL))

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(put, range(count)))

    def random(self, reads: int) -> None:
        draw = random.Random(1)
        for _ in range(reads):
            start = draw.randrange(65536) * SMALL
            wanted = f"bytes={start}-{start + SMALL - 1}"
            assert len(self.client.get_object(Bucket="bench", Key="large", Range=wanted)["Body"].read()) == SMALL

    def sequential(self, size: int) -> None:
        body = self.client.get_object(Bucket="bench", Key="seq")["Body"]
        got = 0
        while got < size and (part := body.read(READ)):
            got += len(part)
        assert got >= size

    def whole(self, size: int) -> None:
        assert len(self._get("seq")) == 64 * MIB

    def listing(self, names: int) -> None:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="bench", Prefix="many/")
        assert sum(len(page["Contents"]) for page in pages) == 10_000


def ours(url: str) -> Files:
    from aiovfs.fs.blocks import memory
    from aiovfs.fs.obstore_fs import S3FileSystem

    memory().clear()
    options = {"endpoint_url": url, "key": "k", "secret": "s", "client_kwargs": {"region_name": "us-east-1"}}
    return Files(S3FileSystem(skip_instance_cache=True, **options))


def s3fs(url: str) -> Files:
    from s3fs import S3FileSystem

    options = {"endpoint_url": url, "key": "k", "secret": "s", "client_kwargs": {"region_name": "us-east-1"}}
    return Files(S3FileSystem(skip_instance_cache=True, use_listings_cache=False, **options))


def adapter(url: str) -> Files:
    from obstore.fsspec import FsspecStore

    config = {"endpoint": url, "access_key_id": "k", "secret_access_key": "s", "region": "us-east-1"}
    return Files(FsspecStore("s3", config=config, client_options={"allow_http": True}, skip_instance_cache=True))


SUBJECTS: dict[str, Callable[[str], Any]] = {"aiovfs": ours, "s3fs": s3fs, "obstore's adapter": adapter, "boto3": Boto}

CASES = {
    "1000 small": ("get_small", 1000),
    "put 1000 small": ("put_small", 1000),
    "50 random reads": ("random", 50),
    "64 MiB in order": ("sequential", 64 * MIB),
    "64 MiB at once": ("whole", 64 * MIB),
    "find of 10k": ("listing", 10_000),
}
"""Method and amount, by name."""


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(make: Callable[[str], Any], url: str, method: str, amount: int) -> dict[str, float]:
    client = make(url)
    stats(url)
    begun, cpu = time.perf_counter(), cpu_seconds()
    getattr(client, method)(amount)
    seconds, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    counted = stats(url)
    return {
        "s": seconds,
        "cpu_s": cpu,
        "requests": counted.get("requests", 0),
        "mib": (counted.get("fetched", 0) + counted.get("sent", 0)) / MIB,
    }


def main() -> None:
    """Parse, measure, print, save."""
    parser = argparse.ArgumentParser(description="What objects cost through four clients.")
    parser.add_argument("--quick", action="store_true", help="one repeat with the delay only")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--delay-ms", type=float, nargs="+", default=[0.0, 20.0])
    parser.add_argument("--subjects", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.delay_ms = 1, [20.0]
    results = Results("fs_objects", {k: v for k, v in vars(options).items() if k != "output"})
    for delay in options.delay_ms:
        with server(delay) as url:
            for repeat in range(1, options.repeats + 1):
                for case in options.cases:
                    for subject in options.subjects:
                        name = f"{case}, {delay:g} ms"
                        try:
                            results.add(Sample(subject, name, repeat, measure(SUBJECTS[subject], url, *CASES[case])))
                        except ImportError as exc:
                            results.add(Sample(subject, name, repeat, failure=f"{exc.name} is not installed"))
    print("\nseconds · CPU seconds · requests · MiB on the wire; medians\n")
    print(results.table(["s", "cpu_s", "requests", "mib"]))
    print(f"\nwritten to {results.save(options.output)}")


if __name__ == "__main__":
    main()
