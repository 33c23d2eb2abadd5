"""Attributes that convert what is assigned to them as C does, and complain at once.

pyfuse3's data classes are C structs underneath: `attr.st_size = 5.7` keeps 5, `attr.st_uid = -1` raises
`OverflowError`, `attr.st_mode = None` raises `TypeError`, all at the assignment. Programs rely on each of these.

The value lives in a slot of its own; the property in front of it reads with `attrgetter`, which costs no Python call.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Self, TypeVar, overload

__all__ = ["I32", "I64", "TIME", "U32", "U64", "Field", "Range", "flag", "integer", "number", "to_integer", "to_number"]

T = TypeVar("T")


class Range(NamedTuple):
    """The values of a C integer type."""

    name: str
    low: int
    high: int


I32: Final = Range("a signed 32-bit integer", -(1 << 31), (1 << 31) - 1)
U32: Final = Range("an unsigned 32-bit integer", 0, (1 << 32) - 1)
I64: Final = Range("a signed 64-bit integer", -(1 << 63), (1 << 63) - 1)
U64: Final = Range("an unsigned 64-bit integer", 0, (1 << 64) - 1)
TIME: Final = Range(
    "a time in nanoseconds with 64 bits of seconds", -(1 << 63) * 10**9, ((1 << 63) - 1) * 10**9 + 10**9 - 1
)


class Field(Generic[T]):
    """What type checkers are told of these properties: reads as `T`, takes whatever can be made into one."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, obj: None, owner: type) -> Self: ...
        @overload
        def __get__(self, obj: object, owner: type) -> T: ...
        def __get__(self, obj: object | None, owner: type) -> Self | T: ...
        def __set__(self, obj: object, value: T | float) -> None: ...


def to_integer(value: Any, kind: Range) -> int:
    """`value` as C would take it: floats lose their fraction, anything with `__int__` is asked, text is refused."""
    if not isinstance(value, int):
        if not hasattr(type(value), "__int__") and not hasattr(type(value), "__index__"):
            raise TypeError(f"an integer is required, got {value!r} ({type(value).__name__})")
        value = int(value)
    if not kind.low <= value <= kind.high:
        raise OverflowError(f"{value} is not {kind.name} ({kind.low} to {kind.high})")
    return int(value)


def integer(slot: str, kind: Range) -> Field[int]:
    """A property over `slot` that holds an integer of this kind."""
    low, high = kind.low, kind.high

    def assign(self: object, value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            value = to_integer(value, kind)
        setattr(self, slot, value)

    return property(operator.attrgetter(slot), assign)  # type: ignore[return-value]


def to_number(value: Any) -> float:
    """`value` as a C double: anything with `__float__` or `__index__` is asked, text is refused."""
    if not hasattr(type(value), "__float__") and not hasattr(type(value), "__index__"):
        raise TypeError(f"a number is required, got {value!r} ({type(value).__name__})")
    return float(value)


def number(slot: str) -> Field[float]:
    """A property over `slot` that holds a float."""

    def assign(self: object, value: Any) -> None:
        setattr(self, slot, value if type(value) is float else to_number(value))

    return property(operator.attrgetter(slot), assign)  # type: ignore[return-value]


def flag(slot: str) -> Field[bool]:
    """A property over `slot` that holds a bool."""

    def assign(self: object, value: Any) -> None:
        setattr(self, slot, bool(value))

    return property(operator.attrgetter(slot), assign)  # type: ignore[return-value]
