"""`aiovfs ls`, `cat` and `cp`: stores without a mount."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def s3(s3_server: Any, shell: Any) -> Any:
    """The S3 server, in the environment of the commands."""
    shell.environment |= s3_server.env
    return s3_server


@pytest.fixture(params=["local", "s3fs", "obstore", "http"])
def tree(request: pytest.FixtureRequest, shell: Any, store: Path) -> tuple[str, tuple[str, ...]]:
    """The URL of a copy of `store` in a store of each kind, and the flags that reach it."""
    if request.param == "local":
        return str(store), ()
    if request.param == "http":
        nginx = request.getfixturevalue("nginx")
        target = Path(nginx.files) / f"cli-{os.getpid()}-{id(request)}"
        subprocess.run(["cp", "-r", store, target], check=True)
        return f"{nginx.url.rstrip('/')}/{target.name}", ()
    server = request.getfixturevalue("s3")
    bucket = server.new_bucket()
    subprocess.run(["cp", "-r", f"{store}/.", server.path(bucket, "tree")], check=True)
    return f"s3://{bucket}/tree", ("--client", request.param)


def test_listing_of_a_directory_is_sorted_and_marks_directories(shell: Any, tree: tuple[str, tuple[str, ...]]) -> None:
    url, flags = tree
    assert [line for line in shell("ls", url, *flags).stdout.splitlines() if line != "empty/"] == ["hello.txt", "sub/"]


def test_recursive_listing_names_everything_relative_to_the_url(shell: Any, tree: tuple[str, tuple[str, ...]]) -> None:
    url, flags = tree
    lines = set(shell("ls", "-R", url, *flags).stdout.splitlines()) - {"empty/"}
    assert lines == {"hello.txt", "sub/", "sub/binary", "sub/deep/", "sub/deep/ä ö.txt"}


def test_listing_of_a_file_shows_that_file(shell: Any, tree: tuple[str, tuple[str, ...]]) -> None:
    url, flags = tree
    [line] = shell("ls", "--json", f"{url}/hello.txt", *flags).stdout.splitlines()
    entry = json.loads(line)
    assert (entry["name"], entry["kind"], entry["size"]) == ("hello.txt", "file", 6)


def test_file_of_any_store_is_written_byte_for_byte(shell: Any, tree: tuple[str, tuple[str, ...]]) -> None:
    url, flags = tree
    done = shell("cat", f"{url}/sub/binary", f"{url}/hello.txt", *flags, text=False)
    assert done.stdout == bytes(range(256)) * 40 + b"hello\n"


def test_whole_tree_is_copied_from_any_store(shell: Any, tree: tuple[str, tuple[str, ...]], tmp_path: Path) -> None:
    url, flags = tree
    target = tmp_path / "target"
    done = shell("cp", "-r", url, target, *flags)
    assert (target / "hello.txt").read_bytes() == b"hello\n"
    assert (target / "sub/binary").read_bytes() == bytes(range(256)) * 40
    assert (target / "sub/deep/ä ö.txt").read_bytes() == "ü".encode()
    assert "copied 3 files" in done.stderr
    assert not [name for _, _, names in os.walk(target) for name in names if name.endswith(".part")]


def test_server_that_refuses_to_list_still_gives_files(shell: Any, nginx: Any) -> None:
    (Path(nginx.files) / "cli-single.txt").write_text("alone")
    assert shell("cat", f"{nginx.site('unlisted').rstrip('/')}/cli-single.txt").stdout == "alone"


def test_long_listing_shows_size_and_time(shell: Any, store: Path) -> None:
    os.utime(store / "hello.txt", (1_000_000_000, 1_000_000_000))
    line = shell("ls", "-l", store / "hello.txt").stdout
    assert line.split() == ["-rw-r--r--", "6", "2001-09-09", "01:46:40", "hello.txt"]


def test_name_with_a_newline_stays_on_one_line(shell: Any, store: Path) -> None:
    (store / "empty" / "a\nb").touch()
    assert shell("ls", store / "empty").stdout == "a\\nb\n"
    assert json.loads(shell("ls", "--json", store / "empty").stdout)["name"] == "a\nb"


def test_file_inside_of_an_archive_is_reached_through_a_chain(shell: Any, store: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("dir/inner.txt", "zipped")
    assert shell("cat", f"zip://dir/inner.txt::file://{tmp_path}/a.zip").stdout == "zipped"
    assert shell("ls", f"zip://dir::file://{tmp_path}/a.zip").stdout == "inner.txt\n"
    assert shell("ls", f"zip://::file://{tmp_path}/a.zip").stdout == "dir/\n"


def test_reader_that_goes_away_ends_cat_quietly(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (32 << 20))
    process = shell.start("cat", tmp_path / "large", text=False)
    assert process.stdout.read(10) == b"x" * 10
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 141


def test_reader_that_goes_away_ends_ls_quietly(shell: Any, tmp_path: Path) -> None:
    for number in range(5000):
        (tmp_path / f"a-rather-long-name-{number}").touch()
    process = shell.start("ls", "-l", tmp_path)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(20) == 141


@pytest.mark.parametrize("client", ["s3fs", "obstore"])
def test_tree_goes_up_to_a_store_and_around_in_it(shell: Any, s3: Any, store: Path, client: str) -> None:
    bucket = s3.new_bucket()
    flags = ("--client", client)
    shell("cp", "-r", store, f"s3://{bucket}/up", *flags)
    assert s3.path(bucket, "up/sub/binary").read_bytes() == bytes(range(256)) * 40
    shell("cp", f"s3://{bucket}/up/hello.txt", f"s3://{bucket}/again.txt", *flags)
    assert s3.path(bucket, "again.txt").read_bytes() == b"hello\n"
    shell("cp", "-r", f"s3://{bucket}/up", f"s3://{bucket}/second/", *flags)
    assert s3.path(bucket, "second/up/sub/deep/ä ö.txt").read_bytes() == "ü".encode()


def test_file_goes_from_one_store_to_another(shell: Any, s3: Any, nginx: Any) -> None:
    bucket = s3.new_bucket()
    (Path(nginx.files) / "cli-source.bin").write_bytes(b"\x00\xff" * 5000)
    shell("cp", f"{nginx.url.rstrip('/')}/cli-source.bin", f"s3://{bucket}/dir/target.bin")
    assert s3.path(bucket, "dir/target.bin").read_bytes() == b"\x00\xff" * 5000


def test_file_is_copied_into_an_existing_directory_and_under_a_new_name(
    shell: Any, store: Path, tmp_path: Path
) -> None:
    shell("cp", store / "hello.txt", store / "empty")
    assert (store / "empty/hello.txt").read_bytes() == b"hello\n"
    shell("cp", store / "hello.txt", store / "empty/other")
    assert (store / "empty/other").read_bytes() == b"hello\n"
    shell("cp", store / "hello.txt", f"{tmp_path}/made/")
    assert (tmp_path / "made/hello.txt").read_bytes() == b"hello\n"


def test_several_sources_need_a_directory(shell: Any, store: Path, tmp_path: Path) -> None:
    line = shell.refusal(1, "cp", store / "hello.txt", store / "sub/binary", tmp_path / "one", "-q")
    assert "several sources need a directory" in line


def test_directory_needs_r(shell: Any, store: Path, tmp_path: Path) -> None:
    done = shell("cp", store, tmp_path / "target", check=False)
    assert done.returncode == 1
    assert "use -r" in done.stderr
    assert not (tmp_path / "target").exists()


def test_symlinks_are_copied_as_such_between_directories(shell: Any, store: Path, tmp_path: Path) -> None:
    (store / "link").symlink_to("hello.txt")
    shell("cp", "-r", store, tmp_path / "target")
    assert os.readlink(tmp_path / "target/link") == "hello.txt"


def test_directory_is_not_copied_into_itself(shell: Any, s3: Any, store: Path) -> None:
    bucket = s3.new_bucket()
    shell("cp", "-r", store, f"s3://{bucket}/up", "-q")
    done = shell("cp", "-r", f"s3://{bucket}/up", f"s3://{bucket}/up/inside/", check=False)
    assert done.returncode == 1
    assert "into itself" in done.stderr


def test_what_fails_is_reported_file_by_file_and_the_rest_is_copied(shell: Any, store: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "store/hello.txt").mkdir(parents=True)
    done = shell("cp", "-r", store, f"{target}/", check=False)
    assert done.returncode == 1
    assert f"aiovfs: {store}/hello.txt: Is a directory" in done.stderr
    assert "1 failed" in done.stderr
    assert (target / "store/sub/binary").read_bytes() == bytes(range(256)) * 40
    assert not [name for _, _, names in os.walk(target) for name in names if name.endswith(".part")]


@pytest.mark.parametrize("client", ["s3fs", "obstore"])
def test_download_that_breaks_off_leaves_the_old_file(
    shell: Any, s3: Any, proxied: Any, tmp_path: Path, client: str
) -> None:
    bucket = s3.new_bucket()
    s3.path(bucket, "large").write_bytes(b"x" * (1 << 20))
    proxy = proxied(s3.port)
    proxy.cut(after=100_000, only=lambda exchange: exchange.method == "GET" and "large" in exchange.target)
    target = tmp_path / "target"
    target.write_text("old")
    source = f"s3://{bucket}/large"
    options = ("--client", client, "-o", f"endpoint_url={proxy.url}")
    done = shell("cp", source, target, *options, check=False)
    assert done.returncode == 1
    assert f"aiovfs: {source}: " in done.stderr
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_absent_source_is_named(shell: Any, s3: Any, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    done = shell("cp", f"s3://{bucket}/absent", tmp_path / "target", check=False)
    assert done.returncode == 1
    assert f"aiovfs: s3://{bucket}/absent: " in done.stderr
    assert not (tmp_path / "target").exists()


def test_missing_target_directory_is_named(shell: Any, store: Path, tmp_path: Path) -> None:
    done = shell("cp", store / "hello.txt", tmp_path / "nowhere/new", check=False)
    assert done.returncode == 1
    assert f"the directory {tmp_path}/nowhere does not exist" in done.stderr


def test_symlink_is_copied_as_its_content_where_there_are_no_symlinks(shell: Any, s3: Any, store: Path) -> None:
    bucket = s3.new_bucket()
    (store / "link").symlink_to("hello.txt")
    shell("cp", "-r", store, f"s3://{bucket}/up")
    assert s3.path(bucket, "up/link").read_bytes() == b"hello\n"


def test_quiet_says_nothing(shell: Any, store: Path, tmp_path: Path) -> None:
    done = shell("cp", "-q", store / "hello.txt", tmp_path / "copy")
    assert (done.stdout, done.stderr) == ("", "")


def test_terminal_shows_a_bar(shell: Any, store: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        done = shell("cp", "-r", store, tmp_path / "target", stdout=theirs, stderr=theirs, capture_output=False)
        assert done.returncode == 0
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "\x1b[" in shown
    assert "copied 3 files" in shown
