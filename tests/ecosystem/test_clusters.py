"""Clusters of processes: Dask and Ray. Their workers find our classes through the entry points alone."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import dask
import dask.bag
import dask.dataframe as dd
import fsspec
import pandas as pd
import pytest
from distributed import Client, LocalCluster

# Others' habits: files that only the garbage collector closes, and each other's deprecated names.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two worker processes, started afresh: they inherit nothing of this one."""
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "spawn", "distributed.admin.tick.limit": "1h"}),
        LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_dask_writes_and_reads_tables_in_its_workers(client: Client, disk_url: str) -> None:
    frame = pd.DataFrame({"number": range(1000), "text": [str(n) for n in range(1000)]})
    parts = dd.from_pandas(frame, npartitions=8)
    parts.to_parquet(f"{disk_url}/table.parquet")
    parts.to_csv(f"{disk_url}/csv/*.csv", index=False, storage_options={"auto_mkdir": True})
    assert int(dd.read_parquet(f"{disk_url}/table.parquet")["number"].sum().compute()) == sum(range(1000))
    assert len(dd.read_csv(f"{disk_url}/csv/*.csv").compute()) == 1000


def test_dask_reads_and_writes_text_in_its_workers(client: Client, disk_url: str) -> None:
    dask.bag.from_sequence([f"line {n}" for n in range(100)], npartitions=4).to_textfiles(f"{disk_url}/*.txt.gz")
    assert min(dask.bag.read_text(f"{disk_url}/*.txt.gz").map(str.strip).compute()) == "line 0"


def look(fs: Any, path: str) -> tuple[int, str, str, bytes]:
    """What a worker sees."""
    return os.getpid(), type(fs).__module__, fs.protocol, fs.cat_file(path)


def test_instances_travel_to_workers_and_work_there(client: Client, disk_url: str) -> None:
    fs, path = fsspec.url_to_fs(f"{disk_url}/file")
    fs.pipe_file(path, b"content")
    seen = client.gather([client.submit(look, fs, path, pure=False, workers=[worker]) for worker in client.nthreads()])
    assert len({pid for pid, *_ in seen} | {os.getpid()}) == 3
    assert {tuple(rest) for _, *rest in seen} == {("aiovfs.fs.published", "aiofile", b"content")}


def test_open_files_travel_to_workers(client: Client, disk_url: str) -> None:
    with fsspec.open(f"{disk_url}/file.gz", "wt", compression="gzip") as file:
        file.write("text in a worker")

    def read(open_file: Any) -> str:
        with open_file as file:
            return str(file.read())

    open_file = fsspec.open(f"{disk_url}/file.gz", "rt", compression="gzip")
    assert client.submit(read, open_file).result() == "text in a worker"


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed; ./run ecosystem does")
@pytest.mark.timeout(300)
def test_ray_reads_and_writes_in_its_workers(disk_url: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import ray

    fs, path = fsspec.url_to_fs(disk_url)
    with fs.open(f"{path}/table.parquet", "wb") as file:
        pq.write_table(pa.table({"number": range(1000)}), file)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)
    try:
        data = ray.data.read_parquet(f"{path}/table.parquet", filesystem=fs)
        assert data.sum("number") == sum(range(1000))
        data.write_parquet(f"{path}/written", filesystem=fs)
        assert ray.data.read_parquet(f"{path}/written", filesystem=fs).count() == 1000
    finally:
        ray.shutdown()
