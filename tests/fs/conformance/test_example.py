"""The backend of the authors' guide, held to the whole kit."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path

import pytest

from aiovfs.testing.conformance import AllTests, Backend, Capabilities, MakeFS

EXAMPLE = Path(__file__).parents[3] / "examples" / "backend_fs.py"


class Table(Backend):
    loops = ("trio",)
    capabilities = Capabilities(
        empty_directories="directories are prefixes of names",
        strict_directories="directories are prefixes of names",
        modified="the table has no column for it",
        pickle="an example is no module that another process can import",
        fork_safe="SQLite forbids its connections in forked children",
    )

    @pytest.fixture
    def make_fs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeFS:
        spec = importlib.util.spec_from_file_location("backend_fs", EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "backend_fs", module)
        spec.loader.exec_module(module)
        return partial(module.TableFileSystem, str(tmp_path / "files.sqlite"))


class TestTable(Table, AllTests):
    pass
