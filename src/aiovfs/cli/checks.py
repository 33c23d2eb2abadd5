"""The checks of `aiovfs doctor`: one function each, which returns what it found. None needs the network.

A check that fails means that mounting cannot work; everything that is only slower, or missing for some URLs, warns.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["CHECKS", "Finding", "run_checks"]


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    state: Literal["ok", "warn", "fail"]
    text: str
    hint: str | None = None


def run_checks() -> list[Finding]:
    """All findings, in the table's order. A check that breaks is a finding too."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check()
        except Exception as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            findings.append(Finding(name, "warn", f"could not be checked: {type(error).__name__}: {error}"))
    return findings


def check_python() -> Iterator[Finding]:
    import aiovfs

    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    yield Finding("python", "ok", f"{implementation}, aiovfs {aiovfs.__version__} ({Path(aiovfs.__file__).parent})")


def check_kernel() -> Iterator[Finding]:
    if sys.platform != "linux":
        yield Finding("kernel", "fail", f"{platform.system()} cannot mount", "aiovfs mounts on Linux only")
        return
    config = kernel_config()
    known = []
    for option, meaning in (("CONFIG_FUSE_PASSTHROUGH", "passthrough"), ("CONFIG_FUSE_IO_URING", "io_uring")):
        if option in config:
            known.append(f"{meaning} {'yes' if config[option] != 'n' else 'no'}")
    features = f" (FUSE: {', '.join(known)})" if known else " (its configuration cannot be read)"
    yield Finding("kernel", "ok", f"Linux {platform.release()}{features}")


def check_device() -> Iterator[Finding]:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        yield Finding(
            "/dev/fuse",
            "fail",
            "does not exist",
            "modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN",
        )
    except OSError as error:
        yield Finding("/dev/fuse", "fail", f"cannot be opened: {error.strerror}", "its mode should be crw-rw-rw-")
    else:
        yield Finding("/dev/fuse", "ok", "can be opened")


def check_helper() -> Iterator[Finding]:
    path = shutil.which("fusermount3")
    is_root = os.geteuid() == 0
    install = "Debian: apt install fuse3; Fedora: dnf install fuse3"
    if path is None:
        if is_root:
            yield Finding("fusermount3", "ok", "not found; not needed by root, who mounts without it")
        else:
            yield Finding("fusermount3", "fail", "not found", install)
        return
    info = os.stat(path)
    if not is_root and not (info.st_uid == 0 and info.st_mode & 0o4000):
        yield Finding("fusermount3", "fail", f"{path} is not set-user-ID root", f"chmod u+s {path}")
    else:
        yield Finding("fusermount3", "ok", path)


def check_allow_other() -> Iterator[Finding]:
    try:
        lines = Path("/etc/fuse.conf").read_text().splitlines()
    except OSError:
        lines = []
    if any(line.strip() == "user_allow_other" for line in lines):
        yield Finding("allow_other", "ok", "ordinary users may use it (user_allow_other in /etc/fuse.conf)")
    elif os.geteuid() == 0:
        yield Finding("allow_other", "ok", "root may use it; ordinary users may not (/etc/fuse.conf)")
    else:
        yield Finding(
            "allow_other",
            "warn",
            "ordinary users may not use it",
            "only if others must see your mounts: add the line user_allow_other to /etc/fuse.conf",
        )


PACKAGES: tuple[tuple[str, str, str], ...] = (
    ("fsspec", "", "every URL that is not ours"),
    ("anyio", "", "everything"),
    ("uvloop", "uvloop", "a faster event loop"),
    ("trio", "trio", "programs on Trio"),
    ("obstore", "cloud", "s3://, gs://, az:// at a tenth of the CPU"),
    ("s3fs", "s3", "s3:// with fsspec's own client"),
    ("aiohttp", "http", "http:// and https://"),
)
"""Distribution, our extra that installs it, what it is for."""


def check_packages() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for name, extra, purpose in PACKAGES:
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding(name, "warn", f"not installed; it is for {purpose}", f"pip install 'aiovfs[{extra}]'")
        else:
            yield Finding(name, "ok", f"{found}: {purpose}")


def check_native_parts() -> Iterator[Finding]:
    """Extension modules whose sources are in the package, or that were built: loaded or not, and why."""
    import aiovfs

    root = Path(aiovfs.__file__).parent
    names = {path.relative_to(root).with_suffix("") for path in root.rglob("*.pyx")}
    names |= {path.relative_to(root).parent / path.name.partition(".")[0] for path in root.rglob("*.so")}
    if not names:
        yield Finding("native parts", "ok", "none in this version; everything runs in Python")
    for name in sorted(names):
        module = ".".join(("aiovfs", *name.parts))
        if os.environ.get("AIOVFS_PURE") == "1":
            yield Finding("native parts", "warn", f"{module} is not used: AIOVFS_PURE=1", "unset AIOVFS_PURE")
            continue
        try:
            spec = importlib.util.find_spec(module)
            importlib.import_module(module)
        except ImportError as error:
            reason = "was not built" if spec is None else str(error)
            text = f"{module} is not loaded: {reason}; Python does its work"
            yield Finding("native parts", "warn", text, "reinstall with a C compiler")
        else:
            yield Finding("native parts", "ok", f"{module} is loaded")


def check_cache() -> Iterator[Finding]:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base, "aiovfs")
    probe = folder / f".doctor-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(probe, "wb") as file:
            # Sparse files hold the written and fetched parts of large remote files.
            file.truncate(64 << 20)
            file.flush()
            allocated = os.fstat(file.fileno()).st_blocks * 512
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding(
            "cache",
            "fail",
            f"{folder} cannot be written: {error.strerror}",
            "mount with -o cache_dir=…, or make it writable",
        )
        return
    finally:
        probe.unlink(missing_ok=True)
    text = f"{folder}, {free / 2**30:.1f} GiB free"
    if allocated > 1 << 20:
        yield Finding("cache", "warn", f"{text}; its file system has no sparse files", "put it on ext4, xfs or btrfs")
    elif free < 1 << 30:
        yield Finding("cache", "warn", text, "written files wait there for their upload; make room")
    else:
        yield Finding("cache", "ok", text)


def check_mounts() -> Iterator[Finding]:
    from aiovfs.cli.umount_cmd import is_dead
    from aiovfs.mount import registry

    alive = 0
    for row in registry.mounted_rows():
        if not row.is_ours:
            continue
        dead = is_dead(row, registry.find_record(row))
        if dead is None:
            yield Finding("mounts", "warn", f"{row.directory} does not answer", "look at the process that serves it")
        elif dead:
            yield Finding("mounts", "warn", f"{row.directory} is dead", f"aiovfs umount {row.directory}")
        else:
            alive += 1
    yield Finding("mounts", "ok", f"{alive} served")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_python,
    check_kernel,
    check_device,
    check_helper,
    check_allow_other,
    check_packages,
    check_native_parts,
    check_cache,
    check_mounts,
)


def kernel_config() -> dict[str, str]:
    """The kernel's build options that mention FUSE, from where distributions put them; empty when they are not told."""
    lines: list[str] = []
    try:
        with gzip.open("/proc/config.gz", "rt") as file:
            lines = file.readlines()
    except OSError:
        try:
            lines = Path(f"/boot/config-{platform.release()}").read_text().splitlines()
        except OSError:
            return {}
    config: dict[str, str] = {}
    for line in lines:
        if line.startswith("CONFIG_FUSE"):
            name, _, value = line.strip().partition("=")
            config[name] = value
        elif line.startswith("# CONFIG_FUSE") and line.endswith("is not set\n"):
            config[line.split()[1]] = "n"
    return config
