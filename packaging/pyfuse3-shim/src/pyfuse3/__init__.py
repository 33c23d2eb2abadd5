"""The names of pyfuse3 3.5; everything is in aiovfs.compat.pyfuse3, which takes the place of this module."""

from __future__ import annotations

import sys

del sys.modules[__name__]  # or install() would take this very file for a pyfuse3 that came first

from aiovfs.compat.pyfuse3 import *  # noqa: E402, F403
from aiovfs.compat.pyfuse3 import install  # noqa: E402

install()
