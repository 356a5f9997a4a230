"""Folders that outlive the power: a name is durable only once its folder is synced."""

from __future__ import annotations

import os
from pathlib import Path

# Folders whose names, up to the mount point, were synced by this process.
_durable: set[Path] = set()


def make_directory(directory: Path, mode: int = 0o777) -> None:
    """Make a folder and its parents, and sync the folders that hold their names.

    What stands already is synced once too: who made it may have been killed before it could.

    Raises:
        OSError: the file system failed.
    """
    path = directory.absolute()
    if path in _durable and path.is_dir():
        return
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for place in (path, *path.parents):
        # Beyond a mount point, or where we may not look, somebody else makes the folders.
        is_top = place.parent == place or place.stat().st_dev != place.parent.stat().st_dev
        if place in _durable or is_top or not os.access(place.parent, os.R_OK):
            break
        sync_directory(place.parent)
    _durable.update((path, *path.parents))


def sync_directory(directory: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: the file system failed.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
