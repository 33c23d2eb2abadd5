"""The directory listings of web servers: pages of links, or nginx's JSON, as names with what is said about them.

Pure: a page in, entries out. A link counts when it leads to a direct child of the page's own directory, on the same
server, without a query; everything else on a page (parents, sort orders, styles, other sites) is not a name.

What the text beside a link may say, and what is believed: a date (minutes only in most servers, always UTC in nginx's
default), and a size where it is a plain number of bytes. "1.2K" is rounded and so is no size at all.
"""

from __future__ import annotations

import calendar
import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

__all__ = ["Entry", "parse_html", "parse_json"]

_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_DATES = (
    re.compile(r"(?P<d>\d{1,2})-(?P<b>[A-Z][a-z]{2})-(?P<y>\d{4}) +(?P<H>\d\d):(?P<M>\d\d)(?::(?P<S>\d\d))?"),
    re.compile(r"(?P<y>\d{4})-(?P<b>[A-Z][a-z]{2})-(?P<d>\d\d) +(?P<H>\d\d):(?P<M>\d\d)(?::(?P<S>\d\d))?"),
    re.compile(r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[ T]+(?P<H>\d\d):(?P<M>\d\d)(?::(?P<S>\d\d))?"),
)
_SIZE = re.compile(r"\s*(\d+)(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a listing. `mtime` is whole seconds since 1970, often rounded to minutes by the server."""

    name: str
    is_directory: bool
    size: int | None = None
    mtime: int | None = None


class _Links(HTMLParser):
    """Collects (href, text up to the next link)."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, list[str]]] = []
        self.base: str | None = None
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            href = dict(attrs).get("href")
            if href is not None:
                self.links.append((href, []))
                self._inside = True
        elif tag == "base" and self.base is None:
            self.base = dict(attrs).get("href")
        elif tag == "time" and self.links:
            self.links[-1][1].append(f" {dict(attrs).get('datetime') or ''} ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._inside = False
        elif self.links:
            self.links[-1][1].append(" ")

    def handle_data(self, data: str) -> None:
        # The link's own text may be a name that looks like a date.
        if self.links and not self._inside:
            self.links[-1][1].append(data)


def parse_html(page: str, url: str) -> list[Entry]:
    """The children of the directory at `url` (which ends in a slash) that `page` links to, each once."""
    links = _Links()
    links.feed(page)
    links.close()
    base = urljoin(url, links.base) if links.base else url
    found: dict[str, Entry] = {}
    for href, text in links.links:
        child = _child_of(url, base, href)
        if child is None:
            continue
        name, is_directory = child
        mtime, size = _details("".join(text))
        entry = Entry(name, is_directory, None if is_directory else size, mtime)
        # The same name as a file and as a directory: the directory wins, as everywhere in this package.
        if name not in found or (is_directory and not found[name].is_directory):
            found[name] = entry
    return list(found.values())


def parse_json(page: str) -> list[Entry]:
    """nginx's `autoindex_format json`. Raises `ValueError` for JSON that is something else."""
    rows = json.loads(page)
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows
    ):
        raise ValueError("JSON, but not a listing: expected a list of objects with a name")
    return [
        Entry(
            str(row["name"]),
            row.get("type") == "directory",
            row.get("size") if isinstance(row.get("size"), int) else None,
            _http_date(str(row.get("mtime") or "")),
        )
        for row in rows
        if _is_name(str(row["name"]))
    ]


def _child_of(directory: str, base: str, href: str) -> tuple[str, bool] | None:
    """(name, is it a directory) when `href` leads to a direct child of `directory`."""
    try:
        target = urlsplit(urljoin(base, href.strip()))
        here = urlsplit(directory)
        if (target.scheme, target.hostname, target.port) != (here.scheme, here.hostname, here.port):
            return None
    except ValueError:
        return None  # Not a URL; pages contain anything.
    # Compared decoded, because servers quote the same path in different ways.
    path, parent = _unquote(target.path), _unquote(here.path)
    if target.query or not path.startswith(parent):
        return None
    name = path[len(parent) :]
    is_directory = name.endswith("/")
    name = name.removesuffix("/")
    # A quoted slash inside a name would make two components of it.
    return (name, is_directory) if _is_name(name) else None


def _unquote(path: str) -> str:
    return unquote(path, errors="surrogateescape")


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _details(text: str) -> tuple[int | None, int | None]:
    """(mtime, size) that the text after a link says."""
    for pattern in _DATES:
        match = pattern.search(text)
        if match:
            size = _SIZE.match(text, match.end())
            return _seconds(match.groupdict()), int(size[1]) if size else None
    return None, None


def _seconds(parts: dict[str, str | None]) -> int | None:
    month = _MONTHS.get(parts["b"] or "") if parts.get("b") else int(parts.get("m") or 0)
    if not month or month > 12:
        return None
    day, hour, minute = (int(parts[key] or 0) for key in "dHM")
    try:
        return calendar.timegm((int(parts["y"] or 0), month, day, hour, minute, int(parts.get("S") or 0), 0, 0, 0))
    except (ValueError, OverflowError):
        return None


def _http_date(text: str) -> int | None:
    match = re.search(r"(?P<d>\d\d) (?P<b>[A-Z][a-z]{2}) (?P<y>\d{4}) (?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)", text)
    return _seconds(match.groupdict()) if match else None
