"""Bytes to requests, requests to bytes, and the heads of replies; derived from the table in `operations`.

For each opcode a decoder is written as plain Python source and compiled, as `dataclasses` does for its methods: one
`unpack_from` for header and arguments together, its values stored straight into the attributes of a fresh request. The
source is in `linecache`, so tracebacks and debuggers show it; `decoder_source("read")` gives it as text.

What was tried and dropped: walking the table for each request (twice the time); calling the request's constructor (half
as much again). What decides the speed is the number of calls, not the number of attributes.

Rules that hold for every decoder:

- The header's length must be the buffer's: one read of the device gives one request.
- Extensions (security contexts, supplementary groups) are cut off first; `extensions.read_extensions` reads them.
- Bytes after the last part are ignored, as the kernel's way to grow needs it.
- Bytes that cannot be read as the row says raise `ProtocolError`, and nothing else does.
"""

from __future__ import annotations

import linecache
import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias

from ...errors import ProtocolError
from ...types import Buffer
from .flags import InitFlags
from .layout import Layout, Record, Scalar, Zeros
from .operations import BY_OPCODE, OPERATIONS, Absent, Arguments, Array, Name, Operation, Payload
from .request import Request, Unknown
from .structs import InHeader, OutHeader

__all__ = [
    "DECODERS",
    "HEADER_IN_SIZE",
    "HEADER_OUT_SIZE",
    "Decoder",
    "decode",
    "decoder_source",
    "decoders_for",
    "encode_error",
    "encode_request",
    "init_reply_size",
    "reply_header",
    "reply_struct",
]

HEADER_IN_SIZE: Final = InHeader.__layout__.size
HEADER_OUT_SIZE: Final = OutHeader.__layout__.size
NOTHING: Final = InitFlags(0)

Decoder: TypeAlias = Callable[[Buffer], Request]
"""Takes exactly one message, header included. Give it a memoryview: then `data` is a view, not a copy."""

# The opcode was read already, to find the decoder.
_HEADER = "=I4xQQIIIH2x"
_HEADER_TARGETS = ("length", "request.unique", "request.nodeid", "request.uid", "request.gid", "request.pid", "extlen")
_unpack_opcode = struct.Struct("=4xI").unpack_from
_unpack_header = struct.Struct(_HEADER).unpack_from
_pack_reply_header = OutHeader.__layout__.struct.pack


# Decoding -----------------------------------------------------------------------------------------------------------


def decode(buffer: Buffer, decoders: Mapping[int, Decoder] | None = None) -> Request:
    """The request that `buffer` holds: exactly one message, as read(2) on the device gives it.

    Names are bytes of their own. `data` of WRITE and IOCTL is a slice of `buffer`: with a memoryview no copy, valid as
    long as the buffer is not used again. An opcode outside the table gives `Unknown`. `decoders` are those of a session
    that agreed to features which change the form of requests; see `decoders_for`.

    Raises `ProtocolError` for malformed bytes, and never anything else.
    """
    try:
        (opcode,) = _unpack_opcode(buffer)
    except struct.error:
        raise ProtocolError(
            f"a request has a header of {HEADER_IN_SIZE} bytes, the device gave {len(buffer)} in all"
        ) from None
    decoder = (DECODERS if decoders is None else decoders).get(opcode)
    return _decode_unknown(buffer, opcode) if decoder is None else decoder(buffer)


def _decode_unknown(buffer: Buffer, opcode: int) -> Unknown:
    request = Unknown(opcode=opcode)
    try:
        length, request.unique, request.nodeid, request.uid, request.gid, request.pid, _ = _unpack_header(buffer)
    except struct.error:
        _too_short(f"opcode {opcode}", buffer, HEADER_IN_SIZE)
    if length != len(buffer):
        _wrong_length(f"opcode {opcode}", buffer, length)
    request.body = bytes(buffer[HEADER_IN_SIZE:])
    return request


def decoders_for(agreed: InitFlags) -> Mapping[int, Decoder]:
    """Opcode → decoder for a session that accepted the features `agreed` in its reply to INIT.

    Only `SETXATTR_EXT` changes the form of a request so far; without it this is `DECODERS`.
    """
    changed = {
        row.opcode: _compile(row, agreed)
        for row in OPERATIONS
        if any(isinstance(part, Arguments) and part.short and part.short[1] & agreed for part in row.parts)
    }
    return MappingProxyType({**DECODERS, **changed}) if changed else DECODERS


def decoder_source(name: str, agreed: InitFlags = NOTHING) -> str:
    """The Python source of the decoder of the operation `name`, for the curious and for tests."""
    (row,) = (row for row in OPERATIONS if row.name == name)
    return "\n".join(_emit(row, agreed)[0]) + "\n"


def _compile(row: Operation, agreed: InitFlags) -> Decoder:
    lines, constants = _emit(row, agreed)
    source = "\n".join(lines) + "\n"
    file = f"<aiovfs decoder of {row.name}{' with ' + str(agreed) if agreed else ''}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {
        "Request": row.request,
        "new": object.__new__,
        "StructError": struct.error,
        "malformed": _malformed,
        "too_short": _too_short,
        "wrong_length": _wrong_length,
        **constants,
    }
    exec(compile(source, file, "exec"), namespace)
    decoder: Decoder = namespace[f"decode_{row.name}"]
    return decoder


def _emit(row: Operation, agreed: InitFlags) -> tuple[list[str], dict[str, Any]]:
    """The source of a row's decoder, line by line, and the constants it uses."""
    emitter = _Emitter(row, agreed)
    return [*emitter.lines()], emitter.constants


class _Emitter:
    """Writes the decoder of one row. `start` is where the next part begins: a number as long as it is known."""

    def __init__(self, row: Operation, agreed: InitFlags) -> None:
        self.row = row
        self.agreed = agreed
        self.constants: dict[str, Any] = {}
        self.start = HEADER_IN_SIZE

    def lines(self) -> Iterator[str]:
        row = self.row
        yield f"def decode_{row.name}(buffer):"
        yield f'    """{row.c_name}: {row.summary}"""'
        yield "    request = new(Request)"
        arguments = row.parts[0] if row.parts and isinstance(row.parts[0], Arguments) else None
        growing = arguments is not None and arguments.at_least is not None
        yield from self.header(None if growing else arguments)
        if growing:
            assert arguments is not None
            yield from self.growing(arguments)
        rest = [part for part in row.parts if not isinstance(part, Arguments)]
        yield from (f"    request.{part.attribute} = {part.value}" for part in rest if isinstance(part, Absent))
        names = [part for part in rest if isinstance(part, Name)]
        if names:
            yield from self.names(names)
        for part in rest:
            if isinstance(part, Payload):
                yield from self.payload(part, after_names=bool(names))
            elif isinstance(part, Array):
                yield from self.array(part)
        yield "    return request"

    def header(self, arguments: Arguments | None) -> Iterator[str]:
        """Unpack header and arguments in one call; then `end` is where the extensions begin."""
        codes, targets = _HEADER, list(_HEADER_TARGETS)
        missing: list[str] = []
        if arguments is not None:
            layout = arguments.record.__layout__
            size = layout.size
            if arguments.short and not arguments.short[1] & self.agreed:
                size = arguments.short[0]
            codes += layout.prefix(size).format.removeprefix("=")
            inside = [name for name, offset in _offsets(layout) if offset < size]
            outside = [name for name, offset in _offsets(layout) if offset >= size]
            targets += [self.target(arguments, name) for name in inside]
            missing = [self.target(arguments, name) for name in outside]
            self.start += size
        self.constants["unpack"] = struct.Struct(codes).unpack_from
        yield "    try:"
        yield "        ("
        yield from (f"            {target}," for target in targets)
        yield "        ) = unpack(buffer)"
        yield "    except StructError:"
        yield f"        too_short({self.row.name!r}, buffer, {self.start})"
        yield "    end = len(buffer)"
        yield "    if length != end:"
        yield f"        wrong_length({self.row.name!r}, buffer, length)"
        yield "    if extlen:"
        yield "        end -= 8 * extlen"
        yield f"        if end < {self.start}:"
        yield f'            malformed({self.row.name!r}, request, f"{{extlen}} words of extensions leave no room")'
        yield from (f"    {target} = 0" for target in missing)

    def target(self, arguments: Arguments, field: str) -> str:
        """Where the value of a struct's field goes: an attribute, or a variable when it is no attribute of its own."""
        counts = {part.count for part in self.row.parts if isinstance(part, Array)}
        if field in counts or field in arguments.high_half.values():
            return field
        return f"request.{arguments.rename.get(field, field)}"

    def growing(self, arguments: Arguments) -> Iterator[str]:
        """Arguments of which an older kernel sends less: what is missing reads 0."""
        layout = arguments.record.__layout__
        self.constants["unpack_arguments"] = layout.struct.unpack
        yield f"    if end < {self.start + (arguments.at_least or 0)}:"
        yield f"        too_short({self.row.name!r}, buffer, {self.start + (arguments.at_least or 0)})"
        yield f"    arguments = bytes(buffer[{self.start}:{f'min(end, {self.start + layout.size})'}])"
        yield "    ("
        yield from (f"        {self.target(arguments, name)}," for name, _ in _offsets(layout))
        yield f'    ) = unpack_arguments(arguments.ljust({layout.size}, b"\\0"))'
        for low, high in arguments.high_half.items():
            yield f"    if request.{low} & {int(InitFlags.INIT_EXT):#x}:"
            yield f"        request.{low} |= {high} << 32"
        self.start += layout.size

    def names(self, names: list[Name]) -> Iterator[str]:
        """Names are found in one copy of the rest of the message; what follows them stays in `rest`."""
        targets = ", ".join(f"request.{part.attribute}" for part in names)
        yield "    try:"
        yield f'        {targets}, rest = bytes(buffer[{self.start}:end]).split(b"\\0", {len(names)})'
        yield "    except ValueError:"
        yield f'        malformed({self.row.name!r}, request, "a name does not end with NUL")'
        empty = " or ".join(f"not request.{part.attribute}" for part in names)
        yield f"    if {empty}:"
        yield f'        malformed({self.row.name!r}, request, "a name is empty")'

    def payload(self, part: Payload, *, after_names: bool) -> Iterator[str]:
        count = f"request.{part.count}"
        if after_names:
            have, value = "len(rest)", f"rest[:{count}]"
        else:
            have, value = f"end - {self.start}", f"buffer[{self.start}:{self.start} + {count}]"
            if part.copied:
                value = f"bytes({value})"
        yield f"    if {count} > {have}:"
        yield (
            f"        malformed({self.row.name!r}, request, "
            f'f"{part.count} is {{{count}}}, but {{{have}}} bytes follow")'
        )
        yield f"    request.{part.attribute} = {value}"

    def array(self, part: Array) -> Iterator[str]:
        layout = part.record.__layout__
        self.constants["iter_unpack"] = layout.struct.iter_unpack
        yield f"    stop = {self.start} + {layout.size} * {part.count}"
        yield "    if stop > end:"
        yield (
            f"        malformed({self.row.name!r}, request, "
            f'f"{{{part.count}}} items of {layout.size} bytes do not fit in {{end - {self.start}}} bytes")'
        )
        yield f"    request.{part.attribute} = [*iter_unpack(buffer[{self.start}:stop])]"


def _offsets(layout: Layout, base: int = 0) -> Iterator[tuple[str, int]]:
    """Name and offset of every value of a struct, nested ones flattened."""
    for field in layout.fields:
        if isinstance(field.kind, type):
            yield from _offsets(field.kind.__layout__, base + field.offset)
        elif not isinstance(field.kind, Zeros):
            yield field.name, base + field.offset


def _too_short(name: str, buffer: Buffer, size: int) -> NoReturn:
    raise ProtocolError(f"{name}: needs at least {size} bytes, got {len(buffer)}: {_hex(buffer)}") from None


def _wrong_length(name: str, buffer: Buffer, length: int) -> NoReturn:
    raise ProtocolError(f"{name}: the header says {length} bytes, got {len(buffer)}: {_hex(buffer)}") from None


def _malformed(name: str, request: Request, what: str) -> NoReturn:
    raise ProtocolError(f"{name} unique={request.unique} nodeid={request.nodeid}: {what}") from None


def _hex(buffer: Buffer) -> str:
    start = bytes(buffer[:96])
    return start.hex(" ", -4) + (" …" if len(buffer) > len(start) else "")


DECODERS: Final[Mapping[int, Decoder]] = MappingProxyType({row.opcode: _compile(row, NOTHING) for row in OPERATIONS})
"""Opcode → decoder for a session that agreed to no feature which changes the form of requests."""


# Encoding -----------------------------------------------------------------------------------------------------------


def encode_request(
    request: Request, *, agreed: InitFlags = NOTHING, extensions: bytes = b"", init_size: int | None = None
) -> bytes:
    """The message a kernel would send: the inverse of `decode`, for fakes and tests; it need not be fast.

    `extensions` go to the end, padded to 8 bytes. `init_size` cuts the arguments of INIT as an older kernel does.
    Raises `ValueError` when a value does not fit its field, or a name has a NUL or is empty.
    """
    if isinstance(request, Unknown):
        body = bytes(request.body)
    else:
        body = b"".join(_encode_part(part, request, agreed, init_size) for part in BY_OPCODE[request.opcode].parts)
    extensions += bytes(-len(extensions) % 8)
    header = InHeader(
        len=HEADER_IN_SIZE + len(body) + len(extensions),
        opcode=request.opcode,
        unique=request.unique,
        nodeid=request.nodeid,
        uid=request.uid,
        gid=request.gid,
        pid=request.pid,
        total_extlen=len(extensions) // 8,
    )
    return header.pack() + body + extensions


def _encode_part(part: object, request: Request, agreed: InitFlags, init_size: int | None) -> bytes:
    match part:
        case Arguments():
            return _encode_arguments(part, request, agreed, init_size)
        case Name():
            name: bytes = getattr(request, part.attribute)
            if not name or b"\0" in name:
                raise ValueError(f"{type(request).__name__}.{part.attribute} = {name!r} is empty or has a NUL")
            return name + b"\0"
        case Payload():
            data = bytes(getattr(request, part.attribute))
            count: int = getattr(request, part.count)
            if len(data) != count:
                raise ValueError(
                    f"{type(request).__name__}.{part.attribute} has {len(data)} bytes, but {part.count} is {count}"
                )
            return data
        case Array():
            pack = part.record.__layout__.struct.pack
            return b"".join(pack(*item) for item in getattr(request, part.attribute))
        case _:
            return b""


def _encode_arguments(part: Arguments, request: Request, agreed: InitFlags, init_size: int | None) -> bytes:
    layout = part.record.__layout__
    values: dict[str, int] = {}
    arrays = {array.count: array.attribute for array in BY_OPCODE[request.opcode].parts if isinstance(array, Array)}
    for name, _ in _offsets(layout):
        if name in arrays:
            values[name] = len(getattr(request, arrays[name]))
        elif name not in part.high_half.values():
            values[name] = getattr(request, part.rename.get(name, name))
    for low, high in part.high_half.items():
        values[high] = values[low] >> 32
        values[low] &= 0xFFFF_FFFF
    names = iter(values.items())
    for (name, value), (_, kind) in zip(names, layout.leaves, strict=True):
        if isinstance(kind, Scalar) and not kind.minimum <= value <= kind.maximum:
            raise ValueError(f"{type(request).__name__}.{name} = {value} does not fit {kind.c_type}")
    packed = layout.struct.pack(*values.values())
    if part.short and not part.short[1] & agreed:
        return packed[: part.short[0]]
    return packed[:init_size] if part.at_least else packed


def reply_header(unique: int, length: int, error: int = 0) -> bytes:
    """Head of the reply to `unique`. `length` counts head and body; `error` is 0 or a negative errno."""
    return _pack_reply_header(length, error, unique)


def reply_struct(*records: type[Record]) -> struct.Struct:
    """One layout for the head of a reply and the structs after it, so that one `pack` makes the whole reply.

    Its values: length, error, unique, then the leaves of each struct in order; reserved bytes take no value.
    """
    parts: tuple[type[Record], ...] = (OutHeader, *records)
    return struct.Struct("=" + "".join(part.__layout__.struct.format.removeprefix("=") for part in parts))


def encode_error(unique: int, errno: int) -> bytes:
    """The whole reply "failed with `errno`" (a positive number, as in `OSError.errno`; 0 is plain success)."""
    return _pack_reply_header(HEADER_OUT_SIZE, -errno, unique)


def init_reply_size(minor: int) -> int:
    """How many bytes of `InitOut` a kernel of protocol 7.`minor` takes; it refuses longer replies."""
    if minor < 5:
        return 8
    return 24 if minor < 23 else 64
