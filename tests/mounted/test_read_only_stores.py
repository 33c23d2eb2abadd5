"""Stores that can only be read: web servers with and without listings, archives, archives inside of buckets."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import Place, Run, program
from servers import Nginx, S3Server


@pytest.fixture
def mounted(run: Run) -> Iterator[Callable[..., Place]]:
    """Mounts a URL for one test."""
    places: list[Place] = []

    def mount(url: str, *arguments: str, **options: dict[str, str]) -> Place:
        places.append(Place(run, url, *arguments, environment=options.get("environment")))
        places[-1].mount()
        return places[-1]

    yield mount
    for place in places:
        place.umount()


def zipped(tree: Path, target: Path) -> Path:
    """The tree as a zip file; only the files, as many programs write them."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(tree))
    return target


def assert_refuses_changes(directory: Path) -> None:
    with pytest.raises(OSError, match="Read-only") as caught:
        (directory / "new").write_text("x")
    assert caught.value.errno == errno.EROFS
    with pytest.raises(OSError, match="Read-only"):
        os.mkdir(directory / "folder")
    with pytest.raises(OSError, match="Read-only"):
        os.unlink(directory / "module0.py")
    with pytest.raises(OSError, match="Read-only"):
        os.open(directory / "module0.py", os.O_WRONLY)


def test_a_web_servers_listing_is_a_tree(mounted: Callable[..., Place], nginx: Nginx, site: Path) -> None:
    place = mounted(f"{nginx.url}site/")
    program("diff", "-r", site, place.directory)


def test_a_web_server_refuses_changes(mounted: Callable[..., Place], nginx: Nginx, site: Path) -> None:
    place = mounted(f"{nginx.url}site/")
    assert_refuses_changes(place.directory)


def test_files_of_a_web_server_without_listings_are_found_by_name(
    mounted: Callable[..., Place], nginx: Nginx, site: Path
) -> None:
    place = mounted(f"{nginx.site('unlisted')}site/")
    assert (place.directory / "data.bin").read_bytes() == (site / "data.bin").read_bytes()
    assert (place.directory / "package/sub/module1.py").read_bytes() == (site / "package/sub/module1.py").read_bytes()
    with pytest.raises(FileNotFoundError):
        os.stat(place.directory / "nowhere")


def test_a_web_server_without_ranges_serves_whole_files(
    mounted: Callable[..., Place], nginx: Nginx, site: Path
) -> None:
    place = mounted(f"{nginx.site('whole')}site/")
    with open(place.directory / "data.bin", "rb") as file:
        file.seek(200_000)
        assert file.read(1000) == (site / "data.bin").read_bytes()[200_000:201_000]


def test_a_zip_file_is_a_tree(mounted: Callable[..., Place], site: Path, tmp_path: Path) -> None:
    place = mounted(f"zip://::file://{zipped(site, tmp_path / 'tree.zip')}")
    program("diff", "-r", site, place.directory)


def test_a_zip_file_refuses_changes(mounted: Callable[..., Place], site: Path, tmp_path: Path) -> None:
    place = mounted(f"zip://::file://{zipped(site, tmp_path / 'tree.zip')}")
    assert_refuses_changes(place.directory)


def test_a_folder_inside_of_a_zip_file_is_a_root(mounted: Callable[..., Place], site: Path, tmp_path: Path) -> None:
    place = mounted(f"zip://package::file://{zipped(site, tmp_path / 'tree.zip')}")
    program("diff", "-r", site / "package", place.directory)


def test_a_zip_file_inside_of_a_bucket_is_a_tree(
    mounted: Callable[..., Place], site: Path, s3_server: S3Server
) -> None:
    bucket = s3_server.new_bucket()
    zipped(site, s3_server.path(bucket, "tree.zip"))
    place = mounted(f"zip://::s3://{bucket}/tree.zip", environment={**s3_server.env, "AWS_ALLOW_HTTP": "true"})
    program("diff", "-r", site, place.directory)


def test_a_store_mounted_read_only_refuses_changes(mounted: Callable[..., Place], site: Path) -> None:
    place = mounted(f"file://{site}", "--read-only")
    program("diff", "-r", site, place.directory)
    assert_refuses_changes(place.directory)
