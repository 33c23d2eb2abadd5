"""The servers that other tests rely on: they serve, count, and have bad days."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from servers import Nginx, Proxy, S3Server

pytestmark = pytest.mark.servers


def get(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        data: bytes = answer.read()
        return data


@pytest.fixture
def page(nginx: Nginx) -> str:
    (nginx.files / "page").write_bytes(b"x" * 100_000)
    return "page"


def test_nginx_serves_its_directory(nginx: Nginx, page: str) -> None:
    assert get(nginx.url + page, Range="bytes=0-9") == b"x" * 10


def test_nginx_site_without_ranges_sends_everything(nginx: Nginx, page: str) -> None:
    assert len(get(nginx.site("whole") + page, Range="bytes=0-9")) == 100_000


def test_nginx_unlisted_site_refuses_to_list(nginx: Nginx, page: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(nginx.site("unlisted"))


def test_s3_server_answers_for_a_new_bucket(s3_server: S3Server, bucket: str) -> None:
    assert b"ListBucketResult" in get(f"{s3_server.url}/{bucket}?list-type=2")


def test_proxy_counts_requests_and_bytes(nginx: Nginx, page: str, proxied: Callable[[int], Proxy]) -> None:
    proxy = proxied(nginx.port)
    get(f"{proxy.url}/{page}")
    assert proxy.requests == 1
    assert 100_000 < proxy.received < 101_000
    assert proxy.exchanges[0].status == 200


def test_proxy_cuts_the_answer(nginx: Nginx, page: str, proxied: Callable[[int], Proxy]) -> None:
    proxy = proxied(nginx.port)
    proxy.cut(5000)
    with pytest.raises(http.client.IncompleteRead):
        get(f"{proxy.url}/{page}")


def test_proxy_answers_for_the_server_as_often_as_told(
    nginx: Nginx, page: str, proxied: Callable[[int], Proxy]
) -> None:
    proxy = proxied(nginx.port)
    proxy.answer(503, times=1)
    with pytest.raises(urllib.error.HTTPError, match="503"):
        get(f"{proxy.url}/{page}")
    assert len(get(f"{proxy.url}/{page}")) == 100_000


def test_proxy_refuses_connections_until_the_weather_is_fair(
    nginx: Nginx, page: str, proxied: Callable[[int], Proxy]
) -> None:
    proxy = proxied(nginx.port)
    proxy.refuse()
    with pytest.raises(urllib.error.URLError, match="refused"):
        get(f"{proxy.url}/{page}")
    proxy.fair()
    assert len(get(f"{proxy.url}/{page}")) == 100_000
