"""For type checkers; at run time `import pyfuse3` has put the real module in this one's place."""

from __future__ import annotations

from aiovfs.compat.pyfuse3._pyfuse3 import *  # noqa: F403
