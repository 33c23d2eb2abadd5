"""Our structs and constants are the kernel's: a C compiler says so."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = Path("/usr/include/linux/fuse.h")

if not HEADER.exists():
    pytest.skip(f"{HEADER} is missing (linux-libc-dev)", allow_module_level=True)
if not any(map(shutil.which, ("cc", "gcc", "clang"))):
    pytest.skip("no C compiler: neither cc, gcc nor clang", allow_module_level=True)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_layouts", ROOT / "tools/check_layouts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_layouts"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_struct_and_constant_of_the_system_s_header_is_as_ours(tool: ModuleType) -> None:
    report = tool.check(HEADER)
    assert report.wrong == []
    in_header = {name.removeprefix("struct ") for name in tool.names_in(HEADER) if name.startswith("struct ")}
    assert set(report.structs) >= in_header, "a struct of the header was not checked"
    assert len(report.structs) + sum(name.startswith("struct ") for name in report.too_old_for) == len(tool.STRUCTS)
    assert {"fuse_in_header", "fuse_read_in", "fuse_entry_out"} <= set(report.structs)
    assert len(report.fields) > 200
    assert len(report.constants) > 100


PLANTED = [
    (
        "uint64_t\toffset;\n\tuint32_t\tsize;\n\tuint32_t\tread_flags;",
        "uint32_t\tsize;\n\tuint32_t\tread_flags;\n\tuint64_t\toffset;",
        "fuse_read_in.offset has offset 16 and size 8, ours 8 and 8",
    ),
    ("\tint64_t\t\toff;", "\tuint64_t\toff;", "fuse_notify_inval_inode_out.off is not int64_t: the sign differs"),
    ("#define FATTR_GID\t(1 << 2)", "#define FATTR_GID\t(1 << 7)", "FATTR_GID is 0x80, ours 0x4"),
    ("FUSE_FORGET\t\t= 2,", "FUSE_FORGET\t\t= 7,", "FUSE_FORGET is 0x7, ours 0x2"),
    (
        "struct fuse_bmap_out {",
        "struct fuse_new { int x; };\nstruct fuse_bmap_out {",
        "struct fuse_new is in the header, not in the tables",
    ),
    (
        "#define FUSE_ROOT_ID 1",
        "#define FUSE_ROOT_ID 1\n#define FUSE_NEW 5",
        "FUSE_NEW is in the header, not in the tables",
    ),
]


@pytest.mark.parametrize(("text", "instead", "complaint"), PLANTED, ids=lambda value: value[:25])
def test_a_planted_difference_is_found(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, instead: str, complaint: str
) -> None:
    original = HEADER.read_text()
    if text not in original:
        pytest.skip(f"{HEADER} does not spell {text!r} so")
    changed = tmp_path / "fuse.h"
    changed.write_text(original.replace(text, instead))
    assert tool.main(["--header", str(changed)]) == 1
    assert f"WRONG: {complaint}" in capsys.readouterr().out


def test_what_a_header_of_our_version_lacks_is_blamed_and_an_older_one_is_not(tool: ModuleType, tmp_path: Path) -> None:
    changed = tmp_path / "fuse.h"
    without = HEADER.read_text().replace("fuse_bmap_out", "other_bmap_out")
    changed.write_text(without)
    older = tool.check(changed)
    assert "struct fuse_bmap_out" in older.too_old_for
    minor = f"#define FUSE_KERNEL_MINOR_VERSION {older.minor}"
    changed.write_text(without.replace(minor, "#define FUSE_KERNEL_MINOR_VERSION 45"))
    assert "struct fuse_bmap_out is in the tables, not in the header" in tool.check(changed).wrong


def test_a_header_that_cannot_be_checked_is_another_exit_code(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main(["--header", str(tmp_path / "missing.h")]) == 2
    broken = tmp_path / "broken.h"
    broken.write_text("#error no\n")
    assert tool.main(["--header", str(broken)]) == 2
    assert "cannot check" in capsys.readouterr().err
