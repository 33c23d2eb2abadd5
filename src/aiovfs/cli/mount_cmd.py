"""`aiovfs mount`: in the foreground, in this process; in the background, in a spawned one."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from aiovfs.cli import ui
from aiovfs.cli.options import (
    debug_option,
    not_empty,
    parse_words,
    read_storage_options,
    split_options,
    store_options,
)
from aiovfs.errors import MountError, OptionError
from aiovfs.mount.options import ALIASES, PRESETS, OptionRow, option_rows

if TYPE_CHECKING:
    from aiovfs.mount.spec import MountSpec

__all__ = ["default_log_file", "mount", "mount_options"]

F = TypeVar("F", bound=Callable[..., Any])

_WITHOUT_FLAG = frozenset({"subtype"})  # `umount` and `doctor` know our mounts by it


def table_options(function: F) -> F:
    """A flag for every row of the table of mount options."""
    for row in reversed(option_rows()):
        if row.name not in _WITHOUT_FLAG:
            function = _flag(row)(function)
    return function


def _flag(row: OptionRow) -> Callable[[F], F]:
    if row.kind == "yes/no":
        return click.option(f"{row.flag}/--no-{row.flag[2:]}", row.name, default=None, help=row.summary)
    kind = click.Choice(list(PRESETS)) if row.name == "preset" else str
    metavar = None if row.name == "preset" else row.kind.upper()
    text = row.summary + default_of(row)
    return click.option(row.flag, row.name, type=kind, metavar=metavar, default=None, help=text)


def default_of(row: OptionRow) -> str:
    """For the help. The default itself stays the table's: a preset may have another."""
    if row.default is None or row.kind not in ("time", "size", "mode", "number"):
        return ""
    forms: dict[str, Callable[[Any], str]] = {
        "time": lambda seconds: f"{seconds:g}s",
        "size": lambda size: ui.human_size(size).replace(" ", "").replace(".0", ""),
        "mode": lambda mode: f"{mode:03o}",
        "number": str,
    }
    return f" [default: {forms[row.kind](row.default)}]"


@click.command()
@click.argument("url", callback=not_empty)
@click.argument("directory", metavar="DIR", callback=not_empty)
@click.option("-b", "--background", is_flag=True, help="Return when the file system answers; serve on.")
@click.option("--log-file", type=click.Path(), help="Log of a background mount. [default: below ~/.local/state/aiovfs]")
@click.option("--replace", is_flag=True, help="Clear away a dead mount at DIR first.")
@click.option("--json", "as_json", is_flag=True, help="Print the line that says it is ready as JSON.")
@store_options
@table_options
@debug_option
@click.pass_context
def mount(
    context: click.Context,
    /,
    url: str,
    directory: str,
    background: bool,
    log_file: str | None,
    replace: bool,
    as_json: bool,
    words: tuple[str, ...],
    storage_file: str | None,
    client: str | None,
    **flags: Any,
) -> int:
    """Show what URL names as the directory DIR, until it is unmounted.

    URL is any fsspec URL (s3://bucket/path, https://host/files/, zip::s3://bucket/a.zip, …) or a local directory.
    DIR must exist and be empty. Ctrl-C, SIGTERM and `aiovfs umount DIR` unmount, and wait until everything written
    is in the store.

    -o takes the options below by their names with _ (-o ro,uid=1000,cache_size=1GiB), and those of the URL's file
    system (-o anon=true -o secret=env:SECRET -o 'client_kwargs={"region_name":"x"}').
    """
    from aiovfs.mount.options import MountOptions
    from aiovfs.mount.registry import absolute
    from aiovfs.mount.serving import prepare_mountpoint
    from aiovfs.mount.spec import MountSpec

    names = mount_option_names()
    words_given = parse_words(words, text_names=names)
    given = {name: value for name, value in flags.items() if value is not None}
    from_words, storage = split_options(url, {**read_storage_options(storage_file), **words_given}, names)
    options = {**mount_options(from_words), **given}
    parsed = MountOptions.build(options)
    debugging = context.find_root().obj
    spec = MountSpec(
        target=absolute_url(url),
        directory=absolute(directory),
        client=client,
        storage_options=storage,
        options=options,
        replace=replace,
        attached=False,
        log_file=os.path.abspath(log_file or default_log_file(directory)) if background else None,
        log_level=logging.DEBUG if debugging.enabled else logging.INFO if parsed.trace else None,
    )
    # Before the store is opened: the answer comes at once, and no credentials are used in vain.
    prepare_mountpoint(spec.directory, nonempty=bool(options.get("nonempty")), replace=replace)
    if background:
        return serve_in_background(spec, as_json)
    if log_file is not None:
        raise OptionError("--log-file belongs to --background", hint="in the foreground, redirect standard error")
    return serve_in_foreground(spec, as_json)


def mount_option_names() -> frozenset[str]:
    """Every spelling that `-o` takes for an option of the mount."""
    rows = option_rows()
    negations = {prefix + row.name for row in rows if row.kind == "yes/no" for prefix in ("no", "no_")}
    return frozenset({row.name for row in rows} | negations | ALIASES.keys())


def mount_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """`-o` names as the table's: `ro` is read_only, `noallow_other` is allow_other=False."""
    rows = {row.name for row in option_rows()}
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name in ALIASES:
            if value is not True:
                raise OptionError(f"-o {name} takes no value, got {value!r}")
            target, implied = ALIASES[name]
            options[target] = implied
        elif name in rows:
            options[name] = value
        else:
            if value is not True:
                raise OptionError(f"-o {name} takes no value, got {value!r}")
            options[name.removeprefix("no").removeprefix("_")] = False
    return options


def absolute_url(url: str) -> str:
    """A local path made absolute: the process that serves may have another working directory."""
    from aiovfs.cli.locations import locate

    location = locate(url)
    return location.local_path if location.is_local else url


def default_log_file(directory: str | os.PathLike[str]) -> str:
    """`$XDG_STATE_HOME/aiovfs/mnt-data.log` for /mnt/data."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    name = os.path.abspath(directory).strip("/").replace("/", "-") or "root"
    return os.path.join(state, "aiovfs", f"{name[-200:]}.log")


def announce(
    url: str, directory: str, pid: int, as_json: bool, *, foreground: bool, log_file: str | None = None
) -> None:
    """The line that says it is ready, on standard output."""
    if as_json:
        ready = {"event": "mounted", "url": url, "directory": directory, "pid": pid, "log_file": log_file}
        line = json.dumps(ready)
    else:
        way = f"Ctrl-C, or: aiovfs umount {directory}" if foreground else f"aiovfs umount {directory}"
        log = f"; log: {log_file}" if log_file else ""
        line = f"{url} is mounted on {directory} (to unmount: {way}{log})"
    # Nobody may be reading; the mount stands all the same.
    with contextlib.suppress(ui.OutputClosedError):
        ui.write_line(line)


def serve_in_foreground(spec: MountSpec, as_json: bool) -> int:
    from aiovfs.mount import logs, serving

    logs.configure(spec.log_level, secrets=logs.secret_values(spec.storage_options))
    code: int = serving.run(_serve, spec, as_json)
    return code


async def _serve(spec: MountSpec, as_json: bool) -> int:
    import anyio

    from aiovfs.mount import serving

    mounted: serving.Serving | None = None
    stopped_by: int | None = None

    def ready(serving_now: serving.Serving) -> None:
        nonlocal mounted
        mounted = serving_now
        announce(serving_now.url, serving_now.directory, os.getpid(), as_json, foreground=True)

    def draining(files: int) -> None:
        if files and not as_json:
            ui.note(f"{spec.directory} is unmounted; storing {ui.count(files, 'file')} …")

    async def watch_signals() -> None:
        nonlocal stopped_by
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                if stopped_by is not None:
                    ui.note(f"still storing what was written; kill -9 {os.getpid()} gives it up")
                stopped_by = number
                if mounted is None:
                    tasks.cancel_scope.cancel()
                else:
                    mounted.terminate()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_signals)
        await serving.serve(spec, ready, draining)
        tasks.cancel_scope.cancel()
    return 0 if mounted is not None else 128 + (stopped_by or signal.SIGINT)


def serve_in_background(spec: MountSpec, as_json: bool) -> int:
    from aiovfs.mount.spawning import ChildServer

    assert spec.log_file is not None
    with open_log(spec.log_file) as log:
        server = ChildServer(spec, log=log)
        server.start()
    announce(server.url, spec.directory, server.pid or 0, as_json, foreground=False, log_file=spec.log_file)
    return 0


def open_log(path: str) -> BinaryIO:
    """For appending; readable by its owner only, since file names may be confidential."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    except OSError as error:
        raise MountError(
            f"the log {path} cannot be written: {error.strerror}", hint="choose another: --log-file"
        ) from error
