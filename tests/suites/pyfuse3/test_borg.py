"""BorgBackup, a program that mounts its archives with pyfuse3, does so with ours; nothing of it is changed.

Debian's package is used, with Debian's Python: what it finds as `pyfuse3` is the shim.
"""

from __future__ import annotations

import filecmp
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovfs.fuse import mountpoint

ROOT = Path(__file__).parents[3]
NEEDED = ("anyio", "attr", "attrs", "idna", "outcome", "sniffio", "sortedcontainers", "trio", "typing_extensions")

pytestmark = [pytest.mark.mounted, pytest.mark.timeout(120)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Borg's, with the shim and what it needs on the path, and nothing else of this Python."""
    if shutil.which("borg") is None:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail("CI must have borg (Debian: borgbackup)", pytrace=False)
        pytest.skip("borg is not installed (Debian: borgbackup)")
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for name in NEEDED:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:
            origin = Path(found.origin)
            target = origin.parent if origin.name == "__init__.py" else origin
            (libraries / target.name).symlink_to(target)
    places = (ROOT / "packaging" / "pyfuse3-shim" / "src", ROOT / "src", libraries)
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "BORG_FUSE_IMPL": "pyfuse3",
        "BORG_BASE_DIR": str(tmp_path / "borg"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "folder" / "empty").mkdir(parents=True)
    (tree / "big").write_bytes(os.urandom(3_000_000))
    (tree / "folder" / "small").write_text("small\n")
    (tree / "folder" / "names").mkdir()
    for number in range(300):
        (tree / "folder" / "names" / f"name-{number:03}").write_text(f"{number}\n")
    (tree / "link").symlink_to("folder/small")
    os.link(tree / "big", tree / "again")
    (tree / "big").chmod(0o640)
    os.setxattr(tree / "big", "user.colour", b"blue")
    return tree


@pytest.fixture
def archive(tmp_path: Path, tree: Path, environment: dict[str, str]) -> str:
    repository = tmp_path / "repository"
    for arguments in (["init", "-e", "none", str(repository)], ["create", f"{repository}::archive", "."]):
        subprocess.run(["borg", *arguments], cwd=tree, env=environment, check=True, capture_output=True, timeout=60)
    return f"{repository}::archive"


@pytest.fixture
def mounted(tmp_path: Path, archive: str, environment: dict[str, str]) -> Iterator[Path]:
    """The archive, mounted as a user does: borg forks between init() and main(), and the command returns."""
    directory = tmp_path / "mnt"
    directory.mkdir()
    look = "import pyfuse3; print(pyfuse3.__file__)"
    found = subprocess.run(
        ["/usr/bin/python3", "-c", look], env=environment, check=True, capture_output=True, text=True
    )
    assert found.stdout.startswith(str(ROOT / "src"))
    log = tmp_path / "log"  # not a pipe: the daemon keeps it open
    try:
        with log.open("wb") as output:
            command = ["borg", "mount", archive, str(directory)]
            done = subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=60, check=False)
        assert done.returncode == 0, log.read_text()
        assert mountpoint.is_mounted(str(directory))
        yield directory
        subprocess.run(["borg", "umount", str(directory)], env=environment, check=True, capture_output=True, timeout=60)
        # The daemon has ended in order when it has given its lock of the repository back.
        subprocess.run(["borg", "list", archive], env=environment, check=True, capture_output=True, timeout=60)
        assert not log.read_text()
    finally:
        if mountpoint.is_mounted(str(directory)):
            mountpoint.unmount(str(directory), lazy=True)


def test_borg_mounts_an_archive_that_is_the_tree_it_was_made_of(mounted: Path, tree: Path) -> None:
    def all_of(root: Path) -> list[tuple[str, int, int, int]]:
        found = sorted(root.rglob("*"))
        status = [path.lstat() for path in found]
        names = [str(path.relative_to(root)) for path in found]
        return [(name, st.st_mode, st.st_size, st.st_mtime_ns) for name, st in zip(names, status, strict=True)]

    files = [entry for entry in all_of(tree) if not Path(tree, entry[0]).is_dir()]
    assert [entry for entry in all_of(mounted) if not Path(mounted, entry[0]).is_dir()] == files
    assert len(files) == 304
    for name, *_ in files:
        assert filecmp.cmp(tree / name, mounted / name, shallow=False)
    assert os.readlink(mounted / "link") == "folder/small"
    assert os.getxattr(mounted / "big", "user.colour") == b"blue"
    assert os.stat(mounted / "big").st_ino == os.stat(mounted / "again").st_ino
    with pytest.raises(OSError, match="Read-only"):
        (mounted / "big").write_bytes(b"")
