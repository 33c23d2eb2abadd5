"""Facts about the machine and the versions that a result was measured with; a figure without them says nothing."""

from __future__ import annotations

import ctypes
import datetime
import importlib.metadata
import os
import platform
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import rivals

__all__ = ["facts", "fuse_protocol"]

OUR_PACKAGES = ("aiovfs", "anyio", "fsspec", "obstore", "s3fs", "aiohttp", "trio", "uvloop")
MNT_DETACH = 2
FUSE_INIT_OFFSET = 40  # the request header; struct fuse_init_in starts with major and minor


def cpu_model() -> str:
    """What /proc/cpuinfo calls the first CPU."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def fuse_protocol() -> str | None:
    """The FUSE protocol version the kernel offers, as "7.45"; None without the right to mount.

    It is read from the INIT request of a mount that is never served, because no file under /proc or /sys has it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with tempfile.TemporaryDirectory() as directory:
            options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
            if libc.mount(b"aiovfs-benchmark", directory.encode(), b"fuse", 0, options):
                return None
            try:
                major, minor = struct.unpack_from("=II", os.read(fd, 1 << 17), FUSE_INIT_OFFSET)
            finally:
                libc.umount2(directory.encode(), MNT_DETACH)
            return f"{major}.{minor}"
    finally:
        os.close(fd)


def commit() -> str:
    """The checked-out commit, with "+" when src/ has changes that are not in it."""

    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, check=False
        )
        return result.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "../src") else "")


def our_versions() -> dict[str, str]:
    """Versions of aiovfs and the packages that decide its speed."""
    found = {}
    for name in OUR_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def facts() -> dict[str, Any]:
    """Everything a reader needs to judge or repeat a result, ready for JSON."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(),
        "memory_mib": memory >> 20,
        "kernel": platform.release(),
        "fuse_protocol": fuse_protocol(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": our_versions(),
        "rivals": rivals.versions(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
