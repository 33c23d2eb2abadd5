"""nginx over one directory, as several sites with different habits."""

from __future__ import annotations

import os
from pathlib import Path

from servers.process import ServerProcess, free_port, require_binary

__all__ = ["Nginx"]

CONFIGURATION = """
{user}
worker_processes 1;
daemon off;
pid {lab}/pid;
error_log {lab}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {lab}/access.log;
    default_type application/octet-stream;
    types {{ text/html html; text/plain txt; }}
    sendfile on;
    keepalive_requests 100000;
    client_body_temp_path {lab}/body;
    proxy_temp_path {lab}/proxy;
    fastcgi_temp_path {lab}/fastcgi;
    uwsgi_temp_path {lab}/uwsgi;
    scgi_temp_path {lab}/scgi;

    server {{
        listen 127.0.0.1:{port};
        root {files};
        autoindex on;

        # The same files again, each site with one habit of servers found in the wild.
        location /_/unlisted/ {{ alias {files}/; autoindex off; }}
        location /_/whole/ {{ alias {files}/; max_ranges 0; autoindex on; }}
        location /_/gzip/ {{ alias {files}/; gzip on; gzip_types *; gzip_min_length 1; autoindex on; }}
        location /_/anonymous/ {{ alias {files}/; etag off; autoindex on; }}
        location /_/undated/ {{ alias {files}/; etag off; autoindex on; add_header Last-Modified ""; }}
        location /_/locked/ {{ return 403; }}
        location /_/broken/ {{ return 500; }}
        location /_/busy/ {{ return 503; }}
        location /_/headless/ {{ alias {files}/; autoindex on; if ($request_method = HEAD) {{ return 405; }} }}
        location /_/moved/ {{ rewrite ^/_/moved/(.*)$ /$1 redirect; }}
        location /_/loop/ {{ return 302 /_/loop/; }}
    }}
}}
"""


class Nginx:
    """`files` is served at `url`; `site("whole")` is the URL of the same files with another habit.

    Sites: unlisted (403 for directories), whole (answers ranges with 200), gzip (compresses), anonymous (no ETag),
    undated (neither ETag nor date), locked (403), broken (500), busy (503), headless (no HEAD), moved (redirects),
    loop.
    """

    def __init__(self, lab: Path) -> None:
        binary = require_binary("nginx", install="apt-get install nginx-light")
        self.files = lab / "files"
        self.files.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        configuration = lab / "nginx.conf"
        # Started as root, the worker would change to a user who cannot read the temporary directory.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration.write_text(CONFIGURATION.format(lab=lab, files=self.files, port=self.port, user=user))
        command = [binary, "-c", str(configuration), "-e", str(lab / "error.log")]
        self._process = ServerProcess(command, self.port, lab / "output.log")

    def site(self, habit: str) -> str:
        """The URL of the same files on the site with this habit."""
        return f"{self.url}_/{habit}/"

    def stop(self) -> None:
        """Stop nginx."""
        self._process.stop()
