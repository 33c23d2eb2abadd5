"""Random histories: `memory` and `local` must tell the same story, errors included."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from aiovfs.fs import Info, Store, open_store

PATHS = st.lists(st.sampled_from(["a", "b", "ü"]), min_size=1, max_size=3).map("/".join)
# The local disk follows a symlink in the middle of a path, which is the caller's to prevent: links have names of their
# own that no path leads through.
LINKS = st.tuples(st.sampled_from(["", "a/", "b/"]), st.sampled_from(["l", "m"])).map("".join)
NAMES = PATHS | LINKS
MOVES = st.tuples(PATHS, NAMES) | st.tuples(LINKS, LINKS)
CONTENT = st.binary(max_size=20)


class TwoStores(RuleBasedStateMachine):
    """Every rule runs on both stores and compares what they said, then what is there."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.stores: list[Store] = [
            self.loop.run_until_complete(open_store(url))
            for url in (self.directory.name, f"memory://{Path(self.directory.name).name}")
        ]

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for store in self.stores:
                self.loop.run_until_complete(store.aclose())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            self.directory.cleanup()

    def both(self, call: Any) -> None:
        local, memory = (self.loop.run_until_complete(outcome(call, store)) for store in self.stores)
        assert local == memory
        local_tree, memory_tree = (self.loop.run_until_complete(tree(store, "")) for store in self.stores)
        assert local_tree == memory_tree

    @rule(path=NAMES, content=CONTENT, offset=st.integers(0, 30), exclusive=st.booleans(), truncate=st.booleans())
    def write(self, path: str, content: bytes, offset: int, exclusive: bool, truncate: bool) -> None:
        async def call(store: Store) -> bytes:
            file = await store.open_file(path, writable=True, create=True, exclusive=exclusive, truncate=truncate)
            try:
                await file.pwrite(content, offset)
                return await file.pread(100, 0)
            finally:
                await file.aclose()

        self.both(call)

    @rule(path=NAMES, size=st.integers(0, 40))
    def resize(self, path: str, size: int) -> None:
        self.both(lambda store: store.set_attributes(path, size=size))

    @rule(path=NAMES)
    def mkdir(self, path: str) -> None:
        self.both(lambda store: store.mkdir(path))

    @rule(path=NAMES)
    def rmdir(self, path: str) -> None:
        self.both(lambda store: store.rmdir(path))

    @rule(path=NAMES)
    def remove(self, path: str) -> None:
        self.both(lambda store: store.remove(path))

    @rule(path=LINKS, leads_to=PATHS)
    def symlink(self, path: str, leads_to: str) -> None:
        self.both(lambda store: store.symlink(leads_to, path))

    @rule(move=MOVES)
    def rename(self, move: tuple[str, str]) -> None:
        self.both(lambda store: store.rename(*move))

    @rule(move=MOVES)
    def copy(self, move: tuple[str, str]) -> None:
        self.both(lambda store: store.copy(*move))

    @rule(path=NAMES)
    def look(self, path: str) -> None:
        async def call(store: Store) -> Any:
            return facts(await store.info(path))

        self.both(call)


def facts(info: Info) -> tuple[Any, ...]:
    size = None if info.is_directory else info.size
    return info.name, info.kind, size, info.target, None if info.is_directory else info.nlink


async def outcome(call: Any, store: Store) -> Any:
    try:
        return await call(store)
    except OSError as exc:
        return exc.errno


async def tree(store: Store, path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for info in await store.list(path):
        below = f"{path}/{info.name}" if path else info.name
        found[below] = facts(info)
        if info.is_directory:
            found |= await tree(store, below)
        elif info.target is None:
            reader = await store.open_reader(below, info)
            found[below] += (await reader.read(0, 100),)
            await reader.aclose()
    return found


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
