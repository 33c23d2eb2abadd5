"""One instance and many loops, threads and processes; the synchronous face; identity."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from fsspec import AbstractFileSystem

from aiovfs._loop.caller import leave_caller
from aiovfs.testing.conformance.backend import BINARY, TREE, Backend, MakeFS

__all__ = ["IdentityTests", "LoopTests"]

CHILD = """
import pickle, sys
fs, path = pickle.load(sys.stdin.buffer)
again = pickle.loads(pickle.dumps(fs))
assert again == fs and hash(again) == hash(fs), (again, fs)
print(fs._strip_protocol(path))
"""


class LoopTests(Backend):
    """Loops come and go; threads have one each, or none; processes fork."""

    def _run(self, loop: str, func: Any, *args: Any) -> Any:
        options = {"use_uvloop": True} if loop == "uvloop" else {}
        return anyio.run(func, *args, backend="trio" if loop == "trio" else "asyncio", backend_options=options)

    async def _use(self, make_fs: MakeFS, root: str, name: str) -> None:
        fs = make_fs(asynchronous=True)
        try:
            await self.fill(fs, root, {name: BINARY})
            assert await fs._cat_file(f"{root}/{name}", start=10, end=20) == BINARY[10:20]
            found = await fs._cat([f"{root}/{name}"] * 2)
            assert list(found.values()) == [BINARY]
        finally:
            await self.close(fs)

    def test_loops_one_after_the_other_get_instances_that_work(self, make_fs: MakeFS, root: str) -> None:
        self.need("loop_bound")
        for turn in range(2):
            for loop in self.loops:
                self._run(loop, self._use, make_fs, root, f"{loop}-{turn}")

    def test_threads_with_a_loop_each_work_at_once(self, make_fs: MakeFS, root: str) -> None:
        self.need("loop_bound")
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(self._run, self.loops[n % len(self.loops)], self._use, make_fs, root, f"file-{n}")
                for n in range(8)
            ]
            for job in jobs:
                job.result()

    def test_a_synchronous_instance_gives_what_the_asynchronous_one_gives(
        self, make_fs: MakeFS, sync_fs: Any, root: str
    ) -> None:
        async def ask() -> dict[str, Any]:
            fs = make_fs(asynchronous=True)
            try:
                await self.fill(fs, root, TREE)
                found = {
                    "exists": await fs._exists(f"{root}/a.txt"),
                    "size": await fs._size(f"{root}/b.bin"),
                    "cat_file": await fs._cat_file(f"{root}/b.bin"),
                }
                if self.capabilities.listing is True:
                    found["find"] = self.names(fs, root, await fs._find(root))
                    found["glob"] = self.names(fs, root, await fs._glob(f"{root}/**/*.txt"))
                    found["du"] = await fs._du(root)
                return found
            finally:
                await self.close(fs)

        expected = self._run(self.loops[0], ask)
        arguments = {"exists": f"{root}/a.txt", "glob": f"{root}/**/*.txt", "find": root, "du": root}
        found = {name: getattr(sync_fs, name)(arguments.get(name, f"{root}/b.bin")) for name in expected}
        for name in {"find", "glob"} & set(found):
            found[name] = self.names(sync_fs, root, found[name])
        assert found == expected

    def test_threads_share_a_synchronous_instance(self, make_fs: MakeFS, sync_fs: Any, root: str) -> None:
        self._run(self.loops[0], self._use, make_fs, root, "file")
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda n: sync_fs.cat_file(f"{root}/file", n, n + 5), range(40)))
        assert found == [BINARY[n : n + 5] for n in range(40)]

    async def test_a_blocking_call_on_a_running_loop_is_refused_with_the_name_to_use(
        self, sync_fs: Any, fs: Any, tree: str
    ) -> None:
        self.need("refuses_in_loop")
        with pytest.raises(RuntimeError, match="_info"):
            sync_fs.info(f"{tree}/a.txt")

    def test_a_time_out_ends_the_work(self, make_fs: MakeFS, sync_fs: Any, root: str) -> None:
        self.need("timeouts")
        begun, ended = threading.Event(), threading.Event()

        async def forever(*args: Any, **kwargs: Any) -> None:
            await leave_caller()
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()

        sync_fs._info = forever
        try:
            with pytest.raises(TimeoutError):
                sync_fs.isfile(f"{root}/file", timeout=0.3)
            assert not begun.is_set() or ended.wait(30)
        finally:
            del sync_fs._info
        self._run(self.loops[0], self._use, make_fs, root, "file")
        assert sync_fs.isfile(f"{root}/file")

    def test_a_forked_child_uses_what_it_inherited(self, make_fs: MakeFS, sync_fs: Any, root: str) -> None:
        self.need("fork_safe")
        self._run(self.loops[0], self._use, make_fs, root, "file")
        assert sync_fs.cat_file(f"{root}/file", 0, 5) == BINARY[:5]

        def look() -> bool:
            again = make_fs(asynchronous=False)
            return all(bool(each.cat_file(f"{root}/file", 5, 9) == BINARY[5:9]) for each in (sync_fs, again))

        assert in_fork(look) == 0
        assert sync_fs.cat_file(f"{root}/file", 0, 5) == BINARY[:5]


class IdentityTests(Backend):
    """Instances as values: equal, hashable, picklable, in JSON; what pandas, Dask, zarr and pyarrow rely on."""

    def test_it_is_a_file_system_of_fsspec(self, sync_fs: Any) -> None:
        assert isinstance(sync_fs, AbstractFileSystem)
        assert sync_fs.async_impl is True
        assert sync_fs.protocol
        assert sync_fs.root_marker in ("", "/")

    def test_instances_of_the_same_arguments_are_equal(self, make_fs: MakeFS) -> None:
        one, two = make_fs(asynchronous=False), make_fs(asynchronous=False)
        assert one == two
        assert hash(one) == hash(two)

    def test_a_pickled_instance_comes_back_equal_and_works(self, make_fs: MakeFS, sync_fs: Any, root: str) -> None:
        self.need("pickle")
        back = pickle.loads(pickle.dumps(sync_fs))
        assert back == sync_fs
        assert hash(back) == hash(sync_fs)
        anyio.run(self._fill_one, make_fs, root)
        assert back.cat_file(f"{root}/file") == b"content"

    def test_another_process_makes_it_again(self, sync_fs: Any, root: str) -> None:
        self.need("pickle")
        command = [sys.executable, "-W", "error::UserWarning", "-c", CHILD]
        done = subprocess.run(
            command, input=pickle.dumps((sync_fs, root)), capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().strip() == sync_fs._strip_protocol(root)

    def test_json_there_and_back_gives_an_equal_instance(self, sync_fs: Any) -> None:
        self.need("json")
        back = AbstractFileSystem.from_json(sync_fs.to_json())
        assert type(back) is type(sync_fs)
        assert back == sync_fs

    def test_a_synchronous_instance_becomes_an_asynchronous_one_through_json(
        self, make_fs: MakeFS, sync_fs: Any, root: str
    ) -> None:
        self.need("json")
        facts = sync_fs.to_dict()
        facts["asynchronous"] = True

        async def use() -> bytes:
            fs = AbstractFileSystem.from_dict(facts)
            assert fs.asynchronous is True
            await self._fill_one(make_fs, root)
            content: bytes = await fs._cat_file(f"{root}/file")
            await self.close(fs)
            return content

        assert anyio.run(use) == b"content"

    def test_an_open_file_for_reading_can_be_pickled(self, make_fs: MakeFS, sync_fs: Any, root: str) -> None:
        self.need("sync_open", "pickle")
        import fsspec.core

        anyio.run(self._fill_one, make_fs, root)
        open_file = fsspec.core.OpenFile(sync_fs, f"{root}/file", "rb")
        with pickle.loads(pickle.dumps(open_file)) as file:
            assert file.read() == b"content"

    async def _fill_one(self, make_fs: MakeFS, root: str) -> None:
        fs = make_fs(asynchronous=True)
        await self.fill(fs, root, {"file": b"content"})
        await self.close(fs)


def in_fork(func: Any) -> int:
    """Run `func` in a forked child; 0 when it returned true. A child that hangs is ended."""
    with warnings.catch_warnings():
        # That this process has threads is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 3
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(40)
            code = 0 if func() else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
