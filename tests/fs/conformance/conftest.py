"""`./run clouds` has an environment with all clients; elsewhere their part of the matrix is not collected."""

from __future__ import annotations

import os

collect_ignore = [] if "AIOVFS_CLOUDS" in os.environ else ["test_other_clients.py"]
