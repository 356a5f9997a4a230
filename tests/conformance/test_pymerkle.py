"""PyPI's pymerkle computes the same roots and audit paths, and accepts our proofs.

Its consistency proofs have a form of their own; Go's tlog checks ours.
"""

from __future__ import annotations

from typing import Any

import pytest

from settlement.ledger import merkle
from tests.conformance import random_trees

pymerkle = pytest.importorskip("pymerkle", reason="pymerkle is not installed")


@pytest.fixture(scope="module")
def theirs() -> Any:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for index in range(random_trees.RANDOM_SIZE_MAX):
        tree.append_entry(random_trees.leaf(index))
    return tree


def test_roots_paths_and_proofs_agree(theirs: Any) -> None:
    ours = random_trees.tree(random_trees.RANDOM_SIZE_MAX)
    for size, index, _ in random_trees.cases(seed=4, largest=random_trees.RANDOM_SIZE_MAX):
        root = ours.root(size)
        assert theirs.get_root(size) == root
        path = merkle.inclusion_proof(index, size, ours.subtree_hash)
        proof = theirs.prove_inclusion(index + 1, size)
        leaf = merkle.leaf_hash(random_trees.leaf(index))
        assert tuple(proof.path) == (leaf, *path)
        proof.path = [leaf, *path]
        pymerkle.verify_inclusion(leaf, root, proof)
        proof.path = [leaf, *path[:-1], bytes(32)]
        if path:
            with pytest.raises(pymerkle.InvalidProof):
                pymerkle.verify_inclusion(leaf, root, proof)


def test_every_small_root_agrees(theirs: Any) -> None:
    ours = random_trees.tree(600)
    assert [theirs.get_root(size) for size in range(601)] == [ours.root(n) for n in range(601)]
