"""`aiovfs`: the group of commands, how errors are shown, and the exit codes.

Exit codes: 0 done; 1 it failed (or, for `cp`, some of it did); 2 the command line is wrong: an unknown command,
option or option value; 130 Ctrl-C; 141 the reader of standard output went away (`aiovfs cat … | head`).

Every failure is one line on standard error, `aiovfs: what failed (what to do)`, and the traceback only with --debug.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from aiovfs.cli import ui
from aiovfs.cli.cat_cmd import cat
from aiovfs.cli.cp_cmd import cp
from aiovfs.cli.doctor_cmd import doctor
from aiovfs.cli.ls_cmd import ls
from aiovfs.cli.mount_cmd import mount
from aiovfs.cli.options import Debugging
from aiovfs.cli.umount_cmd import umount
from aiovfs.errors import AiovfsError, OptionError

__all__ = ["cli", "main"]

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        import aiovfs

        click.echo(f"aiovfs {aiovfs.__version__}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Show the version."
)
def cli() -> None:
    """Mount any fsspec URL as a directory, and look into it without mounting.

    \b
    aiovfs mount s3://bucket/data /mnt/data --background
    aiovfs umount /mnt/data

    Credentials are found as the store's own tools find them (environment, configuration files), or given with
    -o NAME=VALUE. `aiovfs doctor` tells what this machine lacks.
    """


for command in (mount, umount, ls, cat, cp, doctor):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    debugging = Debugging()
    open_standard_streams()
    try:
        result = cli.main(args=arguments, prog_name="aiovfs", standalone_mode=False, obj=debugging)
        sys.stdout.flush()
    except ui.OutputClosedError:
        return silence_output()
    except BrokenPipeError as error:
        if error.filename is None and output_is_closed():
            return silence_output()
        return show(error, debugging)
    except (KeyboardInterrupt, click.Abort):
        ui.note("aiovfs: interrupted")
        return INTERRUPTED
    except Exception as error:
        return show(error, debugging)
    return result if isinstance(result, int) else 0


def open_standard_streams() -> None:
    """Whoever started us may have closed some: the next files would get their numbers, and our words."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, closefd=False))  # noqa: SIM115 - for the life of the process


def show(error: BaseException, debugging: Debugging) -> int:
    """Print one error as one line; returns the exit code."""
    from aiovfs.mount.frames import single_leaf

    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        ui.note(error.format_message())
        return WRONG_USAGE
    if debugging.enabled:
        import traceback

        traceback.print_exception(error)
    error = single_leaf(error)
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            ui.note(f"aiovfs: {describe(part, debugging)}")
        return FAILED
    ui.note(f"aiovfs: {describe(error, debugging)}")
    return WRONG_USAGE if isinstance(error, click.UsageError | OptionError) else FAILED


def describe(error: BaseException, debugging: Debugging) -> str:
    """What failed, on one line."""
    if isinstance(error, click.UsageError):
        text = error.format_message().rstrip(".")
        if error.ctx is not None:
            text += f" (see: {error.ctx.command_path} --help)"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, OSError) and not isinstance(error, AiovfsError):
        text = error.strerror or str(error) or type(error).__name__
        if error.filename is not None:
            text = f"{os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename}: {text}"
    elif isinstance(error, AiovfsError):
        text = str(error)
    else:
        text = f"internal error: {type(error).__name__}: {error}"
        if not debugging.enabled:
            text += " (please report it, with what --debug prints)"
    return ui.printable(" ".join(text.split()))


def output_is_closed() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def silence_output() -> int:
    """Nobody reads: end as if by SIGPIPE, and keep the interpreter from complaining when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
