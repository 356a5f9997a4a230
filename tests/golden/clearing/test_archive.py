"""What earlier engines published for the worked examples: a new engine pays everybody the same.

``make golden`` rewrites the files. Certificates are left out: a better bound is no other result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clearing import codec
from clearing.types import Book
from tests.golden.clearing.examples import OBJECTIVES
from tests.golden.clearing.results import cleared

FOLDER = Path(__file__).parent / "outcomes"


@pytest.mark.parametrize("example", OBJECTIVES, ids=lambda e: e.__name__)
def test_published_result_is_the_archived_one(
    example: Callable[[], Book], *, rewrite_golden: bool
) -> None:
    outcome = cleared(example()).outcome
    published = {
        "awards": outcome.awards,
        "backup_prices": outcome.backup_prices,
        "cash": outcome.cash,
        "flows": outcome.flows,
        "make_whole": outcome.make_whole,
        "prices": outcome.prices,
        "runs": outcome.runs,
    }
    lines = [f"{name}\n{codec.encode(value).decode()}\n" for name, value in published.items()]
    path = FOLDER / f"{example.__name__}.txt"
    if rewrite_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "".join(lines)
