"""Arrays: zarr, xarray."""

from __future__ import annotations

import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr

from aiovfs.fs.base import AsyncFileSystem

# Others' habits: files that only the garbage collector closes, and each other's deprecated names.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_zarr_writes_and_reads_by_url(url: str) -> None:
    array = zarr.create_array(f"{url}/array.zarr", shape=(200, 100), chunks=(20, 30), dtype="int32")
    array[:] = np.arange(20000).reshape(200, 100)
    back = zarr.open_array(f"{url}/array.zarr", mode="r")
    assert np.array_equal(back[50:60, 20:90], np.arange(20000).reshape(200, 100)[50:60, 20:90])
    with pytest.raises(FileNotFoundError):
        zarr.open_array(f"{url}/absent.zarr", mode="r")


def test_zarr_takes_an_asynchronous_instance_and_a_synchronous_one(url: str) -> None:
    protocol = url.partition(":")[0]
    for asynchronous in (True, False):
        fs = fsspec.filesystem(protocol, asynchronous=asynchronous, skip_instance_cache=True)
        assert isinstance(fs, AsyncFileSystem)
        path = fs._strip_protocol(url)
        store = zarr.storage.FsspecStore.from_mapper(fs.get_mapper(path)) if not asynchronous else None
        store = store or zarr.storage.FsspecStore(fs, path=path)
        group = zarr.open_group(store, path=f"group-{asynchronous}", mode="w")
        group.create_array("x", data=np.arange(1000), chunks=(10,))
        assert zarr.open_group(store, path=f"group-{asynchronous}", mode="r")["x"][990:].sum() == sum(range(990, 1000))
        assert sorted(zarr.open_group(store, path=f"group-{asynchronous}", mode="r").array_keys()) == ["x"]


def test_xarray_writes_and_reads_zarr_by_url(url: str) -> None:
    data = xr.Dataset({"t": (("x", "y"), np.random.default_rng(0).random((50, 40)))}, coords={"x": np.arange(50)})
    data.to_zarr(f"{url}/data.zarr", consolidated=False)
    xr.testing.assert_equal(xr.open_zarr(f"{url}/data.zarr", consolidated=False).load(), data)


def test_xarray_reads_netcdf_from_an_open_file(url: str) -> None:
    fs, path = fsspec.url_to_fs(url)
    data = xr.Dataset({"t": ("x", np.arange(5000.0))})
    fs.pipe_file(f"{path}/data.nc", bytes(data.to_netcdf(engine="h5netcdf")))
    with fs.open(f"{path}/data.nc", "rb") as file, xr.open_dataset(file, engine="h5netcdf") as back:
        assert float(back["t"][4000:4010].sum()) == sum(range(4000, 4010))
