"""universal_pathlib: paths over our file systems."""

from __future__ import annotations

import pytest
from upath import UPath

# Others' habits: files that only the garbage collector closes, and each other's deprecated names.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Could not find default for known protocol:UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_paths_read_write_list_and_remove(url: str) -> None:
    top = UPath(url)
    (top / "folder").mkdir(parents=True)
    (top / "folder" / "a.txt").write_text("text")
    (top / "folder" / "b.bin").write_bytes(b"bytes")
    assert (top / "folder" / "a.txt").read_text() == "text"
    assert sorted(path.name for path in (top / "folder").iterdir()) == ["a.txt", "b.bin"]
    assert [path.name for path in top.glob("**/*.bin")] == ["b.bin"]
    assert (top / "folder").is_dir()
    assert (top / "folder" / "a.txt").is_file()
    assert (top / "folder" / "a.txt").stat().st_size == 4
    (top / "folder" / "a.txt").rename(top / "folder" / "c.txt")
    assert (top / "folder" / "c.txt").read_text() == "text"
    (top / "folder" / "b.bin").unlink()
    assert not (top / "folder" / "b.bin").exists()
    with pytest.raises(FileNotFoundError):
        (top / "folder" / "b.bin").read_bytes()
    with (top / "folder" / "d.txt").open("w") as file:
        file.write("written")
    assert (top / "folder" / "d.txt").read_text() == "written"
