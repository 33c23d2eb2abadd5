"""An S3 server whose answers are ready beforehand, so that what is measured is the client.

    python -m benchmarks.servers.canned_s3 PORT DELAY_MS

It checks no signature, keeps what is put in memory, and waits `DELAY_MS` before each answer. `GET /_stats` tells
requests and bytes of bodies since the last one. One bucket, "bench": `small/0000` to `small/0999` of 4 KiB, `many/…` of
10,000 names, `seq` of 64 MiB and `large` of 256 MiB.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from functools import partial
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

SMALL = 4096
MIB = 1024 * 1024
PAGE = 1000
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
ZEROS = memoryview(bytes(64 * MIB))


class Zeros:
    """Content of which only the size matters."""

    def __init__(self, size: int) -> None:
        self.size = size

    def cut(self, start: int, end: int) -> memoryview:
        return ZEROS[: end - start]


class Bytes(Zeros):
    def __init__(self, content: bytes) -> None:
        super().__init__(len(content))
        self.content = memoryview(content)

    def cut(self, start: int, end: int) -> memoryview:
        return self.content[start:end]


OBJECTS: dict[str, Zeros] = {
    **{f"small/{number:04d}": Bytes(bytes(SMALL)) for number in range(1000)},
    **{f"many/{number // 100:03d}/{number:05d}": Zeros(10) for number in range(10_000)},
    "seq": Zeros(64 * MIB),
    "large": Zeros(256 * MIB),
}
STATS: Counter[str] = Counter()
UPLOADS: dict[str, dict[int, bytes]] = {}


class Connection(asyncio.Protocol):
    delay = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = self.buffer[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            length = int(headers.get("content-length", 0))
            if headers.get("expect", "").lower() == "100-continue" and len(self.buffer) == end + 4:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # type: ignore[attr-defined]
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            method, target, _ = lines[0].split(" ", 2)
            answer = respond(method, target, headers, body)
            if self.delay and not target.startswith("/_"):
                asyncio.get_running_loop().call_later(self.delay, self.send, answer)
            else:
                self.send(answer)

    def send(self, answer: tuple[bytes, memoryview | bytes]) -> None:
        if not self.transport.is_closing():
            self.transport.writelines([piece for piece in answer if len(piece)])  # type: ignore[attr-defined]


def head(status: str, length: int, *more: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {length}", *more, "", "")).encode()


def respond(method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[bytes, memoryview | bytes]:
    """Head and body of the answer."""
    parts = urlsplit(target)
    if parts.path == "/_stats":
        text = json.dumps(STATS).encode()
        STATS.clear()
        return head("200 OK", len(text)), text
    query = parse_qs(parts.query, keep_blank_values=True)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    STATS["requests"] += 1
    STATS[method] += 1
    if method == "GET" and not key:
        text = listing(bucket, query).encode()
        return head("200 OK", len(text), "Content-Type: application/xml"), text
    if method in ("GET", "HEAD"):
        return read(method, OBJECTS.get(key), headers)
    STATS["sent"] += len(body)
    if headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        body = dechunked(body)
    if "uploads" in query:
        UPLOADS[key] = {}
        return xml(
            f"<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>{escape(key)}</Key>"
            "<UploadId>1</UploadId></InitiateMultipartUploadResult>"
        )
    if "partNumber" in query:
        UPLOADS[key][int(query["partNumber"][0])] = body
        return head("200 OK", 0, 'ETag: "p"'), b""
    if method == "POST":
        OBJECTS[key] = Bytes(b"".join(part for _, part in sorted(UPLOADS.pop(key).items())))
        return xml('<CompleteMultipartUploadResult><ETag>"t"</ETag></CompleteMultipartUploadResult>')
    if method == "PUT":
        OBJECTS[key] = Bytes(body)
        return head("200 OK", 0, 'ETag: "t"'), b""
    OBJECTS.pop(key, None)
    return head("204 No Content", 0), b""


def xml(text: str) -> tuple[bytes, bytes]:
    content = ('<?xml version="1.0" encoding="UTF-8"?>' + text).encode()
    return head("200 OK", len(content), "Content-Type: application/xml"), content


def dechunked(body: bytes) -> bytes:
    """The content of a body in signed chunks."""
    found = []
    while body:
        line, _, body = body.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if not size:
            break
        found.append(body[:size])
        body = body[size + 2 :]
    return b"".join(found)


def read(method: str, content: Zeros | None, headers: dict[str, str]) -> tuple[bytes, memoryview | bytes]:
    if content is None:
        return head("404 Not Found", 0), b""
    facts = ('ETag: "t"', f"Last-Modified: {DATE}", "Accept-Ranges: bytes", "Content-Type: application/octet-stream")
    wanted = headers.get("range", "").removeprefix("bytes=")
    if method == "HEAD" or not wanted:
        STATS["fetched"] += content.size if method == "GET" else 0
        return head("200 OK", content.size, *facts), content.cut(0, content.size) if method == "GET" else b""
    first, _, last = wanted.partition("-")
    start = int(first) if first else content.size - int(last)
    end = min(int(last) + 1, content.size) if last and first else content.size
    if start >= content.size:
        return head("416 Range Not Satisfiable", 0), b""
    STATS["fetched"] += end - start
    return (
        head("206 Partial Content", end - start, f"Content-Range: bytes {start}-{end - 1}/{content.size}", *facts),
        content.cut(start, end),
    )


def listing(bucket: str, query: dict[str, list[str]]) -> str:
    prefix = query.get("prefix", [""])[0]
    delimiter = query.get("delimiter", [""])[0]
    after = query.get("continuation-token", query.get("start-after", [""]))[0]
    limit = min(int(query.get("max-keys", [str(PAGE)])[0]), PAGE)
    items, seen, last, more = [], set(), "", False
    for key in KEYS if not any(name.startswith("put/") for name in OBJECTS) else sorted(OBJECTS):
        if not key.startswith(prefix) or key <= after:
            continue
        if len(items) == limit:
            more = True
            break
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            directory = prefix + rest.partition(delimiter)[0] + delimiter
            if directory not in seen:
                seen.add(directory)
                items.append(f"<CommonPrefixes><Prefix>{escape(directory)}</Prefix></CommonPrefixes>")
        else:
            items.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;t&quot;</ETag><Size>{OBJECTS[key].size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
        last = key
    token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
        f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
        f"<KeyCount>{len(items)}</KeyCount><MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
        f"{token}{''.join(items)}</ListBucketResult>"
    )


KEYS = sorted(OBJECTS)


async def serve(port: int, delay: float) -> None:
    """Serve for ever."""
    Connection.delay = delay
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=2048)
    print("ready", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve at the port that the arguments name."""
    run = asyncio.run
    try:
        import uvloop

        run = partial(asyncio.run, loop_factory=uvloop.new_event_loop) if sys.version_info >= (3, 12) else uvloop.run
    except ImportError:
        pass
    run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))


if __name__ == "__main__":
    main()
