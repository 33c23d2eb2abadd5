"""The reference page names everything that is public."""

from __future__ import annotations

import re
from pathlib import Path

from aiovfs import aio

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "aio.md"
NOT_CALLS = {"descriptors", "tempfile", "DirEntry", "Scan", "Opening", "DirectFile"}


def test_every_public_name_is_on_the_reference_page() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    assert set(aio.__all__) - named - NOT_CALLS - {"open"} == set()


def test_every_method_of_a_file_is_on_the_reference_page() -> None:
    page = PAGE.read_text()
    for cls, begin in ((aio.File, "### `File`"), (aio.TextFile, "### `TextFile`")):
        section = page.partition(begin)[2].partition("\n##")[0]
        documented = {
            name for name in vars(cls) if not name.startswith("_") and getattr(vars(cls)[name], "__doc__", None)
        }
        assert documented - set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == set()
