"""`aiovfs doctor`: what works on this machine, what does not, and what to do about it. The checks are in `checks`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from aiovfs.cli import ui
from aiovfs.cli.options import debug_option

__all__ = ["doctor"]

_COLOUR = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object with all findings.")
@debug_option
def doctor(as_json: bool) -> int:
    """Check what mounting needs: kernel, helper, packages, native parts, cache, dead mounts.

    Each line is ok, warn (works, but slower or less) or fail. The exit code is 1 when mounting cannot work.
    """
    from aiovfs.cli.checks import run_checks

    findings = run_checks()
    can_mount = not any(finding.state == "fail" for finding in findings)
    if as_json:
        ui.write_line(
            json.dumps({"can_mount": can_mount, "checks": [asdict(finding) for finding in findings]}, indent=2)
        )
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            state = click.style(f"{finding.state:4}", fg=_COLOUR[finding.state])
            ui.write_line(f"{state}  {finding.name:{width}}  {finding.text}")
            if finding.hint:
                ui.write_line(f"{'':4}  {'':{width}}  -> {finding.hint}")
    return 0 if can_mount else 1
