"""Programs that reach files through fsspec, on our file systems by URL. `./run ecosystem` runs these: they are heavy.

URLs are of schemes of our own, which fsspec finds through this package's entry points: in this process, and in the
worker processes of Dask and Ray, which import nothing of the tests.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

collect_ignore = (
    [] if "AIOVFS_ECOSYSTEM" in os.environ else [path.name for path in Path(__file__).parent.glob("test_*.py")]
)

SCHEMES = ["aiofile", "aiomemory"]


@pytest.fixture(params=SCHEMES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder."""
    if request.param == "aiofile":
        return f"aiofile://{tmp_path}"
    return f"{request.param}:///{uuid.uuid4().hex}"


@pytest.fixture
def disk_url(tmp_path: Path) -> str:
    """An empty folder that other processes see too."""
    return f"aiofile://{tmp_path}"
