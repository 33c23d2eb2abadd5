"""Mount from Python, use the directory with anything, and have everything stored when the block ends.

Usage: mount_from_python.py URL DIRECTORY
"""

import subprocess
import sys

import aiovfs


def main(url: str, directory: str) -> None:
    with aiovfs.mount(url, directory) as mounted:
        target = mounted.directory / "from-python.txt"
        target.write_text("written through the mount\n")
        subprocess.run(["wc", "-c", str(target)], check=True)  # any program sees it
    print(f"unmounted; {url} has it now")


if __name__ == "__main__":
    main(*sys.argv[1:])
