"""The main job in a minute: an archive and a store in memory become directories that any program can use.

No account, no network: run it from anywhere. It works in a temporary directory and unmounts what it mounts.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

AIOVFS = f"{shlex.quote(sys.executable)} -m aiovfs"


def run(command: str) -> None:
    """Show a command as a user types it, and run it in a shell."""
    print(f"\n$ {command}", flush=True)
    subprocess.run(["bash", "-ec", command.replace("aiovfs ", f"{AIOVFS} ", 1)], check=True)


def make_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("poems/sea.txt", "I must go down to the seas again,\nto the lonely sea and the sky.\n")
        archive.writestr("poems/rain.txt", "The rain it raineth every day.\n")
        archive.writestr("numbers.csv", "n,square\n" + "".join(f"{n},{n * n}\n" for n in range(1, 101)))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        make_archive(Path("sample.zip"))
        Path("archive").mkdir()
        Path("memory").mkdir()

        print("# A zip archive as a directory: nothing is unpacked, only what is read is fetched.")
        run("aiovfs mount zip::sample.zip archive --background")
        try:
            run("ls -lR archive")
            run("grep -rn sea archive/poems")
            run("tail -n 3 archive/numbers.csv")
        finally:
            run("aiovfs umount archive")

        print("\n# A store in memory, written by ordinary programs.")
        run("aiovfs mount memory:// memory --background")
        try:
            run("mkdir memory/notes && echo 'first line' > memory/notes/today.txt")
            run("echo 'second line' >> memory/notes/today.txt && cat memory/notes/today.txt")
            run("mv memory/notes memory/journal && ls -l memory/journal && df -h memory | tail -n 1")
        finally:
            run("aiovfs umount memory")
    print("\n# Next: aiovfs mount s3://BUCKET/PREFIX DIR   (aiovfs mount --help; aiovfs doctor)")


if __name__ == "__main__":
    main()
