"""A file system in memory (FUSE) that writes down what was changed and what was synced.

``recorded`` runs a program on it, in a process of its own, and returns its operations in order;
``tests.torture.power`` works out what a disk may hold after the power goes at any of them.
"""

from __future__ import annotations

import errno
import functools
import os
import pickle
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MOUNT_SECONDS_MAX: Final = 10.0
MARK: Final = ".mark"
"""A file whose content is a remark, on no disk."""
ROOT: Final = 1

Op = tuple[Any, ...]
"""``create``/``mkdir`` (folder, name, inode), ``write`` (inode, offset, data), ``truncate``
(inode, size), ``rename`` (folder, name, folder, name, inode), ``unlink`` (folder, name),
``sync`` (inode) of a file or a folder, ``mark`` (text)."""


@functools.cache
def unavailable() -> str:
    """Why nothing can be recorded here, empty when it can."""
    try:
        import mfusepy
    except ImportError:
        return "mfusepy is not installed"
    except OSError as error:
        return f"there is no libfuse: {error}"
    del mfusepy
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse may not be used"
    try:
        recorded(lambda _: None)
    except RuntimeError as error:
        return str(error)
    return ""


@dataclass(slots=True)
class Node:
    """A file (``data``) or a folder (``names``)."""

    number: int
    mode: int
    data: bytearray = field(default_factory=bytearray)
    names: dict[str, Node] = field(default_factory=dict)


def recorded(program: Callable[[Path], None]) -> list[Op]:
    """Operations of a program that works below the folder it is given.

    Raises:
        RuntimeError: no file system could be mounted.
    """
    with tempfile.TemporaryDirectory(prefix="iso-power-") as name:
        folder, found = Path(name) / "disk", Path(name) / "operations"
        folder.mkdir()
        server = os.fork()
        if server == 0:
            serve(folder, found)
        try:
            deadline = time.monotonic() + MOUNT_SECONDS_MAX
            while not os.path.ismount(folder):
                ended, _ = os.waitpid(server, os.WNOHANG)
                if ended or time.monotonic() > deadline:
                    server = 0 if ended else server
                    raise RuntimeError("no file system can be mounted here")
                time.sleep(0.005)
            program(folder)
        finally:
            unmount(folder)
            if server:
                end(server)
        operations: list[Op] = pickle.loads(found.read_bytes())  # noqa: S301 - our own process
    return operations


def mark(folder: Path, text: str) -> None:
    """Write a remark into the recording, in order with everything else."""
    (folder / MARK).write_bytes(text.encode())


def unmount(folder: Path) -> None:
    """Let the file system go."""
    if os.path.ismount(folder):
        command = ["umount"] if os.geteuid() == 0 else ["fusermount", "-u"]
        subprocess.run([*command, str(folder)], check=True, capture_output=True)


def end(server: int) -> None:
    """Wait until the operations are written."""
    deadline = time.monotonic() + MOUNT_SECONDS_MAX
    while not os.waitpid(server, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.kill(server, signal.SIGKILL)
        time.sleep(0.002)


def serve(folder: Path, found: Path) -> None:
    """Body of the process that is the file system; never returns."""
    from mfusepy import FUSE

    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)  # libfuse talks where it cannot mount
        recorder = Recorder()
        FUSE(recorder, str(folder), foreground=True, nothreads=True, default_permissions=False)
        found.write_bytes(pickle.dumps(recorder.operations))
        code = 0
    finally:
        os._exit(code)


class Recorder:
    """FUSE operations; the names and arguments are mfusepy's."""

    use_ns = True

    def __init__(self) -> None:
        """An empty disk."""
        self.operations: list[Op] = []
        self._root = Node(ROOT, stat.S_IFDIR | 0o755)
        self._next = ROOT
        self._open: dict[int, Node] = {}
        self._mark = Node(0, stat.S_IFREG | 0o600)

    def __call__(self, name: str, *arguments: Any) -> Any:
        """What libfuse calls."""
        method = getattr(self, name, None)
        if method is None:
            raise OSError(errno.ENOSYS, name)
        return method(*arguments)

    def _find(self, path: str) -> Node:
        node = self._root
        for part in path.split("/")[1:]:
            if part:
                if part not in node.names:
                    raise OSError(errno.ENOENT, path)
                node = node.names[part]
        return node

    def _place(self, path: str) -> tuple[Node, str]:
        folder, _, name = path.rpartition("/")
        return self._find(folder), name

    def _make(self, path: str, mode: int, what: str) -> Node:
        folder, name = self._place(path)
        if name in folder.names:
            raise OSError(errno.EEXIST, path)
        self._next += 1
        node = folder.names[name] = Node(self._next, mode)
        self.operations.append((what, folder.number, name, node.number))
        return node

    def _handle(self, node: Node) -> int:
        number = max(self._open, default=0) + 1
        self._open[number] = node
        return number

    def init(self, path: str) -> None:
        """Nothing to prepare."""

    def destroy(self, path: str) -> None:
        """Nothing to release."""

    def access(self, path: str, mode: int) -> int:
        """Everybody may do everything."""
        self._find(path)
        return 0

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Mode and size."""
        node = self._find(path)
        size = len(node.data)
        return {"st_mode": node.mode, "st_size": size, "st_nlink": 1, "st_ino": node.number}

    def statfs(self, path: str) -> dict[str, int]:
        """Room enough."""
        return {"f_bsize": 4096, "f_blocks": 1 << 20, "f_bavail": 1 << 20, "f_bfree": 1 << 20}

    def chmod(self, path: str, mode: int) -> int:
        """Modes are no content."""
        node = self._find(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """The same."""
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        """The same."""
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        """A folder."""
        self._make(path, stat.S_IFDIR | mode, "mkdir")
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        """An empty file, or a mark."""
        if path == f"/{MARK}":
            self._root.names[MARK] = self._mark
            return self._handle(self._mark)
        return self._handle(self._make(path, stat.S_IFREG | mode, "create"))

    def open(self, path: str, flags: int) -> int:
        """An existing file."""
        node = self._find(path)
        if flags & os.O_TRUNC:
            self.truncate(path, 0)
        return self._handle(node)

    def opendir(self, path: str) -> int:
        """A folder."""
        return self._handle(self._find(path))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Part of a file."""
        return bytes(self._open[fh].data[offset : offset + size])

    def readdir(self, path: str, fh: int) -> list[str]:
        """Names in a folder."""
        return [".", "..", *self._find(path).names]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Change a file."""
        node = self._open[fh]
        if node is self._mark:
            self.operations.append(("mark", data.decode()))
            return len(data)
        node.data[offset : offset + len(data)] = data
        self.operations.append(("write", node.number, offset, bytes(data)))
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Cut a file, or fill it with zeros."""
        node = self._find(path)
        if node is self._mark:
            return 0
        node.data[:] = bytes(node.data[:length]).ljust(length, b"\0")
        self.operations.append(("truncate", node.number, length))
        return 0

    def rename(self, old: str, new: str) -> int:
        """Replace what had the name."""
        (source, name), (target, new_name) = self._place(old), self._place(new)
        node = source.names.pop(name)
        target.names[new_name] = node
        places = (source.number, name, target.number, new_name)
        self.operations.append(("rename", *places, node.number))
        return 0

    def unlink(self, path: str) -> int:
        """Remove a name."""
        folder, name = self._place(path)
        del folder.names[name]
        self.operations.append(("unlink", folder.number, name))
        return 0

    rmdir = unlink

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Make the content of a file durable, not its name."""
        self.operations.append(("sync", self._open[fh].number))
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        """Make the names in a folder durable."""
        self.operations.append(("sync", self._find(path).number))
        return 0

    def flush(self, path: str, fh: int) -> int:
        """Closing makes nothing durable."""
        return 0

    def release(self, path: str, fh: int) -> int:
        """Closed."""
        del self._open[fh]
        return 0

    releasedir = release
