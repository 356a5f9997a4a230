"""Logs are JSON lines without the values of variables."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from iso_exchange.observability import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level, configuration = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers, root.level = before, level
    structlog.configure(**configuration)


def fail_with(seed: bytes) -> None:
    try:
        int("x")
    except ValueError:
        structlog.get_logger("test").exception("it broke", length=len(seed))


def test_a_traceback_names_places_and_shows_no_locals(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    fail_with(b"a secret seed")
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "it broke"
    (error,) = line["exception"]
    assert error["exc_type"] == "ValueError"
    assert [frame["name"] for frame in error["frames"]] == ["fail_with"]
    assert "locals" not in error["frames"][0]
    assert "secret" not in json.dumps(line)


def test_what_libraries_log_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logging.getLogger("library").warning("retrying", exc_info=OSError("nobody answers"))
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"]) == ("retrying", "warning")
    assert line["reason"] == "OSError: nobody answers"
    assert "exception" not in line
