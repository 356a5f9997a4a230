"""An npm and a PyPI implementation of RFC 6962 and 9162 trees agree with ours.

``@transmute/rfc9162`` is found through NODE_PATH (npm install --global, or any folder);
``pymerkle`` is imported. A test whose package is missing is skipped and says so.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest

from settlement.ledger import merkle

SCRIPT = Path(__file__).parent / "npm" / "verify.js"
SIZE = 300
SIZES = (1, 2, 3, 7, 8, 9, 127, 128, 129, 255, 256, 257, SIZE)


def entries() -> list[bytes]:
    chosen = random.Random(6962)
    return [chosen.randbytes(chosen.randrange(1, 60)) for _ in range(SIZE)]


def tree_of(leaves: list[bytes]) -> merkle.HashTree:
    tree = merkle.HashTree()
    tree.extend(merkle.leaf_hash(leaf) for leaf in leaves)
    return tree


def ask_node(document: dict[str, Any]) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    result = subprocess.run(
        [node, str(SCRIPT)],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    if "missing" in answer:
        pytest.skip(f"{answer['missing']}: npm install @transmute/rfc9162, and set NODE_PATH")
    return answer


def test_npm_accepts_our_roots_and_proofs_and_no_others() -> None:
    leaves = entries()
    tree = tree_of(leaves)
    chosen = random.Random(9162)
    inclusion, consistency = [], []
    for size in SIZES:
        for index in {0, size - 1, chosen.randrange(size)}:
            path = merkle.inclusion_proof(index, size, tree.subtree_hash)
            inclusion.append((index, size, tree.root(size), path))
        old = chosen.randrange(1, size + 1)
        if old < size:
            path = merkle.consistency_proof(old, size, tree.subtree_hash)
            consistency.append((old, size, tree.root(old), tree.root(size), path))
    right = ask_node(question(leaves, inclusion, consistency))
    assert right["roots"] == [tree.root(size).hex() for size in SIZES]
    assert right["inclusion"] == [True] * len(inclusion)
    assert right["consistency"] == [True] * len(consistency)
    # The same with one bit of each root changed.
    flip = bytes([1]) + bytes(31)
    wrong = ask_node(
        question(
            leaves,
            [(i, size, xor(root, flip), path) for i, size, root, path in inclusion],
            [(o, n, old, xor(new, flip), path) for o, n, old, new, path in consistency],
        )
    )
    assert wrong["inclusion"] == [False] * len(inclusion)
    assert wrong["consistency"] == [False] * len(consistency)


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def question(
    leaves: list[bytes],
    inclusion: list[tuple[int, int, bytes, tuple[bytes, ...]]],
    consistency: list[tuple[int, int, bytes, bytes, tuple[bytes, ...]]],
) -> dict[str, Any]:
    return {
        "entries": [leaf.hex() for leaf in leaves],
        "sizes": SIZES,
        "inclusion": [
            {"index": i, "size": size, "root": root.hex(), "path": [item.hex() for item in path]}
            for i, size, root, path in inclusion
        ],
        "consistency": [
            {
                "old_size": old_size,
                "size": size,
                "old_root": old.hex(),
                "root": new.hex(),
                "path": [item.hex() for item in path],
            }
            for old_size, size, old, new, path in consistency
        ],
    }


def test_pymerkle_has_the_same_roots_and_paths() -> None:
    pymerkle = pytest.importorskip("pymerkle")
    leaves = entries()
    tree = tree_of(leaves)
    other = pymerkle.InmemoryTree(algorithm="sha256")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for size, leaf in enumerate(leaves, start=1):
            other.append_entry(leaf)
            assert other.get_state(size) == tree.root(size)
        for size in SIZES:
            for index in {0, size // 2, size - 1}:
                path = other.prove_inclusion(index + 1, size).serialize()["path"]
                # Its path begins with the leaf itself.
                expected = merkle.inclusion_proof(index, size, tree.subtree_hash)
                assert path[1:] == [item.hex() for item in expected]
