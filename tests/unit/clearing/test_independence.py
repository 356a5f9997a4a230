"""Engine and verifier are two computations: neither may borrow from the other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import clearing

ROOT = Path(clearing.__file__).parent
CALLERS = (ROOT / "auction.py", ROOT / "__init__.py")
"""Who may call the verifier: the auction on its own result, and the package that offers both."""

DEFINITIONS = frozenset(
    {
        "clearing.book",
        "clearing.codec",
        "clearing.eligibility",
        "clearing.errors",
        "clearing.outcome",
        "clearing.ties",
        "clearing.types",
        "clearing.units",
    }
)
"""What both may read: the documents themselves, their canonical form, exact arithmetic, and the
hash that decides ties."""

STANDARD = frozenset(
    {
        "__future__",
        "collections",
        "dataclasses",
        "enum",
        "hashlib",
        "itertools",
        "math",
        "operator",
        "typing",
    }
)
"""What else the verifier may use, with NumPy's integers."""


def imported(path: Path) -> set[str]:
    """Modules that a module imports, wherever in it; those of the core by their full name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "clearing":
            found |= {f"clearing.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return found


def is_verifier(name: str) -> bool:
    return name == "clearing.verify" or name.split(".")[:2] == ["clearing", "checks"]


def modules(*, verifier: bool) -> list[Path]:
    return [
        path
        for path in sorted(ROOT.rglob("*.py"))
        if (path == ROOT / "verify.py" or path.parent == ROOT / "checks") is verifier
    ]


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", modules(verifier=False), ids=label)
def test_engine_borrows_nothing_from_the_verifier(path: Path) -> None:
    borrowed = {name for name in imported(path) if is_verifier(name)}
    assert borrowed == ({"clearing.verify"} if path in CALLERS else set())


@pytest.mark.parametrize("path", modules(verifier=True), ids=label)
def test_verifier_borrows_nothing_from_the_engine(path: Path) -> None:
    foreign = {name for name in imported(path) if not is_verifier(name)} - DEFINITIONS
    assert {name.split(".")[0] for name in foreign} <= STANDARD | {"numpy"}


@pytest.mark.parametrize("path", modules(verifier=True), ids=label)
def test_verifier_computes_in_integers(path: Path) -> None:
    """No float, no true division, nothing of NumPy that makes one."""
    floating = {"float16", "float32", "float64", "double", "longdouble", "true_divide", "divide"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), ast.unparse(
            node
        )
        assert not (isinstance(node, ast.Name) and node.id == "float"), ast.unparse(node)
        assert not (isinstance(node, ast.Attribute) and node.attr in floating), ast.unparse(node)
        assert not isinstance(getattr(node, "op", None), ast.Div), ast.unparse(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"np.zeros", "np.ones"}:
            assert any(keyword.arg == "dtype" for keyword in node.keywords), ast.unparse(node)


def test_the_verifier_is_all_there() -> None:
    assert len(modules(verifier=True)) > 20
