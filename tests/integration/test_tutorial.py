"""The tutorial says what happens: its commands are run in order on a fresh server.

A fence ``sh`` must succeed, ``sh exit-N`` must end with N, ``sh server`` runs beside the others on
free ports. Every line of the ``text`` fence behind one must be in its output, white space aside.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "first-day.md"
FENCE = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
START_SECONDS_MAX = 60.0
BLOCK_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0


@dataclass(frozen=True, kw_only=True)
class Block:
    """Commands of the page with the exit code and the lines it promises."""

    line: int
    script: str
    exit_code: int
    expected: tuple[str, ...]


def read_page(text: str) -> tuple[str, tuple[Block, ...]]:
    """The server's command and the blocks, in order."""
    server = ""
    blocks: list[Block] = []
    for match in FENCE.finditer(text):
        kind, _, flag = match["info"].strip().partition(" ")
        if kind == "text":
            last = blocks.pop()
            lines = tuple(line for line in match["body"].splitlines() if line.strip())
            blocks.append(
                Block(
                    line=last.line,
                    script=last.script,
                    exit_code=last.exit_code,
                    expected=last.expected + lines,
                )
            )
        elif flag == "server":
            server = match["body"].strip()
        else:
            assert kind == "sh", match["info"]
            code = re.fullmatch(r"exit-(\d+)", flag) if flag else None
            assert code is not None or not flag, match["info"]
            blocks.append(
                Block(
                    line=text.count("\n", 0, match.start()) + 1,
                    script=match["body"],
                    exit_code=int(code[1]) if code else 0,
                    expected=(),
                )
            )
    return server, tuple(blocks)


def squeezed(line: str) -> str:
    return " ".join(line.split())


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder that an unprivileged account may pass, in memory where there is room."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK)
    place = memory if roomy and shutil.disk_usage(memory).free > 2**31 else None
    with tempfile.TemporaryDirectory(prefix="iso-tutorial-", dir=place) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ISO_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}


@pytest.fixture
def exchange(directory: Path) -> Iterator[Path]:
    """The server of the page, running below ``directory``."""
    command, _ = read_page(PAGE.read_text())
    ports = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
    log = directory / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*shlex.split(command), *ports],
            cwd=directory,
            env=environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while "exchange started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield directory
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS_MAX) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(STOP_SECONDS_MAX)


@pytest.mark.timeout(420)  # some sixty starts of the command line on shared cores
def test_tutorial_does_what_it_says(exchange: Path) -> None:
    _, blocks = read_page(PAGE.read_text())
    assert len(blocks) > 20
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.script],
            cwd=exchange,
            env=environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS_MAX,
        )
        said = done.stdout + done.stderr
        where = f"{PAGE.name}:{block.line}\n{block.script}\n{said}"
        assert done.returncode == block.exit_code, where
        lines = [squeezed(line) for line in said.splitlines()]
        missing = [
            line for line in block.expected if not any(squeezed(line) in found for found in lines)
        ]
        assert not missing, f"{missing} not said by {where}"


def test_page_is_read_as_written() -> None:
    server, blocks = read_page(
        "a\n```sh server\niso serve\n```\n```sh exit-3\nx\n```\n```text\ny\n```\n"
    )
    assert server == "iso serve"
    assert blocks == (Block(line=5, script="x\n", exit_code=3, expected=("y",)),)
