"""golang.org/x/mod/sumdb/tlog computes the same roots and proofs for trees of any size."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from settlement.ledger import merkle
from tests.conformance import go_program, random_trees

SOURCE = Path(__file__).parent / "go" / "trees" / "trees.go"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_program.build(SOURCE, tmp_path_factory.mktemp("go"))


def run(program: Path, lines: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program)],
        input="".join(line + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def lines_of(seed: int) -> list[str]:
    tree = random_trees.tree(max(random_trees.LARGE))
    read = tree.subtree_hash
    # Not of the empty tree: where RFC 6962 says SHA-256 of nothing, x/mod says zeros.
    lines = [f"root {size} {tree.root(size).hex()}" for size in random_trees.SIZES[1:]]
    for size, index, old in random_trees.cases(seed):
        inclusion = merkle.inclusion_proof(index, size, read)
        consistency = merkle.consistency_proof(old, size, read)
        lines.append(f"root {size} {tree.root(size).hex()}")
        lines.append(" ".join([f"record {size} {index}", *(hash_.hex() for hash_ in inclusion)]))
        lines.append(" ".join([f"tree {size} {old}", *(hash_.hex() for hash_ in consistency)]))
    return lines


def test_go_computes_our_roots_and_proofs(program: Path) -> None:
    lines = lines_of(seed=1)
    result = run(program, lines)
    assert result.stderr == ""
    assert result.stdout == f"{len(lines)}\n"
    assert len(lines) > 900


@pytest.mark.parametrize("kind", ["root", "record", "tree"])
def test_go_refuses_a_changed_hash(program: Path, kind: str) -> None:
    line = next(line for line in lines_of(seed=2)[-20:] if line.startswith(kind) and len(line) > 70)
    changed = line[:-1] + ("0" if line[-1] != "0" else "1")
    result = run(program, [line, changed])
    assert result.returncode == 1
    assert "REFUSED" in result.stderr
