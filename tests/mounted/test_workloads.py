"""What users do in a mounted directory, with the programs they do it with, on every kind of store."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
from pathlib import Path

import pytest
from places import Place, program, script


def test_a_tree_copied_in_compares_equal(here: Path, tree: Path) -> None:
    program("cp", "-r", tree, here)
    program("diff", "-r", tree, here / "tree")


def test_a_tree_copied_in_and_back_out_compares_equal(here: Path, tree: Path, tmp_path: Path) -> None:
    program("cp", "-r", tree, here)
    program("cp", "-r", here / "tree", tmp_path / "back")
    program("diff", "-r", tree, tmp_path / "back")


def test_tar_extracts_a_tree(here: Path, tree: Path, tmp_path: Path) -> None:
    program("tar", "-C", tree, "-cf", tmp_path / "tree.tar", ".")
    program("tar", "-C", here, "--no-same-owner", "-xf", tmp_path / "tree.tar")
    program("diff", "-r", tree, here)


def test_tar_reads_what_it_archives(here: Path, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, here / "tree")
    program("tar", "-C", here / "tree", "-cf", tmp_path / "tree.tar", ".")
    (tmp_path / "back").mkdir()
    program("tar", "-C", tmp_path / "back", "-xf", tmp_path / "tree.tar")
    program("diff", "-r", tree, tmp_path / "back")


@pytest.fixture
def repository(tree: Path, tmp_path: Path) -> Path:
    """A bare git repository with two commits."""
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-C", tree)
    program("git", "init", "-q", "-b", "main", tree)
    program(*git, "add", ".")
    program(*git, "commit", "-qm", "one")
    (tree / "module9.py").write_text("y = 2\n")
    program(*git, "add", ".")
    program(*git, "commit", "-qm", "two")
    program("git", "clone", "-q", "--bare", tree, tmp_path / "origin.git")
    return tmp_path / "origin.git"


def test_git_clones_and_finds_the_work_tree_clean(here: Path, repository: Path) -> None:
    program("git", "clone", "-q", "--no-hardlinks", repository, here / "clone")
    assert program("git", "-C", here / "clone", "status", "--porcelain") == ""
    program("git", "-C", here / "clone", "fsck", "--full", "--strict")


def test_git_commits_and_pushes(here: Path, repository: Path) -> None:
    program("git", "clone", "-q", "--no-hardlinks", repository, here / "clone")
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-C", here / "clone")
    (here / "clone" / "module0.py").write_text("changed = True\n")
    assert program(*git, "status", "--porcelain") == " M module0.py\n"
    program(*git, "commit", "-qam", "three")
    program(*git, "push", "-q")
    assert program("git", "-C", repository, "log", "--format=%s") == "three\ntwo\none\n"


def test_an_editors_save_replaces_the_file(here: Path) -> None:
    target, temporary = here / "notes.txt", here / ".notes.txt.swp"
    target.write_text("first\n")
    for text in ("second\n", "third, longer than before\n", "4\n"):
        with open(temporary, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, target)
        assert target.read_text() == text
    assert os.listdir(here) == ["notes.txt"]


def test_the_shell_appends(here: Path) -> None:
    program("sh", "-c", "for i in 1 2 3 4 5; do echo line $i >> log; done", cwd=here)
    assert (here / "log").read_text() == "".join(f"line {i}\n" for i in range(1, 6))


def test_truncate_grows_with_zeros(here: Path) -> None:
    (here / "file").write_bytes(b"start")
    program("truncate", "-s", "200000", here / "file")
    assert (here / "file").read_bytes() == b"start".ljust(200000, b"\0")


def test_truncate_shrinks(here: Path) -> None:
    data = random.Random(2).randbytes(300_000)
    (here / "file").write_bytes(data)
    program("truncate", "-s", "131073", here / "file")
    assert (here / "file").stat().st_size == 131073
    assert (here / "file").read_bytes() == data[:131073]


def test_dd_changes_the_middle_of_a_file(here: Path, tmp_path: Path) -> None:
    data = bytearray(random.Random(3).randbytes(400_000))
    (here / "file").write_bytes(data)
    (tmp_path / "patch").write_bytes(b"P" * 8192)
    program("dd", f"if={tmp_path / 'patch'}", f"of={here / 'file'}", "bs=4096", "seek=40", "conv=notrunc")
    data[40 * 4096 : 42 * 4096] = b"P" * 8192
    assert (here / "file").read_bytes() == data


def test_a_file_is_renamed(here: Path) -> None:
    (here / "old").write_text("content")
    os.rename(here / "old", here / "new")
    assert os.listdir(here) == ["new"]
    assert (here / "new").read_text() == "content"
    with pytest.raises(FileNotFoundError):
        os.stat(here / "old")


def test_a_file_renamed_while_open_is_written_under_its_new_name(here: Path) -> None:
    with open(here / "old", "w") as file:
        file.write("before, ")
        file.flush()
        os.rename(here / "old", here / "new")
        file.write("after")
    assert (here / "new").read_text() == "before, after"
    assert os.listdir(here) == ["new"]


def test_a_directory_is_renamed_with_its_content(here: Path, tree: Path) -> None:
    shutil.copytree(tree, here / "old")
    os.rename(here / "old", here / "new")
    assert os.listdir(here) == ["new"]
    program("diff", "-r", tree, here / "new")


def test_rmdir_refuses_a_directory_that_is_not_empty(here: Path) -> None:
    (here / "folder").mkdir()
    (here / "folder" / "file").write_text("x")
    with pytest.raises(OSError, match="not empty") as caught:
        os.rmdir(here / "folder")
    assert caught.value.errno == errno.ENOTEMPTY
    assert (here / "folder" / "file").read_text() == "x"


def test_rm_removes_a_tree(here: Path, tree: Path) -> None:
    shutil.copytree(tree, here / "tree")
    program("rm", "-r", here / "tree")
    assert os.listdir(here) == []


def test_an_unlinked_open_file_can_still_be_written_and_read(here: Path) -> None:
    with open(here / "gone", "w+b") as file:
        file.write(b"one ")
        file.flush()
        os.unlink(here / "gone")
        assert os.listdir(here) == []
        file.write(b"two")
        file.seek(0)
        assert file.read() == b"one two"
        assert os.fstat(file.fileno()).st_size == 7
    assert os.listdir(here) == []


def test_an_unlinked_stored_file_can_still_be_read(here: Path) -> None:
    data = random.Random(4).randbytes(700_000)
    (here / "gone").write_bytes(data)
    with open(here / "gone", "rb") as file:
        os.unlink(here / "gone")
        assert file.read() == data


def test_a_mapped_file_reads_as_written(here: Path) -> None:
    data = random.Random(5).randbytes(1_000_003)
    (here / "mapped").write_bytes(data)
    code = """
import hashlib, mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
    print(hashlib.sha256(view).hexdigest())
"""
    assert script(code, here / "mapped").strip() == hashlib.sha256(data).hexdigest()


def test_df_answers(place: Place) -> None:
    lines = program("df", "--output=target,size", place.directory).splitlines()
    assert lines[1].split()[0] == str(place.directory)


def test_a_name_that_is_not_there_is_not_found(here: Path) -> None:
    with pytest.raises(FileNotFoundError):
        os.stat(here / "nowhere")
    with pytest.raises(FileNotFoundError):
        os.open(here / "nowhere" / "below", os.O_RDONLY)


def test_find_lists_every_file_with_its_size(here: Path, tree: Path) -> None:
    shutil.copytree(tree, here / "tree")
    found = program("find", ".", "-type", "f", "-printf", "%p %s\\n", cwd=here / "tree")
    expected = program("find", ".", "-type", "f", "-printf", "%p %s\\n", cwd=tree)
    assert sorted(found.splitlines()) == sorted(expected.splitlines())


def test_eight_processes_reading_one_file_get_no_wrong_block(here: Path) -> None:
    blocks = 2048
    with open(here / "numbered", "wb") as file:
        file.writelines(number.to_bytes(8, "little") * 512 for number in range(blocks))
    code = """
import os, random, sys
path, blocks = sys.argv[1], int(sys.argv[2])
children = []
for seed in range(8):
    child = os.fork()
    if child == 0:
        rng = random.Random(seed)
        fd = os.open(path, os.O_RDONLY)
        for _ in range(300):
            number, count = rng.randrange(blocks - 4), rng.randint(1, 4)
            data = os.pread(fd, 4096 * count, 4096 * number)
            wanted = b"".join(n.to_bytes(8, "little") * 512 for n in range(number, number + count))
            if data != wanted:
                print(f"process {seed}: wrong data at block {number}: {len(data)} bytes", flush=True)
                os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""
    script(code, here / "numbered", str(blocks))
