"""Makes `backends.py` importable from the tests beside it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("backends", Path(__file__).with_name("backends.py"))
assert _spec is not None
assert _spec.loader is not None
sys.modules["backends"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["backends"])
