"""Files that are derived from the tables are in step with them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "tools/generate.py"), *arguments], capture_output=True, text=True, check=False
    )


def copy_of_the_tables(tmp_path: Path) -> Path:
    """As much of the project as the generator needs."""
    for name in ("src/aiovfs/fuse/protocol", "docs/reference"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tools/generate.py", "tools/fastcodec.py", "src/aiovfs/errors.py", "src/aiovfs/types.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_generated_files_are_in_step_with_the_tables() -> None:
    done = generate(ROOT, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_opcode_makes_the_check_fail_and_generating_mends_it(tmp_path: Path) -> None:
    root = copy_of_the_tables(tmp_path)
    table = root / "src/aiovfs/fuse/protocol/operations.py"
    row = '    row(54, "brand_new", (ReadIn, Name()), since=(7, 45), summary="Not there yet."),\n'
    table.write_text(table.read_text().replace("    row(\n        4096,", f"{row}    row(\n        4096,"))
    stale = generate(root, "--check")
    assert stale.returncode == 1
    assert "messages.py is out of step" in stale.stdout
    assert generate(root).returncode == 0
    assert "class BrandNew(Request):" in (root / "src/aiovfs/fuse/protocol/messages.py").read_text()
    assert generate(root, "--check").returncode == 0


def test_an_edit_of_a_generated_file_makes_the_check_fail(tmp_path: Path) -> None:
    root = copy_of_the_tables(tmp_path)
    page = root / "docs/reference/protocol.md"
    page.write_text(page.read_text() + "An afterthought.\n")
    done = generate(root, "--check")
    assert done.returncode == 1
    assert "docs/reference/protocol.md is out of step" in done.stdout
