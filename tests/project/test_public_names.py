"""The public surface is itself under test: what a module lists exists, and what a package exports has a contract."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import aiovfs

PACKAGES = [
    "aiovfs.fuse",
    "aiovfs.fuse.protocol",
    "aiovfs.fs",
    "aiovfs.mount",
    "aiovfs.aio",
    "aiovfs.errors",
    "aiovfs.types",
]


def modules() -> list[str]:
    return sorted(
        module.name for module in pkgutil.walk_packages(aiovfs.__path__, "aiovfs.") if module.name != "aiovfs.__main__"
    )


def load(name: str) -> ModuleType:
    importlib.import_module(name)
    return sys.modules[name]  # `aiovfs.mount` is a function as well as a package


@pytest.mark.parametrize("name", modules())
def test_what_a_module_lists_exists(name: str) -> None:
    module = load(name)
    missing = [public for public in getattr(module, "__all__", []) if not hasattr(module, public)]
    assert missing == []


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_is(name: str) -> None:
    module = load(name)
    assert (module.__doc__ or "").strip()


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_class_and_function_has_a_docstring(name: str) -> None:
    module = load(name)
    bare = [
        public
        for public in module.__all__
        if (inspect.isclass(value := getattr(module, public)) or inspect.isfunction(value))
        and not inspect.getdoc(value)
    ]
    assert bare == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import aiovfs, sys; print(sorted({'anyio', 'click', 'rich', 'fsspec', 'trio', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
