"""Web servers as read-only file systems: `http://` and `https://`.

What a path is: a URL that redirects to itself with a slash is a directory; a root is one also when the server
refuses to list it (403), because files below it may be known by name. Everything else that answers is a file.

Rules for people who edit this:

- No byte is returned that was not checked to be the one asked for. An answer to a range is 206 with the right
  `Content-Range` and the length it promises; a server that answers 200 sends everything, and then the wanted part is
  cut out of the stream. Versions are compared before the body is read. No `If-Match`: it compares strongly, and many
  servers give weak tags only.
- `Accept-Encoding: identity` always, and nothing is decompressed: offsets count stored bytes.
- Sessions belong to loops. One is made for each loop that uses the file system, and closed by `close()` there.
- Requests are repeated for failures that may pass, inside `retry_seconds`.
"""

from __future__ import annotations

import codecs
import errno
import gzip
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import anyio
from fsspec.callbacks import DEFAULT_CALLBACK

from aiovfs import aio
from aiovfs._loop.companion import current_loop
from aiovfs.errors import MissingPackageError, StaleError, UnsupportedError
from aiovfs.fs import http_index, quirks
from aiovfs.fs.base import AsyncFileSystem
from aiovfs.fs.facade import blocking
from aiovfs.fs.failures import error_for_status, translate
from aiovfs.fs.local_files import Replacement
from aiovfs.fs.ranges import ByteRange, parse_content_range, to_header
from aiovfs.fs.registry import redact
from aiovfs.fs.retries import retrying
from aiovfs.fs.sources import Source, Writer, content_key

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ByteStream", "HTTPFileSystem", "quote_name"]

T = TypeVar("T")

# HEAD is refused by servers that allow GET (signed URLs: 403), or not known at all.
_HEAD_REFUSED = frozenset({400, 403, 405, 406, 501})
_LARGEST_LISTING = 256 * 1024 * 1024
_SMALL_ENOUGH_TO_TAKE_WHOLE = 256 * 1024
_CHUNK = 1024 * 1024
# What RFC 3986 allows in a path segment beside letters and digits.
_SEGMENT = "-._~!$&'()*+,;=:@"


REQUEST_OPTIONS = ("auth", "cookies", "proxy", "proxy_auth", "ssl")
"""Options that are handed to every request as aiohttp takes them."""


class RangesIgnoredError(UnsupportedError):
    """The server answered a range with everything; `ByteStream` is the way to read there."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{redact(url)}: the server sends whole files only, not ranges")


def quote_name(name: str) -> str:
    """One component of a path, as it stands in a URL."""
    return quote(name, safe=_SEGMENT, errors="surrogateescape")


class HTTPFileSystem(AsyncFileSystem):
    """Files behind URLs. Paths are full URLs, quoted as in a browser's address line.

    Options: `headers` for every request, and any of `REQUEST_OPTIONS`; `client_kwargs` for `aiohttp.ClientSession`;
    `get_client`, a coroutine function called with those instead of `ClientSession`; `timeout` and `connect_timeout`,
    seconds without a byte or a connection; `retry_seconds`, how long failures that may pass are retried; `connections`
    at once to one server. fsspec's other options for HTTP are accepted and have nothing to do here.
    """

    protocol = ("http", "https")
    sep = "/"
    root_marker = ""

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        get_client: Callable[..., Awaitable[aiohttp.ClientSession]] | None = None,
        timeout: float = 30.0,
        connect_timeout: float = 5.0,
        retry_seconds: float = 30.0,
        connections: int = 64,
        **kwargs: Any,
    ) -> None:
        self.request_kwargs = {name: kwargs.pop(name) for name in REQUEST_OPTIONS if name in kwargs}
        super().__init__(**kwargs)
        self.headers = dict(headers or {})
        self.client_kwargs = dict(client_kwargs or {})
        self.get_client = get_client
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self.retry_seconds = retry_seconds
        self.connections = connections
        self._sessions: weakref.WeakKeyDictionary[Any, aiohttp.ClientSession] = weakref.WeakKeyDictionary()
        weakref.finalize(self, _abandon, self._sessions)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        """A URL is its own path."""
        return str(path)

    @classmethod
    def _parent(cls, path: str) -> str:
        parts = urlsplit(path)
        parent = parts.path.rstrip("/").rpartition("/")[0]
        return f"{parts.scheme}://{parts.netloc}{parent}/"

    async def _close(self) -> None:
        """Close the session of the running loop."""
        session = self._sessions.pop(current_loop(), None)
        if session is not None:
            await session.close()

    def make_store(self, path: str, *, read_only: bool = False) -> Any:
        """A store on this live file system."""
        from aiovfs.fs.http_store import HTTPStore

        return HTTPStore(self, path, url=redact(path), protocol=urlsplit(path).scheme, owned=False)

    # Looking

    async def _probe(self, path: str) -> str:
        """What `path` is as the root of a tree: "directory" or "file". Gives up sooner than other calls.

        A directory need not be listed to be one: a refusal (403) is enough, and the top of a server is one in any case.
        """
        url = path if urlsplit(path).path else path + "/"
        return await self._retry(url, partial(self._probe_once, url), seconds=min(self.retry_seconds, 3.0))

    async def _probe_once(self, url: str) -> str:
        if url.endswith("/"):
            status = await self._status(url)
            if status in (200, 204, 403) or (status == 404 and urlsplit(url).path == "/"):
                return "directory"
            raise error_for_status(status, redact(url))
        try:
            facts = await self._describe(url)
        except FileNotFoundError:
            return await self._probe_once(url + "/")
        if facts["type"] == "file" and facts.get("mimetype") == "text/html":
            # Some servers show the page of a directory without the redirect to its slash.
            return "directory" if await self._status(url + "/") == 200 else "file"
        return str(facts["type"])

    async def _status(self, url: str) -> int:
        for method in ("HEAD", "GET"):
            async with self._request(method, url) as answer:
                status = answer.status
                if method == "GET":
                    answer.close()
            if status not in _HEAD_REFUSED - {403}:
                break
        return status

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return await self._retry(path, partial(self._describe, path))

    async def _describe(self, url: str) -> dict[str, Any]:
        async with self._request("HEAD", url) as answer:
            if _leads_to_directory(url, answer):
                if answer.status not in (200, 204, 401, 403, 405, 501):
                    raise _failed(answer, url)
                return {"name": url, "type": "directory", "size": None}
            if answer.status in (200, 204) and "Content-Length" in answer.headers:
                return _facts(url, answer, int(answer.headers["Content-Length"]))
            if answer.status not in (200, 204) and answer.status not in _HEAD_REFUSED:
                raise _failed(answer, url)
        return await self._describe_by_reading(url)

    async def _describe_by_reading(self, url: str) -> dict[str, Any]:
        """Ask for the first byte: the answer says how many there are."""
        async with self._request("GET", url, Range="bytes=0-0") as answer:
            if _leads_to_directory(url, answer):
                return {"name": url, "type": "directory", "size": None}
            said = parse_content_range(answer.headers.get("Content-Range", ""))
            if answer.status == 206 and said is not None:
                return _facts(url, answer, said.total)
            if answer.status == 416:
                # Nothing satisfies a range of an empty file.
                return _facts(url, answer, said.total if said else 0)
            if answer.status == 200:
                length = answer.headers.get("Content-Length")
                answer.close()
                return _facts(url, answer, int(length) if length else None)
            raise _failed(answer, url)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        """The names that the server lists. Sizes and times are given where its page tells them exactly."""
        url = path if path.endswith("/") else path + "/"
        entries = await self._retry(url, partial(self._read_listing, url))
        listing = [
            {
                "name": url + quote_name(entry.name),
                "type": "directory" if entry.is_directory else "file",
                "size": entry.size,
                "mtime": entry.mtime,
            }
            for entry in entries
        ]
        return listing if detail else [str(item["name"]) for item in listing]

    async def _read_listing(self, url: str) -> list[http_index.Entry]:
        async with self._request("GET", url, Accept="text/html, application/json;q=0.9, */*;q=0.1") as answer:
            if answer.status == 403:
                raise PermissionError(errno.EACCES, "the server does not list this directory", redact(url))
            if answer.status != 200:
                raise _failed(answer, url)
            if answer.content_type not in ("text/html", "application/xhtml+xml", "application/json"):
                answer.close()
                raise NotADirectoryError(
                    errno.ENOTDIR, f"the server sent {answer.content_type}, not a listing", redact(url)
                )
            data = await answer.content.read(_LARGEST_LISTING)
            while not answer.content.at_eof() and len(data) < _LARGEST_LISTING:
                data += await answer.content.read(_LARGEST_LISTING - len(data))
            if answer.headers.get("Content-Encoding", "").lower() == "gzip":
                data = gzip.decompress(data)
            page = data.decode(_encoding(answer), errors="replace")
            if answer.content_type == "application/json":
                try:
                    return http_index.parse_json(page)
                except ValueError as exc:
                    raise NotADirectoryError(errno.ENOTDIR, str(exc), redact(url)) from exc
            return http_index.parse_html(page, str(answer.url))

    # Content

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The bytes from `start` to `end`; negative numbers count from the end of the file, as in a slice."""
        if (start or 0) < 0 or (end or 0) < 0:
            size = (await self._info(path))["size"]
            if size is None:
                raise UnsupportedError(f"{path} does not tell its size: offsets cannot be counted from its end")
            start, end, _ = slice(start, end).indices(size)
        first = start or 0
        if end is not None and end <= first:
            return b""
        try:
            if first or end is not None:
                return await self._read_range(path, first, end)
        except RangesIgnoredError:
            pass  # the stream reads there
        stream = ByteStream(self, path)
        try:
            return await stream.read(first, None if end is None else end - first)
        finally:
            await stream.aclose()

    async def _read_range(
        self, path: str, start: int, end: int | None, *, fingerprint: str | None = None, size: int | None = None
    ) -> bytes:
        """The bytes from `start` to `end` of the version called `fingerprint`; fewer at the end of the file.

        Raises `RangesIgnoredError` when the server wants to send much more, `StaleError` when it has another version.
        """
        return await self._retry(path, partial(self._request_range, path, start, end, fingerprint, size))

    async def _request_range(
        self, url: str, start: int, end: int | None, fingerprint: str | None, size: int | None
    ) -> bytes:
        wanted = f"bytes={start}-" if end is None else to_header(ByteRange(start, end))
        async with self._request("GET", url, Range=wanted) as answer:
            if answer.status == 416:
                return b""
            if answer.status == 206:
                said = parse_content_range(answer.headers.get("Content-Range", ""))
                if said is None or said.range is None or said.range.start != start or (end and said.range.end > end):
                    raise OSError(
                        errno.EPROTO,
                        f"the server answered {wanted} with Content-Range {answer.headers.get('Content-Range')!r}",
                        redact(url),
                    )
                _check_version(answer, url, said.total, fingerprint, size)
                data = await answer.read()
                if len(data) != said.range.size:
                    raise OSError(
                        errno.EPROTO, f"{said.range.size} bytes were announced, {len(data)} came", redact(url)
                    )
                return data
            if answer.status == 200:
                length = int(answer.headers.get("Content-Length", -1))
                if not 0 <= length <= _SMALL_ENOUGH_TO_TAKE_WHOLE:
                    answer.close()
                    raise RangesIgnoredError(url)
                _check_version(answer, url, length, fingerprint, size)
                return (await answer.read())[start:end]
            raise _failed(answer, url)

    read_range = blocking("_read_range")

    async def _open_stream(self, path: str, fingerprint: str | None, size: int | None) -> ByteStream:
        return ByteStream(self, path, fingerprint, size)

    async def _read_stream(self, stream: ByteStream, offset: int, size: int | None) -> bytes:
        return await stream.read(offset, size)

    async def _close_stream(self, stream: ByteStream) -> None:
        await stream.aclose()

    async def _get_file(self, rpath: str, lpath: str, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        """Stream a file to a local path, which appears when it is whole.

        After an interruption it goes on where it was, if the version is the same.
        """
        facts = await self._info(rpath)
        if facts["type"] == "directory":
            await anyio.Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        callback.set_size(facts["size"])
        fingerprint = quirks.normalise(facts, name="").fingerprint
        replacement = await aio.run(Replacement, os.fspath(lpath), "wb")
        target = replacement.file
        position = 0

        async def attempt() -> None:
            nonlocal position
            headers = {"Range": f"bytes={position}-"} if position else {}
            async with self._request("GET", rpath, **headers) as answer:
                said = parse_content_range(answer.headers.get("Content-Range", ""))
                continues = answer.status == 206 and said is not None and said.range is not None
                if answer.status != 200 and not continues:
                    raise _failed(answer, rpath)
                begin = said.range.start if continues and said and said.range else 0
                length = said.total if continues and said else answer.content_length
                _check_version(answer, rpath, length, fingerprint, facts["size"])
                position = await aio.run(target.seek, begin)
                await aio.run(target.truncate)
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    await aio.run(target.write, chunk)
                    position += len(chunk)
                    callback.absolute_update(position)

        try:
            await self._retry(rpath, attempt)
            await aio.run(replacement.commit)
        finally:
            with anyio.CancelScope(shield=True):
                await aio.run(replacement.discard)

    async def _open_source(self, path: str, *, details: Mapping[str, Any] | None = None, **kwargs: Any) -> Source:
        details = await self._info(path) if details is None else details
        if details["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), redact(path))
        source = HTTPSource(self, path, details)
        if source.size is None:
            source.whole = await self._cat_file(path)
            source.details["size"] = len(source.whole)
        return source

    async def _open_writer(self, path: str, mode: str, **kwargs: Any) -> Writer:
        raise OSError(errno.EROFS, "web servers are read-only here", redact(path))

    # Requests

    async def _retry(self, url: str, attempt: Callable[[], Awaitable[T]], *, seconds: float | None = None) -> T:
        try:
            return await retrying(
                attempt, seconds=self.retry_seconds if seconds is None else seconds, about=redact(url)
            )
        except OSError:
            raise
        except Exception as exc:
            if _is_aiohttp(exc):
                raise translate(exc, redact(url)) from exc
            raise

    @asynccontextmanager
    async def _request(self, method: str, url: str, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        session = await self._get_session()
        from yarl import URL  # comes with aiohttp: after the check for it

        url = self._strip_protocol(url)  # a published scheme stands for the server's own
        headers = {"Accept-Encoding": "identity", **headers}
        async with session.request(method, URL(url, encoded=True), headers=headers, **self.request_kwargs) as answer:
            yield answer

    async def set_session(self) -> aiohttp.ClientSession:
        """The session of the running loop; made when there is none. Whoever wants may close it; fsspec's name."""
        return await self._get_session()

    async def _get_session(self) -> aiohttp.ClientSession:
        loop = current_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            session = self._sessions[loop] = await self._make_session()
        return session

    async def _make_session(self) -> aiohttp.ClientSession:
        try:
            import aiohttp
        except ImportError as exc:
            raise MissingPackageError("http:// needs aiohttp", hint="pip install 'aiovfs[http]'") from exc
        options: dict[str, Any] = {
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=self.connect_timeout, sock_read=self.timeout),
            "auto_decompress": False,
            **self.client_kwargs,
        }
        options["headers"] = {**(self.client_kwargs.get("headers") or {}), **self.headers}
        if self.get_client is not None:
            return await self.get_client(**options)
        options.setdefault("connector", aiohttp.TCPConnector(limit=0, limit_per_host=self.connections))
        return aiohttp.ClientSession(**options)


class HTTPSource(Source):
    """Ranges of one version; by one stream that is read on where the server knows no ranges."""

    def __init__(self, fs: HTTPFileSystem, path: str, details: Mapping[str, Any]) -> None:
        super().__init__(path, details, key=content_key(fs, path, details))
        self._fs = fs
        self._version = self.fingerprint
        self._stream: ByteStream | None = None

    async def fetch(self, start: int, end: int) -> bytes:
        if self._stream is None:
            try:
                return await self._fs._read_range(
                    self.path, start, end, fingerprint=self._version, size=self.size if self.whole is None else None
                )
            except RangesIgnoredError:
                pass
        return await self._whole_stream().read(start, end - start)

    def _whole_stream(self) -> ByteStream:
        if self._stream is None:
            self._stream = ByteStream(self._fs, self.path, self._version, self.size)
        return self._stream

    async def aclose(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()


class ByteStream:
    """Positioned reads of a file that the server sends only as a whole.

    Reading on, or skipping forward, costs what lies between; going back starts the transfer again.
    """

    def __init__(self, fs: HTTPFileSystem, url: str, fingerprint: str | None = None, size: int | None = None) -> None:
        self._fs = fs
        self._url = url
        self._fingerprint = fingerprint
        self._size = size
        self._lock = anyio.Lock()
        self._context: Any = None
        self._answer: aiohttp.ClientResponse | None = None
        self._position = 0

    async def read(self, offset: int, size: int | None) -> bytes:
        """`size` bytes at `offset`, or all that follow; fewer only at the end of the file."""
        async with self._lock:
            return await self._fs._retry(self._url, partial(self._attempt, offset, size))

    async def _attempt(self, offset: int, size: int | None) -> bytes:
        try:
            if self._answer is None or offset < self._position:
                await self._start()
            await self._take(offset - self._position, keep=False)
            return await self._take(size, keep=True)
        except BaseException:
            # In the middle of an answer: only a new one has a position that is known.
            with anyio.CancelScope(shield=True):
                await self._stop()
            raise

    async def _take(self, size: int | None, *, keep: bool) -> bytes:
        assert self._answer is not None
        parts = []
        while size is None or size > 0:
            part = await self._answer.content.read(_CHUNK if size is None else min(size, _CHUNK))
            if not part:
                break
            self._position += len(part)
            if size is not None:
                size -= len(part)
            if keep:
                parts.append(part)
        return b"".join(parts)

    async def _start(self) -> None:
        await self._stop()
        self._context = self._fs._request("GET", self._url)
        self._answer = answer = await self._context.__aenter__()
        self._position = 0
        if answer.status != 200:
            raise _failed(answer, self._url)
        _check_version(answer, self._url, answer.content_length, self._fingerprint, self._size)

    async def _stop(self) -> None:
        context, self._context = self._context, None
        answer, self._answer = self._answer, None
        if context is not None:
            if answer is not None:
                answer.close()
            await context.__aexit__(None, None, None)

    async def aclose(self) -> None:
        """End the transfer."""
        async with self._lock:
            await self._stop()


def _leads_to_directory(url: str, answer: aiohttp.ClientResponse) -> bool:
    """Whether the URL names a directory: it, or what it was redirected to, ends in a slash."""
    asked = unquote(urlsplit(url).path)
    if asked.endswith("/") or not asked:
        return True
    return bool(answer.history) and any(
        unquote(step.path) == asked + "/" for step in (*(step.url for step in answer.history), answer.url)
    )


def _facts(url: str, answer: aiohttp.ClientResponse, size: int | None) -> dict[str, Any]:
    """What the headers say about a file, under names that `quirks` knows."""
    facts = {"name": url, "type": "file", "size": size, "mimetype": answer.content_type}
    for header in ("ETag", "Last-Modified"):
        if answer.headers.get(header):
            facts[header] = answer.headers[header]
    return facts


def _encoding(answer: aiohttp.ClientResponse) -> str:
    try:
        return codecs.lookup(answer.charset or "utf-8").name
    except LookupError:
        return "utf-8"


def _check_version(
    answer: aiohttp.ClientResponse, url: str, total: int | None, fingerprint: str | None, size: int | None
) -> None:
    """Raise `StaleError` when the answer is of another version than the pinned one, as far as it tells."""
    if total is not None and size is not None and total != size:
        answer.close()
        raise _stale(url, f"it has {total} bytes now, not {size}")
    if fingerprint is None:
        return
    facts = _facts(url, answer, total)
    if quirks.is_dated(fingerprint):
        facts.pop("ETag", None)
    elif "ETag" not in facts:
        return  # RFC 9110 allows leaving it out of some answers; the size was compared.
    seen = quirks.normalise(facts, name="").fingerprint
    if seen is not None and seen != fingerprint:
        answer.close()
        raise _stale(url, f"{fingerprint} became {seen}")


def _stale(url: str, detail: str) -> StaleError:
    return StaleError(f"{redact(url)} changed on the server since it was opened: {detail}", hint="open it again")


def _failed(answer: aiohttp.ClientResponse, url: str) -> Exception:
    return error_for_status(answer.status, redact(url))


def _is_aiohttp(exc: Exception) -> bool:
    return any(cls.__module__.partition(".")[0] == "aiohttp" for cls in type(exc).__mro__)


def _abandon(sessions: weakref.WeakKeyDictionary[Any, aiohttp.ClientSession]) -> None:
    """When the file system is collected: close its sessions on their loops, where those still run."""
    for loop, session in list(sessions.items()):
        if session.closed:
            continue
        if loop.is_running():
            loop.call_soon_threadsafe(loop.create_task, session.close())
        else:
            session.detach()
