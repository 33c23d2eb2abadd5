"""Options that several commands share, and the parsing of `-o`.

`-o NAME=VALUE[,NAME=VALUE…]` carries two kinds of options: those of the mount (the table in `mount.options`) and those
of the URL's file system, in this order when a name is in both. Anything else is refused with the nearest name.

A value that looks like JSON (an object, an array, a quoted string, a number, true, false, null) is read as JSON;
numbers stay text where the name is that of a credential, since keys may consist of digits. `@FILE` stands for a file's
content and `env:NAME` for an environment variable, so that no secret has to be in `ps` or in the shell's history.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from aiovfs.errors import OptionError

__all__ = [
    "Debugging",
    "debug_option",
    "not_empty",
    "parse_words",
    "read_storage_options",
    "split_options",
    "store_options",
]

F = TypeVar("F", bound=Callable[..., Any])

_JSON = re.compile(r'[\[{"]|(?:-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null)\Z')
_NUMBER = re.compile(r"-?\d")
_TEXT_NAME = re.compile(r"user|account|project|bucket|version|revision|host|^key$|^ref$|name", re.IGNORECASE)


@dataclass
class Debugging:
    """Whether tracebacks are wanted; click carries it from the command to `main`."""

    enabled: bool = False


def debug_option(function: F) -> F:
    def remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(Debugging).enabled = True
            import logging

            from aiovfs.mount import logs

            logs.configure(logging.DEBUG)

    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=remember, help="Show tracebacks and debug messages."
    )(function)


def store_options(function: F) -> F:
    """-o, --storage-options and --client, for every command that opens a URL."""
    function = click.option(
        "--client", type=click.Choice(["s3fs", "obstore"]), help="Which client library to use for s3://."
    )(function)
    function = click.option(
        "--storage-options",
        "storage_file",
        type=click.Path(),
        metavar="FILE.json",
        help="Options of the URL's file system, as a JSON object; - reads standard input.",
    )(function)
    return click.option(
        "-o",
        "words",
        multiple=True,
        metavar="NAME=VALUE[,…]",
        help="An option. VALUE may be JSON, @FILE (its content) or env:NAME (an environment variable).",
    )(function)


def not_empty(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse an empty argument: what a script says whose variable is not set must not mean the current directory."""
    if value == "" or (isinstance(value, tuple) and "" in value):
        raise OptionError(f"{(parameter.metavar or parameter.name or '').removesuffix('...').upper()} is empty")
    return value


def parse_words(
    texts: Iterable[str], *, text_names: Container[str] = (), environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """All `-o` arguments as names and values; a name alone is True. Raises `OptionError`.

    Values of `text_names` stay text: those options have a notation of their own (`umask=022` is octal).
    """
    options: dict[str, Any] = {}
    for text in texts:
        for word in _split(text):
            name, equals, value = word.partition("=")
            name = name.strip()
            if not name:
                raise OptionError(f"-o {text}: a name is missing", hint="write -o NAME=VALUE")
            is_text = name.replace("-", "_") in text_names
            options[name] = _value(name, value, is_text, environment) if equals else True
    return options


def _split(text: str) -> list[str]:
    """At commas, but not inside of a JSON value, nor at `\\,`."""
    words: list[str] = []
    word = ""
    depth = 0
    quoted = False
    escaped = False
    for letter in text:
        in_json = depth > 0 or quoted
        if escaped:
            word += letter if in_json or letter == "," else "\\" + letter
            escaped = False
            continue
        if letter == "\\" and (quoted or not in_json):
            escaped = True
            if in_json:
                word += letter
            continue
        if letter == '"' and (in_json or word.endswith("=")):
            quoted = not quoted
        elif not quoted and letter in "{[" and (depth or word.endswith("=")):
            depth += 1
        elif not quoted and letter in "}]" and depth:
            depth -= 1
        if letter == "," and not in_json:
            words.append(word)
            word = ""
        else:
            word += letter
    if escaped:
        word += "\\"
    return [word for word in [*words, word] if word.strip()]


def _value(name: str, text: str, is_text: bool, environment: Mapping[str, str]) -> Any:
    from aiovfs.mount.logs import is_secret

    if text.startswith("@"):
        try:
            return Path(text[1:]).read_text().strip()
        except OSError as error:
            raise OptionError(
                f"-o {name}=@{text[1:]}: {error.strerror}", hint="after @ comes the name of a file"
            ) from None
        except UnicodeDecodeError:
            raise OptionError(f"-o {name}=@{text[1:]}: the file is not text") from None
    if text.startswith("env:"):
        try:
            return environment[text[4:]]
        except KeyError:
            raise OptionError(f"-o {name}=env:{text[4:]}: this environment variable is not set") from None
    if is_text or _JSON.match(text) is None or (_NUMBER.match(text) and (is_secret(name) or _TEXT_NAME.search(name))):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        shown = "…" if is_secret(name) else text
        raise OptionError(
            f"-o {name}={shown}: not valid JSON: {error}", hint="in a shell, put single quotes around the whole word"
        ) from None


def read_storage_options(path: str | None) -> dict[str, Any]:
    """The JSON object in a file, or on standard input for "-". Raises `OptionError`."""
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
        options = json.loads(text)
    except OSError as error:
        raise OptionError(f"--storage-options {path}: {error.strerror}") from None
    except ValueError as error:
        raise OptionError(f"--storage-options {path}: not valid JSON: {error}") from None
    if not isinstance(options, dict):
        raise OptionError(f"--storage-options {path}: expected a JSON object, got {type(options).__name__}")
    return options


def split_options(
    url: str, given: Mapping[str, Any], mount_names: Iterable[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort options into those of the mount and those of the URL's file system.

    Raises `OptionError` for a name that neither knows; `UnknownProtocolError` and `MissingPackageError` for the URL.
    """
    from aiovfs.fs import storage_option_names

    mount_names = frozenset(mount_names)
    storage_names = storage_option_names(url)
    takes_any = not storage_names
    # fsspec hands the options of an inner link of a chain over under its protocol: s3={"anon": true}
    storage_names |= {link.partition("://")[0] for link in url.split("::")[1:]}
    mount: dict[str, Any] = {}
    storage: dict[str, Any] = {}
    for name, value in given.items():
        canonical = name.replace("-", "_")
        if canonical in mount_names:
            mount[canonical] = value
        elif takes_any or name in storage_names:
            storage[name] = value
        else:
            raise _unknown(name, url, mount_names, storage_names)
    return mount, storage


def _unknown(name: str, url: str, mount_names: frozenset[str], storage_names: frozenset[str]) -> OptionError:
    import difflib

    from aiovfs.fs import redact

    near = difflib.get_close_matches(name.replace("-", "_"), sorted(mount_names | storage_names), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`aiovfs mount --help` lists the options of a mount"
    who = "neither the mount nor the file system of" if mount_names else "the file system of"
    verb = "has" if mount_names else "does not have"
    return OptionError(f"-o {name}: {who} {redact(url)} {verb} such an option", hint=hint)
