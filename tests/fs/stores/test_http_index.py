"""Pages of links as servers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovfs.fs.http_index import Entry, parse_html, parse_json

URL = "http://host/some%20dir/"

NGINX = """<html><head><title>Index of /some dir/</title></head><body><h1>Index of /some dir/</h1><hr><pre>
<a href="../">../</a>
<a href="sub/">sub/</a>                                               21-Nov-2026 13:24                   -
<a href="a%20b%23c%3F.txt">a b#c?.txt</a> 01-Jan-1970 00:01              100000
<a href="a-name-that-is-long-enough-to-be-cut-by-the-server.tar.gz">a-name-..&gt;</a> 21-Nov-2026 13:24   7
</pre><hr></body></html>"""

APACHE = """<table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td></tr>
<tr><td><a href="big.iso">big.iso</a></td><td align="right">2026-11-21 13:24  </td><td align="right">1.2K</td></tr>
<tr><td><a href="tiny.txt">tiny.txt</a></td><td align="right">2026-11-21 13:24  </td><td align="right">973 </td></tr>
</table>"""

LIGHTTPD = """<tr class="d"><td class="n"><a href="d/">d</a>/</td>
<td class="m">2026-Nov-21 13:24:05</td><td class="s">-</td></tr>
<tr><td class="n"><a href="f">f</a></td><td class="m">2026-Nov-21 13:24:05</td><td class="s">0.1K</td></tr>"""

PLAIN = '<ul><li><a href="one.txt">one.txt</a></li><li><a href="dir/">dir/</a></li></ul>'

WHEN = 1795267440  # 21 November 2026, 13:24 UTC


def test_nginx_listing_gives_names_sizes_and_times() -> None:
    assert parse_html(NGINX, URL) == [
        Entry("sub", True, None, WHEN),
        Entry("a b#c?.txt", False, 100_000, 60),
        Entry("a-name-that-is-long-enough-to-be-cut-by-the-server.tar.gz", False, 7, WHEN),
    ]


def test_apache_listing_gives_times_and_only_exact_sizes() -> None:
    assert parse_html(APACHE, URL) == [Entry("big.iso", False, None, WHEN), Entry("tiny.txt", False, 973, WHEN)]


def test_lighttpd_listing_gives_times() -> None:
    assert parse_html(LIGHTTPD, URL) == [Entry("d", True, None, WHEN + 5), Entry("f", False, None, WHEN + 5)]


def test_plain_list_of_links_gives_names() -> None:
    assert parse_html(PLAIN, URL) == [Entry("one.txt", False), Entry("dir", True)]


@pytest.mark.parametrize(
    "href",
    [
        "../",
        "./",
        "",
        "/",
        "/other/file",
        "sub/deeper",
        "http://elsewhere/some%20dir/x",
        "https://host/some%20dir/x",
        "//elsewhere/some%20dir/x",
        "?C=N;O=D",
        "x?download=1",
        "#top",
        "mailto:somebody@host",
        "javascript:void(0)",
        "%2e%2e/",
        "a%2Fb",
        "nul%00",
        "http://[broken",
        "../some%20dir2/x",
    ],
)
def test_links_out_of_the_directory_are_no_names(href: str) -> None:
    assert parse_html(f'<a href="{href}">x</a>', URL) == []


@pytest.mark.parametrize(
    "href", ["x%20y", "./x%20y", "/some%20dir/x%20y", "http://host/some%20dir/x%20y", "http://host:80/some dir/x y"]
)
def test_a_child_is_recognised_however_its_link_is_written(href: str) -> None:
    url = "http://host:80/some%20dir/" if ":80" in href else URL
    assert [entry.name for entry in parse_html(f'<a href="{href}">x</a>', url)] == ["x y"]


def test_a_name_that_is_listed_twice_is_given_once_and_a_directory_wins() -> None:
    assert parse_html('<a href="x">x</a><a href="x/">x/</a><a href="x">x</a>', URL) == [Entry("x", True)]


def test_bytes_that_are_no_utf8_become_surrogates() -> None:
    assert parse_html('<a href="caf%E9">x</a>', URL)[0].name == "caf\udce9"


def test_a_base_element_does_not_move_the_directory() -> None:
    page = '<base href="http://host/"><a href="some%20dir/x">x</a><a href="y">y</a>'
    assert [entry.name for entry in parse_html(page, URL)] == ["x"]


def test_nginx_json_listing_is_read() -> None:
    page = """[{ "name":"sub", "type":"directory", "mtime":"Sat, 21 Nov 2026 13:24:00 GMT" },
               { "name":"f", "type":"file", "mtime":"Sat, 21 Nov 2026 13:24:00 GMT", "size":5 },
               { "name":"../x", "type":"file", "size":5 }]"""
    assert parse_json(page) == [Entry("sub", True, None, WHEN), Entry("f", False, 5, WHEN)]


def test_json_that_is_no_listing_is_refused() -> None:
    with pytest.raises(ValueError, match="not a listing"):
        parse_json('{"name": "x"}')


@given(st.text())
def test_any_text_is_a_page_without_an_error(page: str) -> None:
    assert all("/" not in entry.name for entry in parse_html(page, URL))
