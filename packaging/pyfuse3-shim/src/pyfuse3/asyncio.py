"""For type checkers; at run time `import pyfuse3` has put the real module in this one's place."""

from __future__ import annotations

from aiovfs.compat.pyfuse3.asyncio import *  # noqa: F403
