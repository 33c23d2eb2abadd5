"""The list of native extensions and its two switches; everything else is in pyproject.toml.

AIOVFS_REQUIRE_EXT=1  refuse to build without the extensions
AIOVFS_SKIP_EXT=1     do not try to build them

Without a C compiler the extensions are left out, and Python does their work; `aiovfs doctor` says so.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

here = Path(__file__).parent
required = os.environ.get("AIOVFS_REQUIRE_EXT") == "1"
skipped = os.environ.get("AIOVFS_SKIP_EXT") == "1"
if required and skipped:
    raise SystemExit("AIOVFS_REQUIRE_EXT=1 and AIOVFS_SKIP_EXT=1 contradict each other; unset one")
sources = [] if skipped else sorted((here / "src").rglob("*.pyx"))
headers = [str(header.relative_to(here)) for header in sorted((here / "src").rglob("*.h"))]
extensions = [
    Extension(
        ".".join(source.relative_to(here / "src").with_suffix("").parts),
        [str(source.relative_to(here))],
        include_dirs=["src"],
        depends=headers,
    )
    for source in sources
]
if extensions:
    from Cython.Build import cythonize

    extensions = cythonize(extensions, language_level=3, include_path=["src"], build_dir="build/cython")
    for extension in extensions:
        extension.optional = not required  # cythonize makes new objects, and would lose it
setup(ext_modules=extensions)
