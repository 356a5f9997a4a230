"""Durable files: a reader sees the old content or the new one, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from iso_exchange.durable import make_directory, sync_directory


class TileConflictError(RuntimeError):
    """A published file already holds other bytes: the log would contradict itself."""


def write_once(path: Path, content: bytes) -> None:
    """Write an immutable file; repeating the same content is fine, other content is refused.

    Raises:
        TileConflictError: the file exists with other bytes.
        OSError: the file system failed; nothing half-written is visible.
    """
    try:
        present = path.read_bytes()
    except FileNotFoundError:
        replace(path, content)
        return
    if present != content:
        message = f"{path} holds other bytes than the log says"
        raise TileConflictError(message)


def replace(path: Path, content: bytes) -> None:
    """Write to a temporary file, sync it, rename it over ``path``, sync the directory."""
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)
