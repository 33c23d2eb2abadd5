"""Programs with stronger wishes than files and directories: databases, links, permissions. On a local directory."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from places import Place, program, script

INSERTS = """
import sqlite3, sys
path, mode, who = sys.argv[1:]
with sqlite3.connect(path, timeout=30) as connection:
    connection.execute(f"pragma journal_mode={mode}")
for number in range(40):
    with sqlite3.connect(path, timeout=30) as connection:
        connection.execute("begin immediate")
        connection.execute("insert into t values (?, ?)", (who, number))
"""


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_sqlite_keeps_a_database_whole_that_two_processes_write(local: Place, journal_mode: str) -> None:
    path = local.directory / "data.db"
    connection = sqlite3.connect(path, timeout=30)
    assert connection.execute(f"pragma journal_mode={journal_mode}").fetchone() == (journal_mode,)
    connection.execute("create table t (who text, number integer)")
    connection.commit()
    connection.close()
    both = f"""
import subprocess, sys
code = {INSERTS!r}
children = [subprocess.Popen([sys.executable, "-c", code, *sys.argv[1:], who]) for who in ("one", "two")]
sys.exit(max(child.wait() for child in children))
"""
    script(both, path, journal_mode)
    assert program("sqlite3", path, "pragma integrity_check; select count(*) from t;").split() == ["ok", "80"]
    local.remount()
    assert program("sqlite3", path, "pragma integrity_check; select count(*) from t;").split() == ["ok", "80"]


def test_a_symbolic_link_is_kept(local: Place) -> None:
    (local.directory / "target").write_text("pointed at")
    os.symlink("target", local.directory / "link")
    assert os.readlink(local.directory / "link") == "target"
    assert (local.directory / "link").read_text() == "pointed at"
    local.remount()
    assert os.readlink(local.directory / "link") == "target"


def test_permissions_and_times_are_kept(local: Place) -> None:
    path = local.directory / "script"
    path.write_text("#!/bin/sh\necho ran\n")
    path.chmod(0o750)
    os.utime(path, ns=(10**18, 10**18 + 123_456_789))
    local.remount()
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert path.stat().st_mtime_ns == 10**18 + 123_456_789
    assert program(path).strip() == "ran"


def test_a_file_mapped_for_writing_is_written(local: Place) -> None:
    path = local.directory / "mapped"
    path.write_bytes(bytes(100_000))
    code = """
import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
    view[50_000:50_005] = b"hello"
    view.flush()
"""
    script(code, path)
    local.remount()
    assert path.read_bytes() == bytes(50_000) + b"hello" + bytes(49_995)


def test_what_others_change_in_the_directory_below_is_seen(local: Place) -> None:
    assert local.backing is not None
    (local.backing / "from outside").write_text("seen")
    assert (local.directory / "from outside").read_text() == "seen"
    assert os.listdir(local.directory) == ["from outside"]


def test_a_python_project_imports_from_the_mount(local: Place) -> None:
    package = local.directory / "project"
    package.mkdir()
    (package / "__init__.py").write_text("from project.answer import answer\n")
    (package / "answer.py").write_text("answer = 42\n")
    assert script("import project; print(project.answer)", cwd=Path(local.directory)).strip() == "42"
