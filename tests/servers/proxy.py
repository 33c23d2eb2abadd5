"""An HTTP proxy in front of a server: it counts what passes, and makes bad days on demand.

Each connection carries exactly one request (`Connection: close` is added both ways), so that requests and bytes can be
attributed without parsing bodies. The weather applies to requests that begin after it changed.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

__all__ = ["Exchange", "Proxy"]

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_CONNECTION = re.compile(rb"\r\n(?:proxy-)?connection:[^\r\n]*", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Exchange:
    """One request and its answer, as far as they got."""

    method: str
    target: str
    head: str
    status: int | None = None
    sent: int = 0
    """Bytes from client to server, heads included."""
    received: int = 0
    """Bytes from server to client, heads included."""

    def header(self, name: str) -> str | None:
        """A header of the request."""
        found = re.search(rf"^{name}: *(.*)\r$", self.head, re.IGNORECASE | re.MULTILINE)
        return found and found[1]


def _every(exchange: Exchange) -> bool:
    return True


@dataclass
class Weather:
    delay: float = 0.0
    cut_after: int | None = None
    answer: bytes | None = None
    black_hole: bool = False
    times: int | None = None
    only: Callable[[Exchange], bool] = _every


class Proxy:
    """Forwards `url` to 127.0.0.1:`target_port`. Use as a context manager or call `stop()`."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self.exchanges: list[Exchange] = []
        self._weather = Weather()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = 0
        self.resume()
        self.url = f"http://127.0.0.1:{self.port}"

    # What was seen

    @property
    def requests(self) -> int:
        """Requests since the start or the last `reset()`."""
        return len(self.exchanges)

    @property
    def received(self) -> int:
        """Bytes that servers sent to clients, heads included."""
        return sum(exchange.received for exchange in list(self.exchanges))

    def reset(self) -> None:
        """Forget what was counted."""
        self.exchanges.clear()

    # The weather

    def fair(self) -> None:
        """Forward everything again."""
        self._weather = Weather()
        if self._listener is None:
            self.resume()

    def delay(self, seconds: float) -> None:
        """Wait before each request is forwarded."""
        self._weather = Weather(delay=seconds)

    def cut(self, after: int, *, times: int | None = None, only: Callable[[Exchange], bool] = _every) -> None:
        """Close the connection after `after` bytes of the answer; `times` times, or for ever."""
        self._weather = Weather(cut_after=after, times=times, only=only)

    def answer(
        self,
        status: int,
        body: bytes = b"",
        *,
        headers: str = "",
        times: int | None = None,
        only: Callable[[Exchange], bool] = _every,
    ) -> None:
        """Answer instead of the server."""
        head = f"HTTP/1.1 {status} Weather\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
        self._weather = Weather(answer=head.encode() + body, times=times, only=only)

    def black_hole(self, *, only: Callable[[Exchange], bool] = _every) -> None:
        """Accept connections and requests, and never say anything."""
        self._weather = Weather(black_hole=True, only=only)

    def refuse(self) -> None:
        """Refuse connections until `fair()`."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # Closing alone would leave the thread in accept(), and the port open with it.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    # Life

    def resume(self) -> None:
        """Listen, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Close everything."""
        self._stopping.set()
        self.refuse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # A peer that goes away is an ordinary day for a proxy.
        with client, contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = b""
            while b"\r\n\r\n" not in data:
                chunk = client.recv(65536)
                if not chunk:
                    return
                data += chunk
            head, body = data.split(b"\r\n\r\n", 1)
            method, target, _ = head.split(b"\r\n")[0].decode("latin-1").split(" ", 2)
            exchange = Exchange(method, target, head.decode("latin-1") + "\r\n", sent=len(data))
            self.exchanges.append(exchange)
            self._handle(client, exchange, head, body, self._weather_for(exchange))

    def _weather_for(self, exchange: Exchange) -> Weather:
        with self._lock:
            weather = self._weather
            if not weather.only(exchange):
                return Weather()
            if weather.times is not None:
                if weather.times <= 0:
                    return Weather()
                weather.times -= 1
            return weather

    def _handle(self, client: socket.socket, exchange: Exchange, head: bytes, body: bytes, weather: Weather) -> None:
        if weather.delay and self._stopping.wait(weather.delay):
            return
        if weather.black_hole:
            while not self._stopping.is_set() and client.recv(65536):
                pass
            return
        if weather.answer is not None:
            self._drain(client, head, body)
            exchange.status = int(weather.answer[9:12])
            exchange.received = len(weather.answer)
            client.sendall(weather.answer)
            return
        with socket.create_connection(self._target) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.sendall(_CONNECTION.sub(b"", head) + b"\r\nConnection: close\r\n\r\n" + body)
            self._pump(client, server, exchange, weather.cut_after)

    @staticmethod
    def _drain(client: socket.socket, head: bytes, body: bytes) -> None:
        """Read the rest of a request's body, or the client would see a reset instead of the answer."""
        if b"100-continue" in head.lower():
            return
        length = _LENGTH.search(head)
        missing = int(length[1]) - len(body) if length else 0
        while missing > 0:
            chunk = client.recv(min(missing, 65536))
            if not chunk:
                return
            missing -= len(chunk)

    def _pump(self, client: socket.socket, server: socket.socket, exchange: Exchange, cut_after: int | None) -> None:
        for source, chunk in self._chunks(client, server):
            if source is client:
                exchange.sent += len(chunk)
                server.sendall(chunk)
                continue
            status = _STATUS.match(chunk)
            if status and (exchange.status is None or exchange.status == 100):
                exchange.status = int(status[1])
            if cut_after is not None and exchange.received + len(chunk) > cut_after:
                chunk = chunk[: cut_after - exchange.received]
                exchange.received += len(chunk)
                client.sendall(chunk)
                return
            exchange.received += len(chunk)
            client.sendall(chunk)

    @staticmethod
    def _chunks(client: socket.socket, server: socket.socket) -> Iterator[tuple[socket.socket, bytes]]:
        while True:
            for source in select.select([client, server], [], [])[0]:
                chunk = source.recv(262144)
                if not chunk:
                    return
                yield source, chunk
