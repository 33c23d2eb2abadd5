"""The writing half of Google's XML interface, in front of fake-gcs-server, which has its reading half only.

obstore writes by that interface: a PUT for an object or a copy, and uploads in parts. Each is translated into the call
of the JSON interface that means the same; everything else goes through as it is.

Source: "XML API" in the documentation of Google Cloud Storage.
"""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

__all__ = ["XMLGateway"]

HOP_BY_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}

BOUNDARY = "7e5b0a1c-between-parts"
LINE = f"\r\n--{BOUNDARY}\r\nContent-Type: ".encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_PUT(self) -> None:
        bucket, key, query = self._target()
        body = self._body()
        if "partNumber" in query:
            part = int(query["partNumber"][0])
            self.server.uploads[query["uploadId"][0]][part] = body
            return self._answer(200, {"ETag": f'"part-{part}"'})
        source = self.headers.get("x-goog-copy-source")
        if source is None:
            return self._store(bucket, key, body)
        old_bucket, _, old = unquote(source).lstrip("/").partition("/")
        path = f"/storage/v1/b/{old_bucket}/o/{quote(old, safe='')}/rewriteTo/b/{bucket}/o/{quote(key, safe='')}"
        return self._written(self._ask("POST", path + self._condition("?"), b""), "CopyObjectResult")

    def do_POST(self) -> None:
        bucket, key, query = self._target()
        body = self._body()
        if "uploads" in query:
            upload = uuid.uuid4().hex
            self.server.uploads[upload] = {}
            text = f"<Bucket>{bucket}</Bucket><Key>x</Key><UploadId>{upload}</UploadId>"
            return self._answer(200, {}, _xml("InitiateMultipartUploadResult", text))
        if "uploadId" in query:
            parts = self.server.uploads.pop(query["uploadId"][0])
            return self._store(bucket, key, b"".join(parts[number] for number in sorted(parts)))
        return self._pass_on(body)

    def do_DELETE(self) -> None:
        upload = self._target()[2].get("uploadId")
        if upload is not None:
            self.server.uploads.pop(upload[0], None)
            return self._answer(204, {})
        return self._pass_on(self._body())

    def do_GET(self) -> None:
        self._pass_on(self._body())

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests are quiet."""

    def _target(self) -> tuple[str, str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        bucket, _, key = parts.path.lstrip("/").partition("/")
        return unquote(bucket), unquote(key), parse_qs(parts.query, keep_blank_values=True)

    def _query(self) -> str:
        query = urlsplit(self.path).query
        return "?" + query if query else ""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _condition(self, lead: str) -> str:
        generation = self.headers.get("x-goog-if-generation-match")
        return "" if generation is None else f"{lead}ifGenerationMatch={generation}"

    def _store(self, bucket: str, key: str, body: bytes) -> None:
        # The server heeds conditions in this kind of upload only.
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart&name={quote(key, safe='')}"
        facts = json.dumps({"name": key}).encode()
        parts = b"".join((LINE, b"application/json\r\n\r\n", facts, LINE, b"application/octet-stream\r\n\r\n", body))
        headers = {"Content-Type": f"multipart/related; boundary={BOUNDARY}"}
        answer = self._ask("POST", path + self._condition("&"), parts + END, headers)
        self._written(answer, "CompleteMultipartUploadResult")

    def _written(self, answer: tuple[int, dict[str, str], bytes], root: str) -> None:
        """Answer with what the JSON interface said about the object that it has written."""
        status, _, body = answer
        if status != 200:
            return self._answer(status, {}, body)
        facts = json.loads(body)
        facts = facts.get("resource", facts)
        tag = f'"{facts.get("etag", facts["md5Hash"])}"'
        text = f"<ETag>{tag}</ETag><LastModified>{facts['updated']}</LastModified>"
        return self._answer(200, {"ETag": tag, "x-goog-generation": str(facts["generation"])}, _xml(root, text))

    def _pass_on(self, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        # obstore escapes more of a name than the server's router takes back.
        bucket, key, _ = self._target()
        path = "/" + bucket + ("/" + quote(key) if key else "") + self._query()
        status, given, content = self._ask(self.command, path, body, headers)
        length = given.get("content-length", "0") if self.command == "HEAD" else str(len(content))
        kept = {name: value for name, value in given.items() if name not in HOP_BY_HOP}
        if self.command == "DELETE":
            status, content, length = (204 if status == 200 else status), b"", "0"
        self._answer(status, kept, content, length)

    def _ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"", length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)) if length is None else length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _xml(root: str, text: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><{root}>{text}</{root}>'.encode()


class Server(ThreadingHTTPServer):
    """`behind` is the port of fake-gcs-server; `uploads` are those in parts that are under way."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = behind
        self.uploads: dict[str, dict[int, bytes]] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is what cancellation looks like from here."""


class XMLGateway:
    """Serves in threads of this process."""

    def __init__(self, behind: int) -> None:
        self._server = Server(behind)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
