"""Ask a C compiler whether our structs and constants are those of the kernel's header.

    python tools/check_layouts.py                        the system's <linux/fuse.h>
    python tools/check_layouts.py --header fuse_kernel.h   another one

Sizes, offsets, signs and values come from the compiler, never from reading the header. A header older than our tables
lacks some of what they have; that is reported, not blamed. What the header has and the tables do not is found by its
names, and blamed unless the header is newer than the tables. Exit code 1 when anything is wrong, 2 when it could not be
checked.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiovfs.fuse.protocol.flags import C_PREFIXES, CONSTANTS, KERNEL_MAJOR, KERNEL_MINOR, NAMED_OTHERWISE
from aiovfs.fuse.protocol.layout import Scalar
from aiovfs.fuse.protocol.notifications import NOTIFICATIONS
from aiovfs.fuse.protocol.operations import OPERATIONS
from aiovfs.fuse.protocol.structs import STRUCTS

SYSTEM_HEADER = Path("/usr/include/linux/fuse.h")

VERSION = "version"
"""Name of the probe for the header's own minor version."""

NOT_OURS = {
    "FUSE_KERNEL_MINOR_VERSION": "a fact about the header; see KERNEL_MINOR",
    "FUSE_DIRECT_IO_RELAX": "obsolete alias of FUSE_DIRECT_IO_ALLOW_MMAP",
    "FUSE_WRITE_KILL_PRIV": "obsolete alias of FUSE_WRITE_KILL_SUIDGID",
    "FUSE_NAME_OFFSET": "the size of Dirent",
    "FUSE_NAME_OFFSET_DIRENTPLUS": "the size of Direntplus",
    "FUSE_REMOVEMAPPING_MAX_ENTRY": "depends on the page size",
}
"""Names of the header that the tables leave out, and why."""

PROGRAM_HEAD = """\
#include <stddef.h>
#include <stdio.h>
#include <linux/types.h>
#include <linux/ioctl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <linux/falloc.h>
#include <linux/xattr.h>
#include "{header}"
static const struct {{ const char *what; unsigned long long value; }} probes[] = {{
"""
PROGRAM_TAIL = """\
};
int main(void) {
    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++)
        printf("%s %llu\\n", probes[i].what, probes[i].value);
    return 0;
}
"""


class CannotCheck(Exception):
    """No compiler, no header, or a header that does not compile."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to the compiler and the answer that the tables expect (None: any)."""

    what: str
    expression: str
    expected: int | None


@dataclass(slots=True)
class Report:
    """What came out for one header."""

    header: Path
    minor: int = 0
    structs: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    too_old_for: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield (
            f"{self.header}: protocol {KERNEL_MAJOR}.{self.minor}; the tables describe {KERNEL_MAJOR}.{KERNEL_MINOR}\n"
            f"  checked: {len(self.structs)} structs, {len(self.fields)} fields, {len(self.constants)} constants"
        )
        if self.too_old_for:
            yield f"  the header is too old to have: {', '.join(self.too_old_for)}"
        if self.moved:
            yield f"  reserved space that later versions use: {', '.join(self.moved)}"
        if self.unknown:
            yield f"  newer than the tables: {', '.join(self.unknown)}"
        yield from (f"  WRONG: {what}" for what in self.wrong)
        yield "  no mismatch" if not self.wrong else f"  {len(self.wrong)} mismatches"


def probes() -> Iterator[Probe]:
    """Everything the tables claim."""
    yield Probe(VERSION, "FUSE_KERNEL_MINOR_VERSION", None)
    for struct in STRUCTS:
        layout = struct.__layout__
        name = layout.c_name
        yield Probe(f"struct:{name}", f"sizeof(struct {name})", layout.size)
        for one in layout.fields:
            yield Probe(f"offset:{name}.{one.name}", f"offsetof(struct {name}, {one.name})", one.offset)
            yield Probe(f"size:{name}.{one.name}", f"sizeof(((struct {name} *)0)->{one.name})", one.size)
            if isinstance(one.kind, Scalar):
                sign = f"(__typeof__(((struct {name} *)0)->{one.name}))-1 < 0"
                yield Probe(f"signed:{name}.{one.name}", sign, int(one.kind.minimum < 0))
    for name, value in constants().items():
        # `1 << 31` is a negative int in C; what counts is the 32-bit pattern.
        expression = f"sizeof({name}) == 4 ? (unsigned)({name}) : (unsigned long long)({name})"
        yield Probe(f"constant:{name}", expression, value)


def constants() -> dict[str, int]:
    """Every constant of the tables by its name in C."""
    found = dict(CONSTANTS)
    for cls, prefix in C_PREFIXES.items():
        for name, member in cls.__members__.items():
            found[NAMED_OTHERWISE.get(f"{cls.__name__}.{name}", f"{prefix}{name}")] = int(member)
    found |= {row.c_name: row.opcode for row in OPERATIONS}
    found |= {row.c_name: row.code for row in NOTIFICATIONS}
    return found


def ask_compiler(header: Path, questions: list[Probe]) -> dict[str, int]:
    """The compiler's answers by `what`; a question about something the header does not have gets none."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CannotCheck("no C compiler: neither $CC nor cc, gcc, clang")
    if not header.exists():
        raise CannotCheck(f"{header} does not exist; on Debian it is in linux-libc-dev")
    head = PROGRAM_HEAD.format(header=header.resolve())
    first_line = head.count("\n") + 1
    with tempfile.TemporaryDirectory() as directory:
        source, program = Path(directory, "probe.c"), Path(directory, "probe")
        # Each round drops the questions whose lines do not compile. One round does it with today's compilers; another
        # is for those that stop before they have seen everything.
        for _ in range(5):
            source.write_text(head + "".join(f'{{"{q.what}", {q.expression}}},\n' for q in questions) + PROGRAM_TAIL)
            done = subprocess.run(
                [compiler, "-std=gnu11", "-w", "-fmax-errors=0", "-o", str(program), str(source)],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
            if done.returncode == 0:
                break
            bad = {
                int(line) - first_line
                for line in re.findall(rf"{re.escape(str(source))}:(\d+):\d+: error", done.stderr)
            }
            left = [question for index, question in enumerate(questions) if index not in bad]
            if len(left) == len(questions):
                raise CannotCheck(f"{compiler} does not compile {header}:\n{done.stderr[:2000]}")
            questions = left
        else:
            raise CannotCheck(f"{compiler} does not compile {header}:\n{done.stderr[:2000]}")
        output = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    return {what: int(value) for what, value in (line.split() for line in output.splitlines())}


def names_in(header: Path) -> set[str]:
    """Structs and constants that the header defines, by reading it; macros with arguments are none of them."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", header.read_text(), flags=re.DOTALL)
    structs = {f"struct {name}" for name in re.findall(r"^struct\s+(\w+)\s*\{", text, flags=re.MULTILINE)}
    macros = set(re.findall(r"^#define\s+((?:FUSE|FOPEN|FATTR|CUSE)_\w+)(?=\s)", text, flags=re.MULTILINE))
    enumerators = {
        name
        for body in re.findall(r"^enum\s+\w+\s*\{(.*?)\}", text, flags=re.DOTALL | re.MULTILINE)
        for name in re.findall(r"\b((?:FUSE|CUSE)_\w+)\s*=", body)
    }
    return structs | macros | enumerators


def check(header: Path = SYSTEM_HEADER) -> Report:
    """Compare the tables with one header. Raises `CannotCheck`."""
    questions = list(probes())
    answers = ask_compiler(header, questions)
    if VERSION not in answers:
        raise CannotCheck(f"{header} does not define FUSE_KERNEL_MINOR_VERSION")
    report = Report(header, minor=answers[VERSION])
    older = report.minor < KERNEL_MINOR

    for struct in STRUCTS:
        layout = struct.__layout__
        name = layout.c_name
        size = answers.get(f"struct:{name}")
        if size is None:
            lacks(report, older, f"struct {name}")
            continue
        report.structs.append(name)
        missing = [one.name for one in layout.fields if f"offset:{name}.{one.name}" not in answers]
        for absent in missing:
            lacks(report, older, f"{name}.{absent}")
        # Where a later version put a field into reserved space, the reserved rest begins later and is smaller than in
        # an older header. A struct that lacks no field has no such excuse.
        grown = older and bool(missing)
        if size != layout.size and not (grown and size < layout.size):
            report.wrong.append(f"sizeof(struct {name}) is {size}, ours {layout.size}")
        for one in layout.fields:
            if one.name in missing:
                continue
            report.fields.append(f"{name}.{one.name}")
            if isinstance(one.kind, Scalar) and answers[f"signed:{name}.{one.name}"] != (one.kind.minimum < 0):
                report.wrong.append(f"{name}.{one.name} is not {one.kind.c_type}: the sign differs")
            theirs = answers[f"offset:{name}.{one.name}"], answers[f"size:{name}.{one.name}"]
            if theirs == (one.offset, one.size):
                continue
            if grown and one.is_reserved and theirs[0] <= one.offset and theirs[1] >= one.size:
                report.moved.append(f"{name}.{one.name}")
            else:
                report.wrong.append(
                    f"{name}.{one.name} has offset {theirs[0]} and size {theirs[1]}, ours {one.offset} and {one.size}"
                )

    for name, value in constants().items():
        answer = answers.get(f"constant:{name}")
        if answer is None:
            lacks(report, older, name)
            continue
        report.constants.append(name)
        if answer != value:
            report.wrong.append(f"{name} is {answer:#x}, ours {value:#x}")

    ours = {f"struct {struct.__layout__.c_name}" for struct in STRUCTS} | constants().keys() | NOT_OURS.keys()
    unknown = sorted(names_in(header) - ours)
    if report.minor > KERNEL_MINOR:
        report.unknown = unknown
    else:
        report.wrong += [f"{name} is in the header, not in the tables" for name in unknown]
    return report


def lacks(report: Report, older: bool, what: str) -> None:
    if older:
        report.too_old_for.append(what)
    else:
        report.wrong.append(f"{what} is in the tables, not in the header")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--header", type=Path, default=SYSTEM_HEADER, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        report = check(options.header)
    except CannotCheck as exc:
        print(f"cannot check: {exc}", file=sys.stderr)
        return 2
    print("\n".join(report.lines()))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
