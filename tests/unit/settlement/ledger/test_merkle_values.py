from __future__ import annotations

from collections.abc import Callable

import pytest

from settlement.ledger import merkle
from settlement.ledger.errors import LedgerErrorCode, MerkleError
from settlement.ledger.merkle import EMPTY_ROOT, Frontier, HashTree

# The leaves and roots that the Certificate Transparency implementations test with.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES[:size]]
    tree = HashTree()
    tree.extend(hashes)
    assert Frontier().extend(hashes).root().hex() == ROOTS[size]
    assert tree.root().hex() == ROOTS[size]
    assert tree.size == size


def test_a_leaf_is_never_mistaken_for_a_node() -> None:
    left, right = merkle.leaf_hash(b"l"), merkle.leaf_hash(b"r")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


@pytest.mark.parametrize(
    ("size", "hashes", "code"),
    [
        (-1, 0, "TREE_SIZE"),
        (2**63, 1, "TREE_SIZE"),
        (1, 0, "FRONTIER_SHAPE"),
        (2, 2, "FRONTIER_SHAPE"),
        (0, 1, "FRONTIER_SHAPE"),
    ],
)
def test_a_frontier_with_the_wrong_number_of_hashes_is_refused(
    size: int, hashes: int, code: str
) -> None:
    with pytest.raises(MerkleError) as caught:
        Frontier(size=size, hashes=(bytes(32),) * hashes)
    assert caught.value.code == code


def test_hashes_of_another_length_are_refused() -> None:
    for attempt in (
        lambda: Frontier(size=1, hashes=(b"short",)),
        lambda: HashTree().extend([bytes(32), bytes(31)]),
        lambda: merkle.verify_inclusion(index=0, size=1, leaf=b"", proof=(), root=bytes(32)),
        lambda: merkle.verify_inclusion(
            index=0, size=2, leaf=bytes(32), proof=(bytes(33),), root=bytes(32)
        ),
    ):
        with pytest.raises(MerkleError) as caught:
            attempt()
        assert caught.value.code is LedgerErrorCode.HASH_LENGTH


def test_a_refused_extension_leaves_the_tree_as_it_was() -> None:
    tree = HashTree()
    tree.extend([bytes(32)])
    before = tree.root()
    with pytest.raises(MerkleError):
        tree.extend([bytes(32), bytes(31)])
    assert (tree.size, tree.root()) == (1, before)


def read_nothing(level: int, index: int) -> bytes:
    return bytes(32)


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (lambda: HashTree().subtree_hash(0, 0), "LEAF_INDEX"),
        (lambda: HashTree().subtree_hash(-1, 0), "LEAF_INDEX"),
        (lambda: HashTree().root(1), "LEAF_INDEX"),
        (lambda: merkle.root_at(-1, read_nothing), "TREE_SIZE"),
        (lambda: merkle.inclusion_proof(3, 3, read_nothing), "LEAF_INDEX"),
        (lambda: merkle.inclusion_proof(-1, 3, read_nothing), "LEAF_INDEX"),
        (lambda: merkle.consistency_proof(4, 3, read_nothing), "TREE_SIZE"),
    ],
)
def test_questions_about_leaves_that_do_not_exist_are_refused(
    attempt: Callable[[], object], code: str
) -> None:
    with pytest.raises(MerkleError) as caught:
        attempt()
    assert caught.value.code == code


def test_the_empty_tree_is_consistent_with_every_tree_and_with_an_empty_proof_only() -> None:
    def verify(old_root: bytes, proof: tuple[bytes, ...], new_size: int = 5) -> None:
        merkle.verify_consistency(
            old_size=0,
            old_root=old_root,
            new_size=new_size,
            new_root=EMPTY_ROOT if new_size == 0 else bytes(32),
            proof=proof,
        )

    verify(EMPTY_ROOT, ())
    verify(EMPTY_ROOT, (), new_size=0)
    for old_root, proof, code in (
        (bytes(32), (), LedgerErrorCode.PROOF_OLD_ROOT),
        (EMPTY_ROOT, (bytes(32),), LedgerErrorCode.PROOF_LENGTH),
    ):
        with pytest.raises(MerkleError) as caught:
            verify(old_root, proof)
        assert caught.value.code is code


def test_two_roots_for_one_size_are_a_fork() -> None:
    with pytest.raises(MerkleError) as caught:
        merkle.verify_consistency(
            old_size=7, old_root=bytes(32), new_size=7, new_root=bytes([1]) * 32, proof=()
        )
    assert caught.value.code is LedgerErrorCode.PROOF_NEW_ROOT


def test_full_subtrees_cover_a_range_from_left_to_right() -> None:
    assert list(merkle.full_subtrees(0, 7)) == [(2, 0), (1, 2), (0, 6)]
    assert list(merkle.full_subtrees(4, 8)) == [(2, 1)]
    assert list(merkle.full_subtrees(3, 3)) == []
