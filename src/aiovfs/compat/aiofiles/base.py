"""What every object of this package is made of: methods that are awaited, in front of a file.

The file is one of `aiovfs.aio`, whose methods are awaitable already, or any of Python's own, whose methods run in the
engine's threads (or in the `executor` that was given, as with aiofiles). Which methods and attributes a class has is a
list in front of it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

from aiovfs import aio

__all__ = [
    "AiofilesContextManager",
    "AsyncBase",
    "AsyncIndirectBase",
    "attributes",
    "awaited",
    "call",
    "direct",
    "wrap",
]

C = TypeVar("C", bound=type)


async def call(executor: Any, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`func(*args, **kwargs)` in a thread: of `executor`, if there is one."""
    work = functools.partial(func, *args, **kwargs)
    if executor is not None:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    return await aio.run(work)


def wrap(func: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A coroutine function that runs a blocking one in a thread."""

    @functools.wraps(func)
    async def run(*args: Any, loop: Any = None, executor: Any = None, **kwargs: Any) -> Any:
        return await call(executor, func, *args, **kwargs)

    return run


class AsyncBase:
    """An awaitable front of `_file`."""

    def __init__(self, file: Any, loop: Any = None, executor: Any = None) -> None:
        self._file = file
        self._ref_loop = loop
        self._executor = executor

    @property
    def _loop(self) -> Any:
        return self._ref_loop or asyncio.get_running_loop()

    def __aiter__(self) -> AsyncBase:
        return self

    async def __anext__(self) -> Any:
        line = await self.readline()  # type: ignore[attr-defined]
        if not line:
            raise StopAsyncIteration
        return line

    def __repr__(self) -> str:
        return f"{super().__repr__()} wrapping {self._file!r}"


class AsyncIndirectBase(AsyncBase):
    """A front of a file that is looked up anew each time, as `sys.stdout` has to be."""

    def __init__(self, name: str, loop: Any, executor: Any, indirect: Callable[[], Any]) -> None:
        self._indirect = indirect
        self._name = name
        super().__init__(None, loop, executor)

    @property
    def _file(self) -> Any:
        return self._indirect()

    @_file.setter
    def _file(self, value: Any) -> None:
        pass


def awaited(*names: str) -> Callable[[C], C]:
    """Give a class methods to await."""

    def make(name: str) -> Any:
        async def method(self: AsyncBase, *args: Any, **kwargs: Any) -> Any:
            file = self._file
            target = getattr(file, name)
            if isinstance(file, aio.File | aio.TextFile):
                result = target(*args, **kwargs)
                return await result if isinstance(result, Awaitable) else result
            return await call(self._executor, target, *args, **kwargs)

        method.__name__ = name
        return method

    return _give(names, make)


def direct(*names: str) -> Callable[[C], C]:
    """Give a class methods that ask no disk."""

    def make(name: str) -> Any:
        def method(self: AsyncBase, *args: Any, **kwargs: Any) -> Any:
            return getattr(self._file, name)(*args, **kwargs)

        method.__name__ = name
        return method

    return _give(names, make)


def attributes(*names: str) -> Callable[[C], C]:
    """Give a class the file's attributes."""
    return _give(names, lambda name: property(lambda self: getattr(self._file, name)))


def _give(names: tuple[str, ...], make: Callable[[str], Any]) -> Callable[[C], C]:
    def give(cls: C) -> C:
        for name in names:
            setattr(cls, name, make(name))
        return cls

    return give


class AiofilesContextManager(Awaitable[Any], AbstractAsyncContextManager[Any]):
    """What `open` returns: await it for the file, or use it with `async with`."""

    __slots__ = ("_coro", "_obj")

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self._coro = coro
        self._obj: Any = None

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._obj is None:
            self._obj = yield from self._coro.__await__()
        return self._obj

    async def __aenter__(self) -> Any:
        return await self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        obj, self._obj = self._obj, None
        await obj.close()
