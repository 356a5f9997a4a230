"""Compiled loops: Python calls none without a wrapper, which would end the process."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Final

import clearing
from clearing.search.coordinate import compiled
from clearing.search.coordinate.warming import warm

PACKAGE: Final = Path(compiled.__file__).parent
CORE: Final = Path(clearing.__file__).parent
DECORATORS: Final = {"compiled", "inner", "allocating"}


def decorator(function: ast.FunctionDef) -> str:
    names = {name.id for name in function.decorator_list if isinstance(name, ast.Name)}
    return next(iter(names & DECORATORS), "")


def named(node: ast.AST) -> set[str]:
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def loops() -> dict[tuple[str, str], tuple[str, bool]]:
    """By module and name: decorator, and whether Python calls it."""
    kinds: dict[tuple[str, str], str] = {}
    from_python: set[tuple[str, str]] = set()
    for source in sorted(CORE.rglob("*.py")):
        module = ".".join(source.relative_to(CORE.parent).with_suffix("").parts)
        home: dict[str, str] = {}
        names: set[str] = set()
        for part in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(part, ast.ImportFrom):
                home |= {alias.name: part.module or "" for alias in part.names}
            elif isinstance(part, ast.FunctionDef) and decorator(part):
                kinds[module, part.name] = decorator(part)
            else:
                names |= named(part)
                inside = [one for one in ast.walk(part) if isinstance(one, ast.ImportFrom)]
                home |= {alias.name: one.module or "" for one in inside for alias in one.names}
        from_python |= {(home.get(name, module), name) for name in names}
    return {loop: (kind, loop in from_python) for loop, kind in kinds.items()}


def test_python_calls_no_inner_loop() -> None:
    inner = {loop: called for loop, (kind, called) in loops().items() if kind == "inner"}
    assert len(inner) > 50
    assert not any(inner.values()), [loop for loop, called in inner.items() if called]


def test_warming_reaches_every_loop_that_python_calls() -> None:
    """No auction waits for a compiler."""
    found = [loop for loop, (_, called) in loops().items() if called]
    assert {"unite", "_tighten", "minimise"} <= {name for _, name in found}
    warm()
    for module, name in found:
        assert getattr(importlib.import_module(module), name).signatures, name


def test_cached_code_of_other_sources_is_not_used() -> None:
    stamp = compiled.copy_into._cache._cache_file._source_stamp  # type: ignore[attr-defined]
    assert stamp[-1] == compiled.SOURCES == compiled._sources()
