"""Tables: pandas, pyarrow, polars, DuckDB."""

from __future__ import annotations

from pathlib import Path

import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from aiovfs.fs.base import AsyncFileSystem

# Others' habits: files that only the garbage collector closes, and each other's deprecated names.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"number": range(1000), "text": [f"é{n}" for n in range(1000)], "part": [n % 3 for n in range(1000)]}
    )


def files_at(url: str) -> list[str]:
    fs, path = fsspec.url_to_fs(url)
    assert isinstance(fs, AsyncFileSystem)
    return sorted(name[len(path) + 1 :] for name in fs.find(path))


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_pandas_writes_and_reads_csv(url: str, frame: pd.DataFrame, suffix: str) -> None:
    frame.to_csv(f"{url}/table.{suffix}", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(f"{url}/table.{suffix}"), frame)
    assert files_at(url) == [f"table.{suffix}"]


def test_pandas_writes_and_reads_parquet(url: str, frame: pd.DataFrame) -> None:
    frame.to_parquet(f"{url}/table.parquet", index=False)
    pd.testing.assert_frame_equal(pd.read_parquet(f"{url}/table.parquet"), frame)
    some = pd.read_parquet(f"{url}/table.parquet", columns=["number"], filters=[("number", "<", 10)])
    assert list(some["number"]) == list(range(10))


def test_pandas_writes_and_reads_partitions(url: str, frame: pd.DataFrame) -> None:
    frame.to_parquet(f"{url}/parts", index=False, partition_cols=["part"])
    back = pd.read_parquet(f"{url}/parts").sort_values("number")
    assert list(back["number"]) == list(range(1000))
    assert {name.split("/")[1] for name in files_at(url)} == {"part=0", "part=1", "part=2"}


def test_pandas_appends_to_a_json_file_and_passes_options(disk_url: str, frame: pd.DataFrame) -> None:
    options = {"auto_mkdir": True}
    frame.to_json(f"{disk_url}/new/folder/lines.json", orient="records", lines=True, storage_options=options)
    back = pd.read_json(f"{disk_url}/new/folder/lines.json", orient="records", lines=True, storage_options=options)
    pd.testing.assert_frame_equal(back, frame)


def test_pyarrow_writes_reads_and_removes_datasets(url: str, frame: pd.DataFrame) -> None:
    fs, path = fsspec.url_to_fs(url)
    table = pa.Table.from_pandas(frame)
    ds.write_dataset(
        table, f"{path}/data", filesystem=fs, format="parquet", partitioning=["part"], partitioning_flavor="hive"
    )
    back = ds.dataset(f"{path}/data", filesystem=fs, partitioning="hive")
    assert back.count_rows() == 1000
    assert back.to_table(filter=ds.field("number") == 7)["text"].to_pylist() == ["é7"]
    arrow = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))
    infos = arrow.get_file_info(pyarrow.fs.FileSelector(f"{path}/data", recursive=True))
    assert sum(info.is_file for info in infos) == len(files_at(url))
    arrow.copy_file(infos[-1].path, f"{path}/copy") if infos[-1].is_file else None
    arrow.move(f"{path}/data", f"{path}/moved")
    assert arrow.get_file_info(f"{path}/data").type == pyarrow.fs.FileType.NotFound
    assert ds.dataset(f"{path}/moved", filesystem=fs, partitioning="hive").count_rows() == 1000
    arrow.delete_dir(f"{path}/moved")
    assert arrow.get_file_info(f"{path}/moved").type == pyarrow.fs.FileType.NotFound


def test_pyarrow_reads_parquet_by_row_group_from_an_open_file(url: str, frame: pd.DataFrame) -> None:
    fs, path = fsspec.url_to_fs(url)
    with fs.open(f"{path}/groups.parquet", "wb") as file:
        pq.write_table(pa.Table.from_pandas(frame), file, row_group_size=100)
    with fs.open(f"{path}/groups.parquet", "rb") as file:
        groups = pq.ParquetFile(file)
        assert groups.num_row_groups == 10
        assert groups.read_row_group(4)["number"].to_pylist() == list(range(400, 500))


def test_polars_reads_and_writes_open_files(url: str, frame: pd.DataFrame) -> None:
    fs, path = fsspec.url_to_fs(url)
    with fs.open(f"{path}/table.parquet", "wb") as file:
        pl.from_pandas(frame).write_parquet(file)
    with fs.open(f"{path}/table.parquet", "rb") as file:
        assert pl.read_parquet(file)["number"].sum() == sum(range(1000))
    with fs.open(f"{path}/table.csv", "wb") as file:
        pl.from_pandas(frame).write_csv(file)
    with fs.open(f"{path}/table.csv", "rb") as file:
        assert pl.read_csv(file).height == 1000


def test_duckdb_queries_and_writes_by_url(url: str, frame: pd.DataFrame) -> None:
    fs, _ = fsspec.url_to_fs(url)
    frame.to_parquet(f"{url}/one.parquet", index=False)
    frame.to_parquet(f"{url}/two.parquet", index=False)
    connection = duckdb.connect()
    connection.register_filesystem(fs)
    try:
        found = connection.sql(f"select count(*), sum(number) from read_parquet('{url}/*.parquet')").fetchall()
        assert found == [(2000, 2 * sum(range(1000)))]
        connection.sql(f"copy (select 42 as answer) to '{url}/answer.csv' (header)")
    finally:
        connection.close()
    assert fs.cat_file(f"{url}/answer.csv").split() == [b"answer", b"42"]


def test_fsspecs_chains_and_caches_reach_through_ours(url: str, tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(f"{url}/table.csv", index=False)
    for chain in ("simplecache", "filecache"):
        options = {"cache_storage": str(tmp_path / chain)}
        back = pd.read_csv(f"{chain}::{url}/table.csv", storage_options={chain: options})
        pd.testing.assert_frame_equal(back, frame)
    with fsspec.open(f"zip://inner.csv::{url}/archive.zip", "wt", zip={"mode": "w"}) as file:
        frame.to_csv(file, index=False)
    with fsspec.open(f"zip://inner.csv::{url}/archive.zip", "rt") as file:
        pd.testing.assert_frame_equal(pd.read_csv(file), frame)
    below = fsspec.filesystem("dir", path=fsspec.url_to_fs(url)[1], fs=fsspec.url_to_fs(url)[0])
    assert below.cat_file("table.csv") == fsspec.url_to_fs(url)[0].cat_file(f"{url}/table.csv")
