"""Compiled loops: Python calls none without a wrapper, which would end the process."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from clearing.search.coordinate import compiled

PACKAGE: Final = Path(compiled.__file__).parent
DECORATORS: Final = {"compiled", "inner", "allocating"}


def decorator(function: ast.FunctionDef) -> str:
    names = {name.id for name in function.decorator_list if isinstance(name, ast.Name)}
    return next(iter(names & DECORATORS), "")


def named(node: ast.AST) -> set[str]:
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def test_python_calls_no_inner_loop() -> None:
    inner: set[str] = set()
    from_python: set[str] = set()
    for source in sorted(PACKAGE.glob("*.py")):
        for part in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(part, ast.FunctionDef) and decorator(part):
                if decorator(part) == "inner":
                    inner.add(part.name)
            elif not isinstance(part, ast.Import | ast.ImportFrom):
                from_python |= named(part)
    assert len(inner) > 50
    assert not inner & from_python


def test_cached_code_of_other_sources_is_not_used() -> None:
    stamp = compiled.copy_into._cache._cache_file._source_stamp  # type: ignore[attr-defined]
    assert stamp[-1] == compiled.SOURCES == compiled._sources()
