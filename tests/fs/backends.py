"""fsspec file systems to drive in tests: each shows one habit of real backends."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK

__all__ = ["Objects", "OneThread"]


class Objects(AsyncFileSystem):
    """An object store that needs asyncio: a flat dictionary of names, directories are prefixes, listings are cached."""

    protocol = "objects"
    cachable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.objects: dict[str, bytes] = {}
        self.versions: dict[str, int] = {}
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.fail: Callable[[str, str], None] = lambda call, path: None

    async def _enter(self, call: str, path: str) -> str:
        await asyncio.sleep(0)
        asyncio.get_running_loop()  # dies on Trio
        self.calls.append(call)
        self.threads.add(threading.get_ident())
        path = self._strip_protocol(path)
        self.fail(call, path)
        return path

    def _put(self, path: str, content: bytes) -> None:  # type: ignore[override]
        self.objects[path] = content
        self.versions[path] = self.versions.get(path, 0) + 1

    def _facts(self, path: str) -> dict[str, Any]:
        content = self.objects[path]
        return {"name": path, "size": len(content), "type": "file", "ETag": f'"{self.versions[path]}"'}

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = await self._enter("info", path)
        for known in self._ls_from_cache(self._parent(path)) or ():
            if known["name"] == path:
                return dict(known)
        if path in self.objects:
            return self._facts(path)
        if any(name.startswith(path + "/") for name in self.objects):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    async def _ls(self, path: str, detail: bool = False, **kwargs: Any) -> list[Any]:
        path = await self._enter("ls", path)
        found = self._ls_from_cache(path)
        if found is None:
            below = [name for name in self.objects if name.startswith(path + "/")]
            found = [self._facts(name) for name in below if "/" not in name[len(path) + 1 :]]
            prefixes = {path + "/" + name[len(path) + 1 :].split("/")[0] for name in below} - set(below)
            found += [{"name": name, "size": 0, "type": "directory"} for name in prefixes]
            if not found and path in self.objects:
                found = [self._facts(path)]
            if not found:
                raise FileNotFoundError(path)
            self.dircache[path] = found
        return found if detail else [each["name"] for each in found]

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        path = await self._enter("cat_file", path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path][start:end]

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        self._put(await self._enter("pipe_file", path), bytes(value))

    async def _put_file(
        self, lpath: str, rpath: str, mode: str = "overwrite", callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> None:
        path = await self._enter("put_file", rpath)
        if mode == "create" and path in self.objects:
            raise FileExistsError(path)
        with open(lpath, "rb") as file:
            content = file.read()
        callback.set_size(len(content))
        self._put(path, content)
        callback.relative_update(len(content))

    async def _get_file(self, rpath: str, lpath: str, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        path = await self._enter("get_file", rpath)
        with open(lpath, "wb") as file:
            file.write(self.objects[path])

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        path = await self._enter("cp_file", path1)
        if path not in self.objects:
            raise FileNotFoundError(path)
        self._put(self._strip_protocol(path2), self.objects[path])

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        path = await self._enter("rm_file", path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        del self.objects[path]


class OneThread(AbstractFileSystem):
    """A synchronous file system that breaks when two threads are in it, and whose files share one position.

    Removing and moving are its own calls; it has no way to write but `open`.
    """

    protocol = "onethread"
    cachable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.files: dict[str, bytes] = {}
        self.directories: set[str] = {""}
        self.inside = 0
        self.opened = 0
        self.modes: dict[str, int] = {}
        self.fail: Callable[[str], None] = lambda call: None

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in ("ls", "info", "open", "mv", "mkdir", "rmdir", "rm_file", "chmod", "created", "touch"):
            return self._watched(name, value)
        return value

    def _watched(self, name: str, call: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            me = threading.get_ident()
            if self.inside not in (0, me):
                raise RuntimeError("two threads at once")
            outer, self.inside = self.inside, me
            try:
                self.fail(name)
                return call(*args, **kwargs)
            finally:
                self.inside = outer

        return run

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path in self.files:
            return {"name": path, "size": len(self.files[path]), "type": "file", "mtime": len(self.files[path])}
        if path in self.directories:
            return {"name": path, "size": None, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        found = [self.info(name) for name in (*self.files, *self.directories) if name and self._parent(name) == path]
        return found if detail else [each["name"] for each in found]

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        self.directories.add(self._strip_protocol(path))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Careless on purpose: whatever is inside stays behind, without a directory."""
        self.directories.remove(self._strip_protocol(path))

    def rm_file(self, path: str) -> None:
        del self.files[self._strip_protocol(path)]

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        self.files[self._strip_protocol(path2)] = self.files[self._strip_protocol(path1)]

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Refuses to replace, as SFTP servers do."""
        old, new = self._strip_protocol(path1), self._strip_protocol(path2)
        if new in self.files or new in self.directories:
            raise OSError("Failure")
        for names in (self.files, self.directories):
            for name in [name for name in names if name == old or name.startswith(old + "/")]:
                if isinstance(names, dict):
                    names[new + name[len(old) :]] = names.pop(name)
                else:
                    names.remove(name)
                    names.add(new + name[len(old) :])

    def chmod(self, path: str, mode: int) -> None:
        self.modes[self._strip_protocol(path)] = mode

    def created(self, path: str) -> str:
        return "long ago"

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        self.opened += 1
        if mode == "rb":
            if path not in self.files:
                raise FileNotFoundError(path)
            return io.BytesIO(self.files[path])
        return Written(self, path)


class Written(io.BytesIO):
    """Content that becomes a file's when it is closed."""

    def __init__(self, fs: OneThread, path: str) -> None:
        super().__init__()
        self._fs = fs
        self._path = path

    def close(self) -> None:
        if not self.closed:
            self._fs.files[self._path] = self.getvalue()
        super().close()
