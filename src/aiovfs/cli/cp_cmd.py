"""`aiovfs cp`: the command; the work is in `copying`."""

from __future__ import annotations

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

__all__ = ["cp"]


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...", callback=not_empty)
@click.argument("destination", metavar="DST", callback=not_empty)
@click.option("-r", "recursive", is_flag=True, help="Copy directories with everything below.")
@click.option("-q", "quiet", is_flag=True, help="Only say what failed.")
@click.option("-j", "--jobs", type=click.IntRange(1, 256), default=8, show_default=True, help="Files at a time.")
@store_options
@debug_option
def cp(
    sources: tuple[str, ...],
    destination: str,
    recursive: bool,
    quiet: bool,
    jobs: int,
    words: tuple[str, ...],
    storage_file: str | None,
    client: str | None,
) -> int:
    """Copy files between stores and local directories, in any combination.

    As with cp(1), DST may be the new name of a single SRC, or an existing directory (or one that ends with /) to
    copy into. A file appears under its name only when it is complete, if the store can do that. What fails is
    reported file by file; the rest is copied, and the exit code is 1.

    Options given with -o go to every URL that has them.
    """
    from aiovfs.cli.copying import Copying
    from aiovfs.cli.locations import locate
    from aiovfs.mount.serving import run

    given = {**read_storage_options(storage_file), **parse_words(words)}
    locations = [locate(text) for text in (*sources, destination)]
    remote = [location for location in locations if not location.is_local]
    accepted: set[str] = set()
    options = {}
    for location in remote:
        options[location] = _options_for(location.text, given)
        accepted |= options[location].keys()
    if refused := [name for name in given if name not in accepted]:
        # Says which names are known, for the nearest one.
        split_options(remote[0].text if remote else locations[0].text, {refused[0]: given[refused[0]]})
    with ui.Transfers(quiet=quiet) as transfers:
        copying = Copying(options, client, transfers, recursive=recursive, jobs=jobs)
        run(copying.run, locations[:-1], locations[-1])
    return 1 if transfers.failures else 0


def _options_for(url: str, given: dict[str, object]) -> dict[str, object]:
    from aiovfs.fs import storage_option_names

    names = storage_option_names(url)
    return {name: value for name, value in given.items() if not names or name in names}
