"""The struct language: a class whose annotations are the layout of one kernel struct.

    class ForgetOne(Record, c_name="fuse_forget_one"):
        nodeid: u64
        nlookup: u64

The annotation is the width, the type for the checker, and the documentation. Everything else (slots, constructor,
`pack`, `unpack_from`, offsets) is derived when the class is made; `tools/check_layouts.py` asks a C compiler whether it
is right.

Rules for people who edit this:

- Facts about a class live under `__layout__` and nowhere else. Kernel fields are called `size`, `flags`, `fields`…; a
  class attribute of the same name would make the field vanish.
- Layouts have the host's byte order and no hidden padding (`=` of the struct module): the kernel's structs spell theirs
  out.
- Records are for what happens rarely and for what people read. Requests are decoded by `codec` straight into message
  classes, from the same layouts, without making a Record.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from struct import Struct
from struct import error as StructError
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias, cast, dataclass_transform, get_args, get_origin

from ...errors import ProtocolError
from ...types import Buffer

__all__ = [
    "Chars",
    "Field",
    "Layout",
    "Record",
    "Scalar",
    "chars128",
    "i32",
    "i64",
    "pad",
    "u8",
    "u16",
    "u32",
    "u64",
    "zeros",
]

if sys.version_info >= (3, 14):
    import annotationlib


@dataclass(frozen=True, slots=True)
class Scalar:
    """One integer of the wire: its C type, its code in the struct module, its size in bytes."""

    c_type: str
    code: str
    size: int

    @property
    def minimum(self) -> int:
        """The smallest value that fits."""
        return -(1 << (8 * self.size - 1)) if self.code.islower() else 0

    @property
    def maximum(self) -> int:
        """The largest value that fits."""
        return (1 << (8 * self.size - self.code.islower())) - 1


@dataclass(frozen=True, slots=True)
class Chars:
    """A fixed number of raw bytes."""

    size: int

    @property
    def code(self) -> str:
        return f"{self.size}s"


@dataclass(frozen=True, slots=True)
class Zeros:
    """Bytes that the kernel reserves: written as zeros, not looked at when read."""

    size: int

    @property
    def code(self) -> str:
        return f"{self.size}x"


u8: TypeAlias = Annotated[int, Scalar("uint8_t", "B", 1)]  # noqa: PYI042
u16: TypeAlias = Annotated[int, Scalar("uint16_t", "H", 2)]  # noqa: PYI042
u32: TypeAlias = Annotated[int, Scalar("uint32_t", "I", 4)]  # noqa: PYI042
u64: TypeAlias = Annotated[int, Scalar("uint64_t", "Q", 8)]  # noqa: PYI042
i32: TypeAlias = Annotated[int, Scalar("int32_t", "i", 4)]  # noqa: PYI042
i64: TypeAlias = Annotated[int, Scalar("int64_t", "q", 8)]  # noqa: PYI042
chars128: TypeAlias = Annotated[bytes, Chars(128)]  # noqa: PYI042
pad: TypeAlias = int  # noqa: PYI042
"""The type of reserved bytes; the number of them is given by `zeros(n)`. They always read as 0."""


def zeros(size: int, *, init: Literal[False] = False) -> Any:
    """Declare `size` reserved bytes: `padding: pad = zeros(4)`. Not an argument of the constructor."""
    return Zeros(size)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a struct as the C compiler sees it."""

    name: str
    offset: int
    size: int
    kind: Scalar | Chars | Zeros | type[Record]

    @property
    def is_reserved(self) -> bool:
        return isinstance(self.kind, Zeros)


@dataclass(frozen=True, slots=True)
class Layout:
    """The facts about one struct. `c_name` is the kernel's name for it, `size` its bytes without a flexible tail."""

    c_name: str
    struct: Struct
    size: int
    fields: tuple[Field, ...]
    leaves: tuple[tuple[str, Scalar | Chars], ...]
    """Dotted path and kind of every value, in wire order, nested structs flattened, reserved bytes left out."""

    def prefix(self, size: int) -> Struct:
        """The layout of the first `size` bytes alone, for kernels that send an older, shorter form."""
        codes, total = [], 0
        for field in self.fields:
            if total == size:
                break
            codes.append(_code(field.kind))
            total += field.size
        if total != size:
            raise ValueError(f"{self.c_name} has no field that ends at byte {size}; its size is {self.size}")
        return Struct("=" + "".join(codes))


def _code(kind: Scalar | Chars | Zeros | type[Record]) -> str:
    if isinstance(kind, type):
        return kind.__layout__.struct.format.removeprefix("=")
    return kind.code


def _annotations(namespace: Mapping[str, Any]) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is not None:
            return annotationlib.call_annotate_function(annotate, annotationlib.Format.VALUE)
    return cast("Mapping[str, Any]", namespace.get("__annotations__", {}))


def _kind(owner: str, name: str, annotation: Any, default: Any) -> Scalar | Chars | Zeros | type[Record]:
    if isinstance(default, Zeros):
        return default
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation
    if get_origin(annotation) is Annotated:
        for fact in get_args(annotation)[1:]:
            if isinstance(fact, (Scalar, Chars)):
                return fact
    raise TypeError(
        f"{owner}.{name}: {annotation!r} is not of the struct language; use u8…u64, i32, i64, a Record, zeros()"
    )


class RecordType(type):
    """Makes a Record: reads the annotations before the class exists, since slots cannot be added afterwards."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, c_name: str | None = None
    ) -> RecordType:
        if c_name is None:
            return super().__new__(mcs, name, bases, namespace)
        fields: list[Field] = []
        defaults: dict[str, Any] = {}
        offset = 0
        for field_name, annotation in _annotations(namespace).items():
            default = namespace.pop(field_name, ...)
            kind = _kind(name, field_name, annotation, default)
            size = kind.__layout__.size if isinstance(kind, type) else kind.size
            # Python mangles `__reserved` of the header inside a class; the field keeps the header's name.
            fields.append(Field(field_name.removeprefix(f"_{name}"), offset, size, kind))
            offset += size
            if isinstance(kind, Zeros):
                namespace[field_name] = 0
            elif default is not ...:
                defaults[field_name] = default
        layout = Layout(
            c_name=c_name,
            struct=Struct("=" + "".join(_code(field.kind) for field in fields)),
            size=offset,
            fields=tuple(fields),
            leaves=tuple(_leaves(fields)),
        )
        namespace["__slots__"] = tuple(field.name for field in fields if not field.is_reserved)
        namespace["__layout__"] = layout
        namespace["__defaults__"] = defaults
        namespace["__values__"] = _values_of(tuple(path for path, _ in layout.leaves))
        return super().__new__(mcs, name, bases, namespace)

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, c_name: str | None = None
    ) -> None:
        super().__init__(name, bases, namespace)


def _leaves(fields: list[Field]) -> Iterator[tuple[str, Scalar | Chars]]:
    for field in fields:
        if isinstance(field.kind, type):
            for path, kind in field.kind.__layout__.leaves:
                yield f"{field.name}.{path}", kind
        elif not isinstance(field.kind, Zeros):
            yield field.name, field.kind


def _values_of(paths: tuple[str, ...]) -> staticmethod[[Any], tuple[Any, ...]]:
    """A function that gives all leaf values of a record as a tuple, in wire order."""
    if not paths:
        return staticmethod(lambda record: ())
    getter = attrgetter(*paths)
    if len(paths) == 1:
        return staticmethod(lambda record: (getter(record),))
    return staticmethod(getter)


@dataclass_transform(kw_only_default=True, field_specifiers=(zeros,))
class Record(metaclass=RecordType):
    """Base of the kernel's structs: keyword constructor, equality by value, `pack` and `unpack_from`."""

    __slots__ = ()
    __layout__: ClassVar[Layout]
    __defaults__: ClassVar[dict[str, Any]]
    __values__: ClassVar[Callable[[Any], tuple[Any, ...]]]

    def __init__(self, **values: Any) -> None:
        for name in self._names():
            try:
                value = values.pop(name)
            except KeyError:
                if name not in self.__defaults__:
                    raise TypeError(f"{type(self).__name__}() needs a value for {name!r}") from None
                value = self.__defaults__[name]
            setattr(self, name, value)
        if values:
            known = ", ".join(self._names())
            raise TypeError(f"{type(self).__name__}() has no field {', '.join(map(repr, values))}; its fields: {known}")

    @classmethod
    def _names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in cls.__layout__.fields if not field.is_reserved)

    def pack(self) -> bytes:
        """The struct as the kernel reads it. Raises `ValueError` naming the field whose value does not fit."""
        values = type(self).__values__(self)
        try:
            return self.__layout__.struct.pack(*values)
        except StructError:
            raise ValueError(self._misfit(values)) from None

    def _misfit(self, values: tuple[Any, ...]) -> str:
        for (path, kind), value in zip(self.__layout__.leaves, values, strict=True):
            if isinstance(kind, Chars):
                if not isinstance(value, bytes):
                    return f"{type(self).__name__}.{path} must be bytes, not {value!r}"
            elif not isinstance(value, int) or not kind.minimum <= value <= kind.maximum:
                return f"{type(self).__name__}.{path} = {value!r} does not fit {kind.c_type}"
        return f"{type(self).__name__}: one of {values!r} does not fit {self.__layout__.struct.format!r}"

    @classmethod
    def unpack_from(cls, buffer: Buffer, offset: int = 0) -> Self:
        """Read one struct at `offset`. Raises `ProtocolError` when the buffer ends before the struct does."""
        try:
            values = cls.__layout__.struct.unpack_from(buffer, offset)
        except StructError:
            raise ProtocolError(
                f"{cls.__layout__.c_name} needs {cls.__layout__.size} bytes at offset {offset}, "
                f"the buffer has {len(buffer)} in all"
            ) from None
        return cls._build(iter(values))

    @classmethod
    def _build(cls, values: Iterator[Any]) -> Self:
        record = cls.__new__(cls)
        for field in cls.__layout__.fields:
            if not isinstance(field.kind, Zeros):
                setattr(record, field.name, field.kind._build(values) if isinstance(field.kind, type) else next(values))
        return record

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return type(self).__values__(self) == type(self).__values__(other)

    __hash__ = None  # type: ignore[assignment]  # records are mutable

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names())
        return f"{type(self).__name__}({inner})"
