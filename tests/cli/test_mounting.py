"""`aiovfs mount` and `umount`, with real mounts."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiovfs.mount import registry

pytestmark = pytest.mark.mounted


def record_of(directory: Path) -> registry.Record:
    row = registry.find_mount(directory)
    assert row is not None
    record = registry.find_record(row)
    assert record is not None
    return record


def kill_server(shell: Any, directory: Path) -> int:
    record = record_of(directory)
    os.kill(record.pid, signal.SIGKILL)
    shell.wait_until(lambda: not record.is_alive, "the end of the server")
    return record.pid


def test_background_mount_returns_when_the_file_system_answers(shell: Any, store: Path, mnt: Path) -> None:
    done = shell("mount", store, mnt, "--background")
    assert (mnt / "hello.txt").read_bytes() == b"hello\n"
    assert done.stdout.count("\n") == 1
    assert f"file://{store}" in done.stdout
    assert f"aiovfs umount {mnt}" in done.stdout
    assert done.stderr == ""


def test_umount_returns_when_the_server_has_ended_and_what_was_written_is_in_the_store(
    shell: Any, store: Path, mnt: Path
) -> None:
    shell("mount", store, mnt, "--background")
    record = record_of(mnt)
    (mnt / "new").write_bytes(b"x" * 100_000)
    done = shell("umount", mnt)
    assert registry.reread(record) is None
    assert not shell.is_mounted(mnt)
    assert (store / "new").read_bytes() == b"x" * 100_000
    assert done.stderr == ""


def test_ready_line_as_json_names_the_serving_process(shell: Any, store: Path, mnt: Path) -> None:
    ready = json.loads(shell("mount", store, mnt, "-b", "--json").stdout)
    assert ready["event"] == "mounted"
    assert ready["url"] == f"file://{store}"
    assert ready["directory"] == str(mnt)
    assert ready["pid"] == record_of(mnt).pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_foreground_mount_ends_in_order_on_a_signal(shell: Any, store: Path, mnt: Path, number: signal.Signals) -> None:
    process = shell.start("mount", store, mnt)
    assert "Ctrl-C" in process.stdout.readline()
    (mnt / "new").write_text("written")
    process.send_signal(number)
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 0, complaint
    assert not shell.is_mounted(mnt)
    assert (store / "new").read_text() == "written"


def test_foreground_mount_ends_when_unmounted_from_elsewhere(shell: Any, store: Path, mnt: Path) -> None:
    process = shell.start("mount", store, mnt)
    process.stdout.readline()
    shell("umount", mnt)
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 0, complaint


def test_background_mount_survives_the_end_of_the_session_that_made_it(shell: Any, store: Path, mnt: Path) -> None:
    # A shell that is a session leader of its own, as a terminal's is, and ends at once.
    command = " ".join(shell.command("mount", store, mnt, "-b"))
    subprocess.run(
        ["sh", "-c", command],
        start_new_session=True,
        env=shell.environment,
        check=True,
        timeout=30,
        stdout=subprocess.DEVNULL,
    )
    assert os.getsid(record_of(mnt).pid) == record_of(mnt).pid
    assert (mnt / "hello.txt").exists()


def test_log_file_of_a_background_mount_belongs_to_its_user_alone(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b")
    log = shell.home / ".local/state/aiovfs" / (str(mnt).strip("/").replace("/", "-") + ".log")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_trace_of_the_wire_goes_to_the_log_file(shell: Any, store: Path, mnt: Path, tmp_path: Path) -> None:
    log = tmp_path / "my.log"
    shell("mount", store, mnt, "-b", "--trace", "--log-file", log)
    (mnt / "hello.txt").read_bytes()
    shell("umount", mnt)
    assert "lookup" in log.read_text()


def test_read_only_mount_refuses_writes(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b", "-o", "ro")
    with pytest.raises(OSError, match="Read-only file system"):
        (mnt / "new").write_text("x")


def test_options_of_the_table_are_flags_and_words_of_o_alike(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b", "-o", "umask=077,uid=1234", "--gid", "4321")
    info = (mnt / "hello.txt").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode) & 0o077) == (1234, 4321, 0)


def test_secrets_are_in_no_argument_environment_or_log(shell: Any, mnt: Path, s3_server: Any, tmp_path: Path) -> None:
    bucket = s3_server.new_bucket()
    secret = tmp_path / "secret"
    secret.write_text("a-very-secret-value\n")
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"endpoint_url": s3_server.url, "client_kwargs": {"region_name": "us-east-1"}}))
    log = tmp_path / "log"
    shell(
        "mount", f"s3://{bucket}", mnt, "-b", "--debug", "--storage-options", options, "--log-file", log,
        "-o", "key=test-key", "-o", f"secret=@{secret}",
    )  # fmt: skip
    process = Path(f"/proc/{record_of(mnt).pid}")
    (mnt / "new").write_text("x")
    arguments, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
    shell("umount", mnt)
    assert s3_server.path(bucket, "new").read_text() == "x"
    assert f"s3://{bucket}".encode() in arguments
    for text in (arguments, environment, log.read_bytes()):
        assert b"a-very-secret-value" not in text


def test_umount_of_a_busy_mount_names_who_uses_it_and_the_way_out(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b")
    with open(mnt / "hello.txt"):
        line = shell.refusal(1, "umount", mnt)
        assert f"(pid {os.getpid()})" in line
        assert f"umount --lazy {mnt}" in line
        assert shell.is_mounted(mnt)
    shell("umount", mnt)


def test_lazy_umount_detaches_now_and_gives_up_waiting_at_the_time_out(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b")
    record = record_of(mnt)
    with open(mnt / "hello.txt") as file:
        line = shell.refusal(1, "umount", mnt, "--lazy", "--timeout", "0.2")
        assert f"pid {record.pid}" in line
        assert not shell.is_mounted(mnt)
        assert file.read() == "hello\n"
    shell.wait_until(lambda: not record.is_alive, "the end of the server after the last close")


def test_umount_clears_away_the_mount_of_a_killed_server(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b")
    kill_server(shell, mnt)
    done = shell("umount", mnt)
    assert "dead mount" in done.stderr
    assert not shell.is_mounted(mnt)


def test_mount_on_a_dead_mount_says_replace_and_replace_does_it(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b")
    pid = kill_server(shell, mnt)
    assert "--replace" in shell.refusal(1, "mount", store, mnt, "-b")
    shell("mount", store, mnt, "-b", "--replace")
    assert (mnt / "hello.txt").read_bytes() == b"hello\n"
    assert record_of(mnt).pid != pid
    shell("umount", mnt)
    assert not shell.is_mounted(mnt)


def test_replace_does_not_replace_a_living_mount(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b")
    pid = record_of(mnt).pid
    assert "mountpoint already" in shell.refusal(1, "mount", store, mnt, "-b", "--replace")
    assert record_of(mnt).pid == pid


def test_doctor_finds_a_dead_mount(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b")
    kill_server(shell, mnt)
    checks = json.loads(shell("doctor", "--json").stdout)["checks"]
    assert {"name": "mounts", "state": "warn", "text": f"{mnt} is dead", "hint": f"aiovfs umount {mnt}"} in checks


def test_umount_reports_what_could_not_be_stored(shell: Any, mnt: Path, s3_server: Any, proxied: Any) -> None:
    bucket = s3_server.new_bucket()
    proxy = proxied(s3_server.port)
    shell(
        "mount", f"s3://{bucket}", mnt, "-b", "-o", f"endpoint_url={proxy.url},key=k,secret=s,drain_timeout=1s",
        "-o", 'client_kwargs={"region_name":"us-east-1"}',
    )  # fmt: skip
    descriptor = os.open(mnt / "lost", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"x")
    proxy.stop()
    subprocess.run(["umount", "-l", mnt], check=True)
    record = next(
        record
        for path in registry.record_directory().glob("*.json")
        if (record := registry._read(path, uid=os.geteuid())) and record.directory == str(mnt)
    )
    try:
        os.close(descriptor)
    except OSError:
        pass  # the store is down: close may say so
    shell.wait_until(lambda: not record.is_alive, "the end of the server")
    failed = registry.reread(record)
    assert failed is not None
    assert failed.error is not None
    assert "lost" in failed.error
    registry.forget(failed)


def test_python_is_the_interpreter_of_the_serving_process(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "-b")
    executable = os.readlink(f"/proc/{record_of(mnt).pid}/exe")
    assert executable == os.path.realpath(sys.executable)
