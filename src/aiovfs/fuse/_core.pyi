from aiovfs.fuse.drain import Drain, Waiting

class Core:
    requests: int
    by_python: int
    unusual: int
    reads: int
    yields: int
    def __init__(self, session_drain: Drain, agreed: int) -> None: ...
    def run(self) -> tuple[Waiting | None, bool]: ...
