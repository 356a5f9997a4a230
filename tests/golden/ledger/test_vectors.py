"""The log formats do not drift, and every named attack on them is refused with its code."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from tests.golden.ledger import vectors

FOLDER = Path(__file__).parent


@functools.cache
def built() -> dict[str, vectors.Vector]:
    return vectors.build()


def text_of(vector: vectors.Vector) -> str:
    return json.dumps(vector, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", sorted(built()))
def test_the_vector_is_unchanged_and_has_its_outcome(name: str, rewrite_golden: bool) -> None:
    path = FOLDER / f"{name}.json"
    expected = text_of(built()[name])
    if rewrite_golden:
        path.write_text(expected, encoding="utf-8")
    stored = path.read_text(encoding="utf-8")
    assert stored == expected
    vector = json.loads(stored)
    assert vectors.run(vector) == vector["expected"]


def test_no_vector_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(built())
