from typing import Any

from aiovfs.fuse.drain import Drain, Waiting
from aiovfs.fuse.protocol.messages import Request
from aiovfs.fuse.routes import Route

class Core:
    requests: int
    by_python: int
    unusual: int
    reads: int
    yields: int
    def __init__(self, session_drain: Drain, agreed: int) -> None: ...
    def finish(self, route: Route, request: Request, value: Any) -> None: ...
    def run(self) -> tuple[Waiting | None, bool]: ...
