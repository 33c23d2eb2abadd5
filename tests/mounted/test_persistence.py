"""What was written is in the store: it is there after the mount is gone, and on the next one."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

from places import Place, program


def test_a_file_written_in_pieces_reads_back_by_checksum_after_a_remount(lasting: Place) -> None:
    rng, written = random.Random(6), hashlib.sha256()
    with open(lasting.directory / "large", "wb", buffering=0) as file:
        for _ in range(256):
            piece = rng.randbytes(128 * 1024)
            written.update(piece)
            assert file.write(piece) == len(piece)
    lasting.remount()
    assert (lasting.directory / "large").stat().st_size == 32 << 20
    assert program("sha256sum", lasting.directory / "large").split()[0] == written.hexdigest()


def test_directories_survive_a_remount_also_empty_ones(lasting: Place) -> None:
    os.makedirs(lasting.directory / "outer" / "inner")
    lasting.remount()
    assert os.listdir(lasting.directory) == ["outer"]
    assert os.listdir(lasting.directory / "outer") == ["inner"]
    assert os.listdir(lasting.directory / "outer" / "inner") == []


def test_changes_to_an_existing_file_survive_a_remount(lasting: Place) -> None:
    path = lasting.directory / "file"
    path.write_bytes(b"0123456789" * 10_000)
    lasting.remount()
    with open(path, "r+b") as file:
        file.seek(50_000)
        file.write(b"changed")
    with open(path, "ab") as file:
        file.write(b"appended")
    os.truncate(path, 100_004)
    lasting.remount()
    expected = bytearray(b"0123456789" * 10_000 + b"appe")
    expected[50_000:50_007] = b"changed"
    assert path.read_bytes() == expected


def test_removals_and_renames_survive_a_remount(lasting: Place) -> None:
    for name in ("removed", "renamed", "folder/inside"):
        (lasting.directory / name).parent.mkdir(exist_ok=True)
        (lasting.directory / name).write_text(name)
    os.unlink(lasting.directory / "removed")
    os.rename(lasting.directory / "renamed", lasting.directory / "other")
    os.rename(lasting.directory / "folder", lasting.directory / "directory")
    lasting.remount()
    assert sorted(os.listdir(lasting.directory)) == ["directory", "other"]
    assert (lasting.directory / "other").read_text() == "renamed"
    assert (lasting.directory / "directory" / "inside").read_text() == "folder/inside"


def test_a_synced_file_is_in_the_store_while_it_is_still_open(lasting: Place) -> None:
    assert lasting.backing is not None
    with open(lasting.directory / "file", "wb") as file:
        file.write(b"synced")
        file.flush()
        os.fsync(file.fileno())
        assert (lasting.backing / "file").read_bytes() == b"synced"


def test_umount_returns_when_everything_is_in_the_store(lasting: Place) -> None:
    assert lasting.backing is not None
    contents = {f"file{number}": random.Random(number).randbytes(200_000) for number in range(10)}
    for name, data in contents.items():
        (lasting.directory / name).write_bytes(data)
    lasting.umount()
    assert {name: (lasting.backing / name).read_bytes() for name in contents} == contents


def test_a_tree_copied_in_is_the_same_after_a_remount(lasting: Place, tree: Path) -> None:
    program("cp", "-r", tree, lasting.directory / "tree")
    lasting.remount()
    program("diff", "-r", tree, lasting.directory / "tree")
