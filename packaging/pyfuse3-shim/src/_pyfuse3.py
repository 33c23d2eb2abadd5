"""Where `pyfuse3._pyfuse3` was up to pyfuse3 3.4.1; `import pyfuse3` puts it in this module's place."""

from __future__ import annotations

import sys

del sys.modules[__name__]  # as in pyfuse3/__init__.py

from aiovfs.compat.pyfuse3 import install  # noqa: E402
from aiovfs.compat.pyfuse3._pyfuse3 import *  # noqa: E402, F403

install()
