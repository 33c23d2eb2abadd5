"""How one opcode is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from aiovfs.fuse.packers import Pack

__all__ = ["Route"]


class Route(NamedTuple):
    """How one opcode is served. `adds_lookup` says that the reply holds an Entry, which counts once it was sent."""

    name: str
    handler: Callable[[Any], Any]
    pack: Pack
    adds_lookup: bool
