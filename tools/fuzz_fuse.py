"""Look for bytes that make the decoders or the cores crash, or the one in C disagree with the one in Python.

    python tools/fuzz_fuse.py                        a minute, guided by coverage (needs `pip install atheris`)
    python tools/fuzz_fuse.py --seconds 3600 --corpus /tmp/corpus
    python tools/fuzz_fuse.py --plain --inputs 20000 by chance instead: without atheris, and under tools/sanitize.py
    python tools/fuzz_fuse.py --replay FILE…         what a crash file does

The first corpus is made from the protocol's table: each request as the kernel sends it, with and without the features
that change it. What a corpus directory holds from an earlier run is gone on from. Each input is one message:

1. Both decoders make the same request of it, or refuse it.
2. Both cores, behind one socket each, answer it with the same bytes, however often and whatever they said before.

An input that breaks this raises; atheris then writes it to a file `crash-…` and ends with a status that is not 0.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import random
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST = 8192
REFUSALS = [struct.pack("=i", -number) for number in (errno.EIO, errno.ENOSYS)]
EDGES = [edge + delta for edge in (0, 1 << 7, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 63) for delta in (-1, 0, 1)]


def load(*, instrumented: bool) -> None:
    """Import what is to be tested; with coverage that is measured, if so."""
    if instrumented:
        import atheris

        with atheris.instrument_imports(include=["aiovfs.fuse"]):
            import aiovfs.fuse
    import aiovfs.fuse  # noqa: F401


def table_corpus() -> list[bytes]:
    """Each request of the table, as the kernel sends it: with values in all fields, and with zeros."""
    from aiovfs.fuse.protocol import OPERATIONS, encode_request
    from aiovfs.fuse.protocol.flags import InitFlags

    texts = {"name": b"name", "newname": b"newname", "target": b"target", "value": b"value", "data": b"data"}
    corpus = []
    for row in OPERATIONS:
        fields = row.request.fields
        given = {name: text for name, text in texts.items() if name in fields}
        sized = {"size": 5} if "value" in fields else {"size": 4} if "data" in fields else {}
        for agreed in (InitFlags(0), InitFlags.SETXATTR_EXT):
            for numbers in ({}, {"unique": 7, "nodeid": 1, "uid": 1000, "gid": 1000, "pid": 1}):
                # A row with a part that this does not know how to fill: chance finds it.
                with contextlib.suppress(Exception):
                    corpus.append(bytes(encode_request(row.request(**given, **sized, **numbers), agreed=agreed)))
    return corpus


class Cores:
    """The core in Python and the one in C, each at the end of a socket, before handlers that answer everything."""

    def __init__(self) -> None:
        from aiovfs import fuse
        from aiovfs.fuse import core
        from aiovfs.fuse.device import Device
        from aiovfs.fuse.dispatch import Dispatcher
        from aiovfs.fuse.drain import Drain
        from aiovfs.fuse.options import parse_options

        attributes = fuse.Attributes(2, stat.S_IFREG | 0o644, 5, mtime_ns=-1)
        entry = fuse.Entry(fuse.NodeId(2), attributes)
        answers: dict[str, Any] = {
            **dict.fromkeys(("lookup", "symlink", "mknod", "mkdir", "link"), entry),
            **dict.fromkeys(("getattr", "setattr", "statx"), attributes),
            **dict.fromkeys(("create", "tmpfile"), (entry, fuse.Opened(3))),
            **dict.fromkeys(("open", "opendir"), fuse.Opened(3, keep_cache=True)),
            **dict.fromkeys(("read", "getxattr", "readlink"), b"bytes"),
            **dict.fromkeys(("readdir", "readdirplus"), [fuse.DirEntry(b"name", 2, stat.S_IFREG, 1, entry)] * 3),
            "listxattr": [b"user.name"],
            "statfs": fuse.Statfs(),
            **dict.fromkeys(("write", "lseek", "copy_file_range", "bmap", "poll", "ioctl"), 1),
            **dict.fromkeys(("getlk", "setlk", "setlkw", "flock", "access", "fallocate", "syncfs"), None),
            **dict.fromkeys(("unlink", "rmdir", "rename", "flush", "release", "fsync"), None),
            **dict.fromkeys(("releasedir", "fsyncdir", "setxattr", "removexattr"), None),
        }

        def handler(answer: Any) -> Any:
            async def answering(self: Any, request: Any) -> Any:
                for name in request.fields:  # handlers look at everything
                    getattr(request, name)
                return answer

            return answering

        handlers = {name: handler(answer) for name, answer in answers.items()}
        handlers["forget"] = lambda self, nodeid, count: None
        willing: Any = type("Willing", (fuse.Operations,), handlers)
        settings = parse_options({})
        self.kernels: list[socket.socket] = []
        self.runs: list[Any] = []
        for is_native in (False, True):
            if is_native and core.NATIVE is None:
                continue
            kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kernel.setblocking(False)
            drain = Drain(
                Device(ours.detach(), max_write=1 << 20),
                Dispatcher(willing(), settings),
                max_tasks=settings["max_tasks"],
                trace=False,
                interrupt=lambda unique: None,
                notify_reply=lambda request: None,
            )
            self.kernels.append(kernel)
            self.runs.append(core.NATIVE.Core(drain, 0).run if is_native else drain.run)

    def check(self, message: bytes, *, is_valid: bool) -> None:
        """Send to each, and compare all that they say."""
        said = []
        for kernel, run in zip(self.kernels, self.runs, strict=True):
            kernel.send(message)
            waiting, _ = run()
            assert waiting is None, f"a handler waits: {waiting}"
            replies = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    replies.append(kernel.recv(1 << 21))
            said.append(replies)
        if all(replies == said[0] for replies in said):
            return
        # What cannot be decoded is EIO in Python; C may not have looked, where nobody handles the operation.
        assert not is_valid, f"the cores disagree: {said}"
        assert all(len(replies) == 1 and replies[0][4:8] in REFUSALS for replies in said), f"no refusals: {said}"
        assert len({replies[0][8:16] for replies in said}) == 1, f"not to the same request: {said}"


def check_decoders(message: bytes) -> bool:
    """C makes the same request as Python, or leaves it alone. Can it be decoded?"""
    from aiovfs.errors import ProtocolError
    from aiovfs.fuse.protocol import decode, decoders_for
    from aiovfs.fuse.protocol.flags import InitFlags

    try:
        from aiovfs.fuse.protocol import _fastcodec
    except ImportError:
        _fastcodec = None  # type: ignore[assignment]
    is_valid = False
    for agreed in (InitFlags(0), InitFlags.SETXATTR_EXT):
        slow = None
        with contextlib.suppress(ProtocolError):
            slow = decode(memoryview(message), decoders_for(agreed))
        fast = None if _fastcodec is None else _fastcodec.decode(memoryview(message), int(agreed))
        if fast is not None:
            assert slow is not None, f"C takes what Python refuses: {fast!r}"
            assert repr(fast) == repr(slow), f"C: {fast!r}, Python: {slow!r}"
        is_valid = is_valid or slow is not None
    return is_valid


def mutations(corpus: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """Endless variations by chance: numbers at their edges, cuts, joins, noise; mostly with a true length."""
    while True:
        message = bytearray(rng.choice(corpus))
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(message)) if message else 0
            match rng.randrange(6):
                case 0:
                    width = rng.choice([1, 2, 4, 8])
                    number = rng.choice(EDGES) & ((1 << 8 * width) - 1)
                    message[at : at + width] = number.to_bytes(width, "little")
                case 1:
                    del message[at:]
                case 2:
                    message[at:at] = rng.randbytes(rng.randrange(1, 64))
                case 3:
                    message[at:] = rng.choice(corpus)[at:]
                case 4 if message:
                    message[at] ^= 1 << rng.randrange(8)
                case _:
                    message[at:at] = b"\0" * rng.randrange(1, 9)
        if len(message) >= 4 and rng.random() < 0.8:
            message[:4] = struct.pack("=I", len(message))
        yield bytes(message[:LARGEST])


def main() -> None:
    """Fuzz, by coverage or by chance, or replay."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--inputs", type=int, help="with --plain: this many instead")
    parser.add_argument("--corpus", type=Path, help="a directory that the corpus is kept in")
    parser.add_argument("--plain", action="store_true", help="by chance, without atheris")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, nargs="+")
    options = parser.parse_args()
    load(instrumented=not options.plain and not options.replay)
    logging.disable(logging.CRITICAL)  # each refusal is a line in the log
    cores = Cores()

    def one_input(message: bytes) -> None:
        if message:  # nothing at all is the end of the connection
            cores.check(message, is_valid=check_decoders(message))

    if options.replay:
        for path in options.replay:
            one_input(path.read_bytes())
            print(f"{path}: nothing is wrong")
        return
    corpus = table_corpus()
    if options.plain:
        if options.corpus is not None:
            corpus += [path.read_bytes() for path in sorted(options.corpus.iterdir())]
        count, end = 0, time.monotonic() + options.seconds
        for message in corpus:
            one_input(message)
        for message in mutations(corpus, random.Random(options.seed)):
            try:
                one_input(message)
            except BaseException:
                print(f"input {count} of seed {options.seed}: {message.hex()}", file=sys.stderr)
                raise
            count += 1
            if count == options.inputs or (options.inputs is None and time.monotonic() > end):
                break
        print(f"{count} inputs, {len(cores.runs)} cores: nothing is wrong")
        return

    import tempfile

    import atheris

    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) if options.corpus is None else options.corpus
        directory.mkdir(exist_ok=True)
        for number, message in enumerate(corpus):
            (directory / f"table-{number:03}").write_bytes(message)
        limits = [f"-max_total_time={options.seconds}", f"-max_len={LARGEST}", f"-seed={options.seed}"]
        atheris.Setup([sys.argv[0], *limits, str(directory)], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
