"""Run the parts in C under AddressSanitizer and UndefinedBehaviorSanitizer: memory errors end the run, and say where.

    python tools/sanitize.py                    the codec, both cores and pyfuse3's values: fuzzed, then their tests
    python tools/sanitize.py -- COMMAND…        a command of one's own; `python` is this interpreter
    python tools/sanitize.py --sources fuse aio -- python -m pytest tests/aio -q

The sources are built once more, in build/sanitized, so that the environment stays as it is; needed is gcc with libasan.
Leaks are not looked for: an interpreter that ends leaves much behind on purpose. Python's own allocator is replaced by
malloc, or a block of its arenas could be overrun unseen.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "sanitized"
FLAGS = (
    "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-sanitize=alignment"
    " -fno-omit-frame-pointer -O1 -g"
)
# Without capturing: what a sanitizer says to stderr would be gone with the process that it ends.
PYTEST = ("python", "-m", "pytest", "-q", "-x", "-s", "-p", "no:cacheprovider")
COMMANDS = (
    ("python", "tools/fuzz_fuse.py", "--plain", "--inputs", "20000"),
    (*PYTEST, "tests/fuse/native", "tests/fuse/protocol", "tests/compat/test_native.py", "tests/compat/test_values.py"),
)


def build(sources: list[str]) -> None:
    """Build the extensions below the given parts of the package; the others stay Python."""
    PLACE.mkdir(parents=True, exist_ok=True)
    shutil.copytree(
        ROOT / "src",
        PLACE / "src",
        dirs_exist_ok=True,
        ignore=lambda directory, names: [name for name in names if name.endswith((".so", ".egg-info", "__pycache__"))],
    )
    for path in (PLACE / "src").rglob("*.pyx"):
        if not any(part in path.relative_to(PLACE / "src" / "aiovfs").parts for part in sources):
            path.unlink()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, PLACE)
    environment = {**os.environ, "CFLAGS": FLAGS, "LDFLAGS": FLAGS, "AIOVFS_REQUIRE_EXT": "1", "AIOVFS_SKIP_EXT": "0"}
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=PLACE, env=environment, check=True)


def library(name: str) -> str:
    """Where gcc has one of its runtime libraries."""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = found.stdout.strip()
    if not os.path.isabs(path):
        raise SystemExit(f"gcc has no {name}; install its sanitizers (Debian: libasan8 libubsan1)")
    return path


def run(command: tuple[str, ...]) -> int:
    """Run a command with the sanitized extensions in the place of the ordinary ones."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(PLACE / "src"),
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": f"{library('libasan.so')} {library('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    words = [sys.executable if word == "python" else word for word in command]
    print("==", *command, flush=True)
    return subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode


def main() -> None:
    """Build, check that it is what was built that runs, run."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--sources", nargs="+", default=["fuse", "pyfuse3"], help="parts of the package (folders)")
    parser.add_argument("command", nargs="*", help="what to run instead")
    options = parser.parse_args()
    build(options.sources)
    look = f"import aiovfs.fuse._core as core; assert core.__file__.startswith({str(PLACE)!r}), core.__file__"
    if "fuse" in options.sources and run(("python", "-c", look)):
        raise SystemExit("the sanitized extensions are not the ones that are imported")
    for command in [tuple(options.command)] if options.command else COMMANDS:
        if status := run(command):
            raise SystemExit(f"{' '.join(command)}: status {status}")


if __name__ == "__main__":
    main()
