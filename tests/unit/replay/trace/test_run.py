from __future__ import annotations

from pathlib import Path

import pytest

from iso_exchange.replay.stage import StageError
from iso_exchange.replay.trace.run import _clear
from iso_exchange.server import CLOCK_FILE


def test_only_an_earlier_replay_is_taken_away(tmp_path: Path) -> None:
    kept = tmp_path / "thesis.txt"
    kept.write_text("years of work")
    with pytest.raises(StageError):
        _clear(tmp_path)
    assert kept.read_text() == "years of work"
    (tmp_path / CLOCK_FILE).write_text("0")
    _clear(tmp_path)
    assert not tmp_path.exists()
    _clear(tmp_path)
