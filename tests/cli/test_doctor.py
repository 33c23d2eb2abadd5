"""`aiovfs doctor`, and the record of live mounts that `umount` and it rely on."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from aiovfs.cli import checks
from aiovfs.mount import logs, registry


def findings_of(check: Any) -> list[tuple[str, str]]:
    return [(finding.name, finding.state) for finding in check()]


def test_every_check_has_a_line(shell: Any) -> None:
    done = shell("doctor", check=False)
    for name in (
        "python",
        "kernel",
        "/dev/fuse",
        "fusermount3",
        "allow_other",
        "uvloop",
        "native parts",
        "cache",
        "mounts",
    ):
        assert name in done.stdout
    assert done.stderr == ""


def test_machine_readable_findings_say_whether_mounting_can_work(shell: Any) -> None:
    done = shell("doctor", "--json", check=False)
    report = json.loads(done.stdout)
    failed = [finding["name"] for finding in report["checks"] if finding["state"] == "fail"]
    assert report["can_mount"] is (failed == [])
    assert done.returncode == (1 if failed else 0)
    assert {"name", "state", "text", "hint"} == set(report["checks"][0])


def test_exit_code_says_that_mounting_cannot_work(shell: Any) -> None:
    blocked = shell.home / "file"
    blocked.touch()
    shell.environment["XDG_CACHE_HOME"] = str(blocked)
    done = shell("doctor", check=False)
    assert done.returncode == 1
    assert "fail  cache" in done.stdout
    assert "-> mount with -o cache_dir=" in done.stdout


def test_missing_package_warns_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PACKAGES", (("no-such-distribution", "cloud", "nothing"),))
    [finding] = checks.check_packages()
    assert (finding.state, finding.hint) == ("warn", "pip install 'aiovfs[cloud]'")


def test_missing_helper_fails_for_ordinary_users_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert findings_of(checks.check_helper) == [("fusermount3", "fail")]
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert findings_of(checks.check_helper) == [("fusermount3", "ok")]


def test_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_broken() -> Any:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(checks, "CHECKS", (check_broken,))
    [finding] = checks.run_checks()
    assert (finding.name, finding.state) == ("broken", "warn")
    assert "no such thing" in finding.text


def test_device_without_a_name_is_told_apart_from_one_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    [finding] = checks.check_device()
    assert (finding.state, "cannot be opened" in finding.text) == ("fail", True)


def test_mount_table_is_read_with_its_escapes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(b"36 35 0:54 / /mnt/a\\040b\\134c rw shared:1 - fuse.aiovfs s3://b\\043c rw\n")
    real_open = open
    monkeypatch.setattr("builtins.open", lambda path, mode="r": real_open(table, mode))
    [row] = registry.mounted_rows()
    assert row == registry.MountedRow("0:54", "/mnt/a b\\c", "fuse.aiovfs", "s3://b#c")
    assert row.is_ours


def test_directory_is_resolved_up_to_its_parent(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert registry.absolute(tmp_path / "link/mnt") == str(tmp_path / "real/mnt")
    assert registry.absolute(tmp_path / "link") == str(tmp_path / "link")


def test_record_of_another_process_with_the_same_number_is_not_alive() -> None:
    record = registry.Record("0:1", "/mnt", "s3://b", os.getpid(), 1, os.geteuid())
    assert not record.is_alive
    started = registry.process_start(os.getpid())
    assert started is not None
    assert registry.Record("0:1", "/mnt", "s3://b", os.getpid(), started, os.geteuid()).is_alive


def test_folder_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert not registry._is_safe(tmp_path)
    tmp_path.chmod(0o700)
    assert registry._is_safe(tmp_path)
    assert not registry._is_safe(tmp_path, uid=os.geteuid() + 1)
    (tmp_path / "link").symlink_to(tmp_path)
    assert not registry._is_safe(tmp_path / "link")


def test_secrets_are_blotted_out_of_log_lines_at_any_depth() -> None:
    secrets = logs.secret_values({"key": "AKIA-123456", "client_kwargs": {"aws_secret_access_key": "deep-secret"}})
    formatter = logs.RedactingFormatter("%(message)s", secrets)
    record = logging.LogRecord("x", logging.INFO, "", 0, "with %s and %s", ("AKIA-123456", "deep-secret"), None)
    assert formatter.format(record) == "with *** and ***"


@pytest.mark.parametrize("name", ["secret", "password", "AWS_SESSION_TOKEN", "account_key", "sas_token", "key"])
def test_names_of_secrets_are_recognised(name: str) -> None:
    assert logs.is_secret(name)


@pytest.mark.parametrize("name", ["endpoint_url", "region", "anon", "keyboard", "cache_size"])
def test_other_names_are_not_secrets(name: str) -> None:
    assert not logs.is_secret(name)
