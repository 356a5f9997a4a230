"""Builds the Go programs of this folder, or skips where Go or its packages are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Where Debian's -dev packages put Go sources.
GOPATHS = (os.environ.get("GOPATH", ""), "/usr/share/gocode")
PACKAGE = "src/golang.org/x/mod/sumdb/tlog"
BUILD_SECONDS_MAX = 150


def build(source: Path, folder: Path) -> Path:
    """The compiled program; skips where Go or the package is missing."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    gopath = next((path for path in GOPATHS if path and (Path(path) / PACKAGE).is_dir()), None)
    if gopath is None:
        pytest.skip("the Go sources of golang.org/x/mod are not installed")
    binary = folder / "program"
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPATH": gopath,
        "GOCACHE": str(folder / "cache"),
        "CGO_ENABLED": "0",
    }
    built = subprocess.run(
        [go, "build", "-o", str(binary), str(source)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return binary
