"""Engine and verifier are two computations: neither may borrow from the other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import clearing

ROOT = Path(clearing.__file__).parent
DEFINITIONS = frozenset(
    {
        "clearing.book",
        "clearing.codec",
        "clearing.eligibility",
        "clearing.outcome",
        "clearing.types",
        "clearing.units",
    }
)
"""What both may read: the documents themselves, their canonical form, and exact arithmetic."""


def imported(path: Path) -> set[str]:
    """Modules of the core that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "clearing":
            found |= {f"clearing.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return {name for name in found if name.startswith("clearing.")}


def modules(*, verifier: bool) -> list[Path]:
    return [p for p in sorted(ROOT.rglob("*.py")) if p.stem.startswith("verify") is verifier]


@pytest.mark.parametrize("path", modules(verifier=False), ids=lambda p: p.stem)
def test_engine_borrows_nothing_from_the_verifier(path: Path) -> None:
    borrowed = {name for name in imported(path) if name.startswith("clearing.verify")}
    assert borrowed == ({"clearing.verify"} if path == ROOT / "auction.py" else set())


@pytest.mark.parametrize("path", modules(verifier=True), ids=lambda p: p.stem)
def test_verifier_borrows_nothing_from_the_engine(path: Path) -> None:
    own = {name for name in imported(path) if name.startswith("clearing.verify")}
    assert imported(path) - own <= DEFINITIONS
