"""The names of pyfuse3 3.5, what importing them costs, and the ways to get them under their own name."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiovfs.compat import pyfuse3

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "packaging" / "pyfuse3-shim" / "src"

FUNCTIONS = """
    init main terminate close invalidate_inode invalidate_entry invalidate_entry_async notify_store readdir_reply
    setxattr getxattr listdir syncfs get_sup_groups async_wrapper
"""
CLASSES = """
    Operations EntryAttributes FileInfo StatvfsData RequestContext SetattrFields ReaddirToken PollHandle FUSEError
"""
HANDLERS = {
    "lookup": "parent_inode name ctx",
    "forget": "inode_list",
    "getattr": "inode ctx",
    "setattr": "inode attr fields fh ctx",
    "readlink": "inode ctx",
    "mknod": "parent_inode name mode rdev ctx",
    "mkdir": "parent_inode name mode ctx",
    "unlink": "parent_inode name ctx",
    "rmdir": "parent_inode name ctx",
    "symlink": "parent_inode name target ctx",
    "rename": "parent_inode_old name_old parent_inode_new name_new flags ctx",
    "link": "inode new_parent_inode new_name ctx",
    "open": "inode flags ctx",
    "read": "fh off size",
    "write": "fh off buf",
    "flush": "fh",
    "release": "fh",
    "fsync": "fh datasync",
    "opendir": "inode ctx",
    "readdir": "fh start_id token",
    "releasedir": "fh",
    "fsyncdir": "fh datasync",
    "statfs": "ctx",
    "setxattr": "inode name value ctx",
    "getxattr": "inode name ctx",
    "listxattr": "inode ctx",
    "removexattr": "inode name ctx",
    "access": "inode mode ctx",
    "create": "parent_inode name mode flags ctx",
    "poll": "inode fh poll_handle ctx",
}


@pytest.mark.parametrize("name", FUNCTIONS.split())
def test_every_function_is_there_and_documented(name: str) -> None:
    function = getattr(pyfuse3, name)
    assert inspect.isroutine(function)
    assert function.__doc__


@pytest.mark.parametrize("name", CLASSES.split())
def test_every_class_is_there_and_documented(name: str) -> None:
    assert inspect.isclass(getattr(pyfuse3, name))
    assert getattr(pyfuse3, name).__doc__


def test_constants_and_aliases() -> None:
    surface: Any = pyfuse3
    assert (surface.ROOT_INODE, surface.ENOATTR) == (1, 61)
    assert (surface.RENAME_NOREPLACE, surface.RENAME_EXCHANGE) == (1, 2)
    assert surface._NANOS_PER_SEC == 10**9
    assert surface.trio_token is None
    assert surface.log.name == "pyfuse3"
    assert surface.__version__.startswith("3.5")
    for name in ("FileHandleT", "FlagT", "InodeT", "ModeT"):
        assert getattr(surface, name)(5) == 5
        assert getattr(surface, name) | None
    for name in ("FileNameT", "XAttrNameT"):
        assert getattr(surface, name)(b"x") == b"x"
    assert surface._pyfuse3.Operations is surface.Operations
    with pytest.raises(AttributeError):
        _ = surface.absent


@pytest.mark.parametrize("name", HANDLERS)
def test_handlers_are_coroutine_functions_with_pyfuse3s_parameters(name: str) -> None:
    handler = getattr(pyfuse3.Operations, name)
    assert inspect.iscoroutinefunction(handler)
    assert list(inspect.signature(handler).parameters)[1:] == HANDLERS[name].split()


def test_operations_is_a_plain_class_with_pyfuse3s_attributes() -> None:
    operations = pyfuse3.Operations
    assert type(operations) is type
    assert (operations.supports_dot_lookup, operations.enable_writeback_cache, operations.enable_acl) == (
        True,
        False,
        False,
    )
    assert operations().init() is None  # type: ignore[func-returns-value]


async def test_async_wrapper_drops_the_result() -> None:
    async def adds(one: int, *, other: int) -> int:
        return one + other

    wrapped = pyfuse3.async_wrapper(adds)
    assert inspect.iscoroutinefunction(wrapped)
    assert await wrapped(1, other=2) is None  # type: ignore[func-returns-value]


def test_signatures_of_the_life_cycle() -> None:
    assert list(inspect.signature(pyfuse3.main).parameters) == ["min_tasks", "max_tasks"]
    assert [p.default for p in inspect.signature(pyfuse3.main).parameters.values()] == [1, 99]
    assert list(inspect.signature(pyfuse3.init).parameters)[:3] == ["ops", "mountpoint", "options"]
    assert inspect.signature(pyfuse3.close).parameters["unmount"].default is True


# Functions about paths


def test_listdir_is_of_str_and_odd_bytes_survive(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).touch()
    assert pyfuse3.listdir(str(tmp_path)) == ["caf\udce9"]
    listdir: Any = pyfuse3.listdir
    with pytest.raises(TypeError):
        listdir(b"/")
    with pytest.raises(FileNotFoundError):
        listdir(str(tmp_path / "absent"))


def test_syncfs_takes_directories_only(tmp_path: Path) -> None:
    pyfuse3.syncfs(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        pyfuse3.syncfs(str(tmp_path / "file"))


def test_extended_attributes_of_any_file(tmp_path: Path) -> None:
    path = str(tmp_path)
    value = b"x" * 1000
    pyfuse3.setxattr(path, "user.long", value)
    assert pyfuse3.getxattr(path, "user.long") == value
    assert pyfuse3.getxattr(path, "user.long", size_guess=5, namespace="system") == value
    with pytest.raises(OSError, match="No data available"):
        pyfuse3.getxattr(path, "user.absent")
    put: Any = pyfuse3.setxattr
    for arguments in ((b"/", "user.x", b""), (path, b"user.x", b""), (path, "user.x", "text")):
        with pytest.raises(TypeError):
            put(*arguments)
    with pytest.raises(ValueError, match="namespace"):
        put(path, "user.x", b"", "trusted")


def test_supplementary_groups_of_a_process() -> None:
    assert pyfuse3.get_sup_groups(os.getpid()) == set(os.getgroups())
    with pytest.raises(OSError, match="No such file"):
        pyfuse3.get_sup_groups(2**22 + 1)


# Importing


def run(program: str, *, shim: bool = False) -> str:
    path = [str(ROOT / "src"), *([str(SHIM)] if shim else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_starts_no_thread_and_needs_no_trio() -> None:
    program = (
        "import sys; sys.modules['trio'] = None\n"
        "import threading; from aiovfs.compat import pyfuse3\n"
        "pyfuse3.asyncio.enable(); print(threading.active_count())"
    )
    assert run(program) == "1"


@pytest.mark.parametrize(
    "statement",
    [
        "import pyfuse3; assert pyfuse3.Operations",
        "import pyfuse3.asyncio; pyfuse3.asyncio.enable(); import pyfuse3; assert pyfuse3.trio is pyfuse3.asyncio",
        "from pyfuse3 import asyncio as a; import pyfuse3_asyncio; assert a is pyfuse3_asyncio",
        "import pyfuse3_asyncio; pyfuse3_asyncio.enable(); import pyfuse3; assert pyfuse3.trio is pyfuse3_asyncio",
        "from pyfuse3._pyfuse3 import Operations, async_wrapper, InodeT; import pyfuse3; pyfuse3.Operations",
        "import _pyfuse3; import pyfuse3; assert _pyfuse3.Operations is pyfuse3.Operations",
        "import pyfuse3, pickle; pickle.loads(pickle.dumps(pyfuse3.EntryAttributes()))",
        "import pyfuse3; from aiovfs.compat import pyfuse3 as ours; assert ours is pyfuse3; ours.install()",
    ],
)
@pytest.mark.parametrize("way", ["distribution", "install"])
def test_programs_find_the_modules_under_pyfuse3s_names(way: str, statement: str) -> None:
    if way == "distribution":
        run(statement, shim=True)
    else:
        run(f"import aiovfs.compat.pyfuse3; aiovfs.compat.pyfuse3.install(); {statement}")


def test_install_refuses_when_the_real_one_was_imported(tmp_path: Path) -> None:
    program = (
        "import sys, types; sys.modules['pyfuse3'] = types.ModuleType('pyfuse3')\n"
        "from aiovfs.compat import pyfuse3\n"
        "try: pyfuse3.install()\n"
        "except ImportError as exc: print(exc)\n"
        "print(sorted(name for name in sys.modules if name.startswith('pyfuse3')))"
    )
    said, modules = run(program).splitlines()
    assert "was imported already" in said
    assert modules == "['pyfuse3']"
