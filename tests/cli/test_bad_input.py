"""What must be refused: one line that says what is wrong and what to do, an exit code, and nothing mounted."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CASES: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "unknown protocol": (1, ("mount", "ss3://bucket", "{mnt}"), ("'ss3'", "did you mean s3")),
    "missing package": (1, ("mount", "smb://host/share", "{mnt}"), ("smb://", "smbprotocol")),
    "missing mountpoint": (1, ("mount", "{store}", "{tmp}/nowhere"), ("{tmp}/nowhere", "mkdir -p")),
    "mountpoint is a file": (1, ("mount", "{store}", "{store}/hello.txt"), ("not a directory",)),
    "mountpoint is not empty": (1, ("mount", "{store}", "{store}/sub"), ("not empty", "nonempty")),
    "unknown option": (2, ("mount", "{store}", "{mnt}", "-o", "cache_sise=1"), ("did you mean cache_size",)),
    "unknown storage option": (2, ("mount", "s3://bucket", "{mnt}", "-o", "secrett=x"), ("did you mean secret",)),
    "impossible value": (2, ("mount", "{store}", "{mnt}", "-o", "uid=nobody"), ("uid", "'nobody'")),
    "impossible value of a flag": (2, ("mount", "{store}", "{mnt}", "--cache-size", "big"), ("cache_size", "'big'")),
    "unknown preset": (2, ("mount", "{store}", "{mnt}", "--preset", "fast"), ("fast", "frozen")),
    "value for a word without one": (2, ("mount", "{store}", "{mnt}", "-o", "ro=1"), ("ro takes no value",)),
    "JSON cut off": (2, ("mount", "s3://b", "{mnt}", "-o", "client_kwargs={"), ("client_kwargs", "not valid JSON")),
    "secret file missing": (2, ("mount", "s3://b", "{mnt}", "-o", "secret=@{tmp}/no"), ("{tmp}/no", "No such file")),
    "variable missing": (2, ("mount", "s3://b", "{mnt}", "-o", "secret=env:NO_SUCH"), ("NO_SUCH", "not set")),
    "options file missing": (2, ("mount", "s3://b", "{mnt}", "--storage-options", "{tmp}/no"), ("{tmp}/no",)),
    "options file of another kind": (
        2,
        ("mount", "s3://b", "{mnt}", "--storage-options", "{store}/hello.txt"),
        ("not valid JSON",),
    ),
    "missing root": (1, ("mount", "{tmp}/nowhere", "{mnt}"), ("{tmp}/nowhere", "No such file")),
    "root is a file": (1, ("mount", "{store}/hello.txt", "{mnt}"), ("is not a directory", "mount the directory")),
    "mountpoint that is what it shows": (1, ("mount", "{mnt}", "{mnt}"), ("is the folder", "beside")),
    "mountpoint inside of what it shows": (1, ("mount", "{tmp}", "{mnt}"), ("is inside of the folder", "beside")),
    "empty URL": (2, ("mount", "", "{mnt}"), ("URL is empty",)),
    "empty mountpoint": (2, ("mount", "{store}", ""), ("DIR is empty",)),
    "empty directory to unmount": (2, ("umount", ""), ("DIR is empty",)),
    "empty URL to list": (2, ("ls", ""), ("URL is empty",)),
    "empty URL to show": (2, ("cat", ""), ("URL is empty",)),
    "empty source": (2, ("cp", "", "{tmp}/x"), ("SRC is empty",)),
    "empty target": (2, ("cp", "{store}/hello.txt", ""), ("DST is empty",)),
    "URL that is none": (1, ("mount", "http://[::1", "{mnt}"), ("http://[::1", "IPv6")),
    "URL without a host": (1, ("mount", "http:///x", "{mnt}"), ("http:///x", "host")),
    "control characters": (1, ("ls", "{tmp}/a\x1b[31m\rb"), ("a\\x1b[31m",)),
    "missing argument": (2, ("mount", "{store}"), ("DIR", "mount --help")),
    "unknown flag": (2, ("mount", "{store}", "{mnt}", "--frobnicate"), ("--frobnicate",)),
    "unknown command": (2, ("frobnicate",), ("frobnicate",)),
    "log that cannot be written": (
        1,
        ("mount", "{store}", "{mnt}", "--background", "--log-file", "{store}/hello.txt/log"),
        ("hello.txt/log", "--log-file"),
    ),
    "log in the foreground": (2, ("mount", "{store}", "{mnt}", "--log-file", "{tmp}/log"), ("--background",)),
    "nothing to unmount": (1, ("umount", "{mnt}"), ("{mnt} is not a mountpoint",)),
    "missing directory to unmount": (1, ("umount", "{tmp}/nowhere"), ("does not exist",)),
    "mount of another kind": (1, ("umount", "/proc"), ("type proc", "umount(8)")),
    "missing file to list": (1, ("ls", "{tmp}/nowhere"), ("No such file",)),
    "missing file to show": (1, ("cat", "{store}/nothing"), ("No such file",)),
    "directory to show": (1, ("cat", "{store}/sub"), ("Is a directory",)),
    "option that no URL has": (2, ("cp", "-o", "anom=true", "s3://b/x", "{tmp}/x"), ("did you mean anon",)),
}


@pytest.mark.parametrize("case", CASES)
def test_refusal_is_one_line_that_helps(shell: Any, store: Path, mnt: Path, tmp_path: Path, case: str) -> None:
    def fill(text: str) -> str:
        return text.replace("{store}", str(store)).replace("{mnt}", str(mnt)).replace("{tmp}", str(tmp_path))

    code, arguments, words = CASES[case]
    line = shell.refusal(code, *map(fill, arguments))
    for word in words:
        assert fill(word) in line
    assert not shell.is_mounted(mnt)


@pytest.mark.parametrize("way", [(), ("--background",)], ids=["foreground", "background"])
def test_server_that_is_down_is_said_to_be(shell: Any, mnt: Path, way: tuple[str, ...]) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
        line = shell.refusal(1, "mount", url, mnt, *way)
    assert url in line
    assert "is the server running" in line
    assert not shell.is_mounted(mnt)


@pytest.fixture
def suspicious_s3() -> Iterator[str]:
    """A server that knows nobody: every request is refused as S3 refuses a wrong key."""
    import http.server
    import threading

    body = (
        b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidAccessKeyId</Code>'
        b"<Message>The AWS Access Key Id you provided does not exist in our records.</Message></Error>"
    )

    class Refuse(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("client", ["s3fs", "obstore"])
def test_wrong_credentials_are_said_to_be(shell: Any, mnt: Path, suspicious_s3: str, client: str) -> None:
    options = f"endpoint_url={suspicious_s3},key=nobody,secret=wrong-secret-value"
    region = 'client_kwargs={"region_name":"us-east-1"}'
    line = shell.refusal(1, "mount", "s3://bucket", mnt, "--client", client, "-o", options, "-o", region)
    assert "s3://bucket" in line
    assert "credentials" in line
    assert "wrong-secret-value" not in line
    assert not shell.is_mounted(mnt)


@pytest.mark.mounted
def test_directory_that_is_a_mount_already_is_refused(shell: Any, store: Path, mnt: Path) -> None:
    shell("mount", store, mnt, "--background")
    assert "is a mountpoint already" in shell.refusal(1, "mount", store, mnt)
    shell("umount", mnt)


def test_traceback_is_shown_with_debug_only(shell: Any, mnt: Path, tmp_path: Path) -> None:
    done = shell("mount", tmp_path / "nowhere", mnt, "--debug", check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("aiovfs: ")


@pytest.mark.parametrize("command", [(), ("mount",), ("umount",), ("ls",), ("cat",), ("cp",), ("doctor",)])
def test_help_tells_what_a_command_is_for(shell: Any, command: tuple[str, ...]) -> None:
    done = shell(*command, "--help")
    assert done.stdout.startswith("Usage: aiovfs")
    assert "--help" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_help_of_mount_lists_every_option_of_the_table(shell: Any) -> None:
    from aiovfs.mount.options import option_rows

    text = shell("mount", "--help").stdout
    assert [row.flag for row in option_rows() if row.flag not in text and row.name != "subtype"] == []


def test_command_without_arguments_shows_help_and_says_it_was_wrong(shell: Any) -> None:
    done = shell(check=False)
    assert done.returncode == 2
    assert "Usage: aiovfs" in done.stderr


def test_version_is_that_of_the_package(shell: Any) -> None:
    import aiovfs

    assert shell("--version").stdout == f"aiovfs {aiovfs.__version__}\n"


def test_help_imports_no_more_than_it_needs(shell: Any) -> None:
    heavy = "{'anyio', 'fsspec', 'rich', 'asyncio', 'trio', 'aiohttp', 'ssl', 'uvloop'}"
    code = (
        "import sys\nfrom aiovfs.cli.main import main\nassert main(['--help']) == 0\n"
        f"print(sorted({heavy} & sys.modules.keys()), file=sys.stderr)"
    )
    _, complaint = shell.python(code).communicate(timeout=20)
    assert complaint == "[]\n"


def test_import_of_the_package_is_light() -> None:
    import subprocess

    code = "import sys, aiovfs; print([name for name in sys.modules if name.startswith('aiovfs.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_harm(shell: Any, store: Path, closed: str) -> None:
    command = " ".join(map(shlex.quote, shell.command("ls", store)))
    done = subprocess.run(["sh", "-c", f"{command} {closed}"], env=shell.environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("url", "package"), [("s3://bucket", "s3fs"), ("http://127.0.0.1:1/", "aiohttp")])
def test_a_missing_package_is_named_whatever_options_are_given(
    shell: Any, mnt: Path, tmp_path: Path, url: str, package: str
) -> None:
    for name in ("s3fs", "obstore", "aiohttp", "yarl"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')")
    shell.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    option = "anon" if package == "s3fs" else "timeout=5"
    line = shell.refusal(1, "mount", url, mnt, "-o", option)
    assert "pip install 'aiovfs[" in line
    assert package in line


@pytest.mark.parametrize("command", ["ls", "cat", "mount"])
def test_a_query_is_refused_and_not_shown(shell: Any, mnt: Path, command: str) -> None:
    arguments = [mnt] if command == "mount" else []
    line = shell.refusal(1, command, "http://me:hunter2@127.0.0.1:1/x?token=abcdef", *arguments)
    assert "query" in line
    assert not {"hunter2", "abcdef"} & set(re.split(r"\W", line))
