"""Which coroutine methods of a class get a blocking form, and when they may be run on the caller's thread.

fsspec looks through every instance and attaches up to 27 closures to it (282 µs each time, and no editor sees them).
Here it is done once for a class, when it is defined, and the results are methods like any other:

- `async def _x`, or an async generator, gets `x`, when `x` is a method of fsspec's interface (its default there blocks
  on nothing of ours, so it would miss what the class says) or its name is in `async_methods`;
- an `x` that the class writes itself is left alone. Anything else is `my_method = sync_wrapper(_my_method)`, as there;
- with `mirror_sync_methods = False` a class has fsspec's synchronous defaults and nothing else, as there;
- documentation and arguments are those of the coroutine, or, where it has none, of fsspec's method.

A class that says which of its methods are `eager` answers for all of them. One derived from it that replaces any,
and does not say anew, is taken to wait: the methods that call each other would not be what was promised.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import fsspec.asyn
from fsspec import AbstractFileSystem

from aiovfs.fs.facade import blocking, blocking_iterator

__all__ = ["async_methods", "mirror"]

async_methods: list[str] = list(getattr(fsspec.asyn, "async_methods", ()))
"""Names of coroutine methods that always get a blocking form, with their underscore. Add yours before the class."""

NOT_MIRRORED = frozenset({"_open"})


def mirror(cls: type, contract: type) -> None:
    """Give `cls`, which has just been defined below `contract`, the blocking forms of its coroutines."""
    if vars(cls).get("mirror_sync_methods") is False and contract in cls.__mro__[1:]:
        for name in dir(contract):
            if getattr(getattr(cls, name), "blocks_on", None) is not None and hasattr(AbstractFileSystem, name):
                setattr(cls, name, getattr(AbstractFileSystem, name))
        return
    own = dict(_coroutines(cls, contract))
    for name, coroutine in own.items():
        public = name[1:]
        if _wants_mirror(cls, name):
            make = blocking_iterator if inspect.isasyncgenfunction(coroutine) else blocking
            setattr(cls, public, make(name, coroutine))
    if "eager" not in vars(cls) and any(name in cls.eager for name in own):  # type: ignore[attr-defined]
        cls.eager = frozenset()  # type: ignore[attr-defined]


def _coroutines(cls: type, contract: type) -> Iterator[tuple[str, Any]]:
    """The coroutine methods that `cls` brings: its own, and those of mixins that know nothing of the contract."""
    seen = set()
    for base in cls.__mro__:
        if base is not cls and issubclass(base, contract):
            return
        for name, value in vars(base).items():
            if name in seen or not name.startswith("_") or name.startswith("__") or name in NOT_MIRRORED:
                continue
            seen.add(name)
            if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value):
                yield name, value


def _wants_mirror(cls: type, name: str) -> bool:
    public = name[1:]
    present = getattr(cls, public, None)
    if present is None:
        return name in async_methods
    if getattr(present, "blocks_on", None) is not None:
        return public not in vars(cls)
    return present is getattr(AbstractFileSystem, public, None)
