"""Laws of the log: the fast tree is RFC 6962, and nothing verifies but what is true."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settlement.ledger import checkpoint, merkle, tiles
from settlement.ledger.errors import CheckpointError, LedgerErrorCode, MerkleError, TileError
from tests.conformance import sample_log
from tests.property import rfc6962_reference as rfc

SIZES = st.integers(min_value=0, max_value=300)
BOUNDARY_SIZES = (255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537)
BOUNDARY_INDICES = (0, 1, 127, 128, 254, 255, 256, 257, 510, 511, 512, 65_534, 65_535, 65_536)


def leaves_of(size: int, salt: bytes = b"") -> list[bytes]:
    """Distinct leaves, so that an entry has one place only."""
    return [salt + number.to_bytes(4, "big") for number in range(size)]


def tree_of(leaves: list[bytes]) -> merkle.HashTree:
    tree = merkle.HashTree()
    tree.extend(map(merkle.leaf_hash, leaves))
    return tree


@functools.cache
def large_leaves() -> list[bytes]:
    return leaves_of(BOUNDARY_SIZES[-1])


@functools.cache
def large_tree() -> merkle.HashTree:
    return tree_of(large_leaves())


@given(leaves=st.lists(st.binary(max_size=40), max_size=300), data=st.data())
def test_the_root_is_that_of_rfc_6962_however_leaves_are_batched(
    leaves: list[bytes], data: st.DataObject
) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    cut = data.draw(st.integers(min_value=0, max_value=len(leaves)))
    tree = merkle.HashTree()
    tree.extend(hashes[:cut])
    tree.extend(hashes[cut:])
    frontier = merkle.Frontier().extend(hashes[:cut]).extend(hashes[cut:])
    single = functools.reduce(merkle.Frontier.append, hashes, merkle.Frontier())
    expected = rfc.mth(leaves)
    assert frontier == single
    assert frontier.root() == expected
    assert tree.root() == expected
    assert tree.root(cut) == rfc.mth(leaves[:cut])
    # A frontier written down as a list of hashes is the same frontier.
    assert merkle.Frontier(size=len(leaves), hashes=frontier.hashes) == frontier


@given(size=SIZES.filter(bool), data=st.data())
def test_inclusion_proofs_are_those_of_rfc_6962_and_hold(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    tree = tree_of(leaves)
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    proof = merkle.inclusion_proof(index, size, tree.subtree_hash)
    assert list(proof) == rfc.path(index, leaves)
    merkle.verify_inclusion(
        index=index,
        size=size,
        leaf=merkle.leaf_hash(leaves[index]),
        proof=proof,
        root=rfc.mth(leaves),
    )


@given(sizes=st.tuples(SIZES, SIZES).map(sorted))
def test_consistency_proofs_are_those_of_rfc_6962_and_hold(sizes: list[int]) -> None:
    old_size, new_size = sizes
    leaves = leaves_of(new_size)
    tree = tree_of(leaves)
    proof = merkle.consistency_proof(old_size, new_size, tree.subtree_hash)
    assert list(proof) == (rfc.proof(old_size, leaves) if old_size else [])
    merkle.verify_consistency(
        old_size=old_size,
        old_root=rfc.mth(leaves[:old_size]),
        new_size=new_size,
        new_root=rfc.mth(leaves),
        proof=proof,
    )


@pytest.mark.parametrize("size", BOUNDARY_SIZES)
def test_the_tree_is_that_of_rfc_6962_around_tile_boundaries(size: int) -> None:
    leaves, tree = large_leaves()[:size], large_tree()
    expected = rfc.mth(leaves)
    assert tree.root(size) == expected
    assert merkle.Frontier().extend(map(merkle.leaf_hash, leaves)).root() == expected
    for index in {0, size // 2, size - 1}:
        path = merkle.inclusion_proof(index, size, tree.subtree_hash)
        assert list(path) == rfc.path(index, leaves)
    for old_size in {1, size // 2, size - 1}:
        proof = merkle.consistency_proof(old_size, size, tree.subtree_hash)
        assert list(proof) == rfc.proof(old_size, leaves)


@pytest.mark.parametrize("size", BOUNDARY_SIZES)
def test_proofs_hold_around_tile_boundaries(size: int) -> None:
    tree = large_tree()
    root = tree.root(size)
    checked = 0
    for index in (index for index in BOUNDARY_INDICES if index < size):
        merkle.verify_inclusion(
            index=index,
            size=size,
            leaf=tree.subtree_hash(0, index),
            proof=merkle.inclusion_proof(index, size, tree.subtree_hash),
            root=root,
        )
        merkle.verify_consistency(
            old_size=index + 1,
            old_root=tree.root(index + 1),
            new_size=size,
            new_root=root,
            proof=merkle.consistency_proof(index + 1, size, tree.subtree_hash),
        )
        checked += 1
    assert checked >= 5


def tampered_paths(proof: tuple[bytes, ...], data: st.DataObject) -> Iterator[tuple[bytes, ...]]:
    """The same path with a bit flipped, a hash too few, a hash too many, two exchanged."""
    if proof:
        at = data.draw(st.integers(min_value=0, max_value=len(proof) - 1))
        yield (*proof[:at], flip(proof[at], data), *proof[at + 1 :])
        yield proof[:-1]
        yield (*proof[:at], *proof[at + 1 :])
    yield (*proof, bytes(32))
    yield (bytes(32), *proof)
    if len(proof) > 1:
        yield (proof[1], proof[0], *proof[2:])


def flip(value: bytes, data: st.DataObject) -> bytes:
    bit = data.draw(st.integers(min_value=0, max_value=len(value) * 8 - 1))
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(size=st.integers(min_value=1, max_value=300), data=st.data())
def test_a_tampered_inclusion_proof_does_not_hold(size: int, data: st.DataObject) -> None:
    tree = tree_of(leaves_of(size))
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    leaf, root = tree.subtree_hash(0, index), tree.root()
    proof = merkle.inclusion_proof(index, size, tree.subtree_hash)

    def holds(*, index: int, leaf: bytes, proof: tuple[bytes, ...], root: bytes) -> bool:
        try:
            merkle.verify_inclusion(index=index, size=size, leaf=leaf, proof=proof, root=root)
        except MerkleError:
            return False
        return True

    assert holds(index=index, leaf=leaf, proof=proof, root=root)
    for path in tampered_paths(proof, data):
        assert not holds(index=index, leaf=leaf, proof=path, root=root)
    assert not holds(index=index, leaf=flip(leaf, data), proof=proof, root=root)
    assert not holds(index=index, leaf=leaf, proof=proof, root=flip(root, data))
    other = data.draw(st.integers(min_value=-1, max_value=size).filter(lambda it: it != index))
    assert not holds(index=other, leaf=leaf, proof=proof, root=root)


@given(
    sizes=st.lists(st.integers(min_value=1, max_value=300), min_size=2, max_size=2, unique=True),
    data=st.data(),
)
def test_a_tampered_consistency_proof_does_not_hold(sizes: list[int], data: st.DataObject) -> None:
    old_size, new_size = sorted(sizes)
    tree = tree_of(leaves_of(new_size))
    old_root, new_root = tree.root(old_size), tree.root()
    proof = merkle.consistency_proof(old_size, new_size, tree.subtree_hash)

    def holds(*, old_root: bytes, new_root: bytes, proof: tuple[bytes, ...]) -> bool:
        try:
            merkle.verify_consistency(
                old_size=old_size,
                old_root=old_root,
                new_size=new_size,
                new_root=new_root,
                proof=proof,
            )
        except MerkleError:
            return False
        return True

    assert holds(old_root=old_root, new_root=new_root, proof=proof)
    for path in tampered_paths(proof, data):
        assert not holds(old_root=old_root, new_root=new_root, proof=path)
    assert not holds(old_root=flip(old_root, data), new_root=new_root, proof=proof)
    assert not holds(old_root=old_root, new_root=flip(new_root, data), proof=proof)
    assert not holds(old_root=new_root, new_root=old_root, proof=proof)
    # A fork: another log with the same length does not extend the old one.
    fork = tree_of(leaves_of(new_size, salt=b"fork"))
    forked = merkle.consistency_proof(old_size, new_size, fork.subtree_hash)
    assert not holds(old_root=old_root, new_root=fork.root(), proof=forked)


@functools.cache
def sample(size: int) -> sample_log.SampleLog:
    return sample_log.build(sample_log.entries_of(size))


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 512, 700])
def test_a_log_replays_from_its_files(size: int) -> None:
    log = sample(size)
    replayed = list(tiles.replay(log.files.get, size=size, root=log.root))
    assert replayed == list(enumerate(log.entries))
    assert log.reader().frontier().root() == log.root


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(size=st.sampled_from([1, 2, 255, 256, 257, 300, 512, 700]), data=st.data())
def test_replay_finds_any_flipped_byte_and_names_the_file(size: int, data: st.DataObject) -> None:
    log = sample(size)
    path = data.draw(st.sampled_from(sorted(log.files)))
    content = log.files[path]
    position = data.draw(st.integers(min_value=0, max_value=len(content) - 1))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(min_value=1, max_value=255))
    files = {**log.files, path: bytes(changed)}
    if path == "checkpoint":
        with pytest.raises(CheckpointError):
            checkpoint.open_checkpoint(
                bytes(changed),
                sample_log.LOG_NOTE_KEY,
                witnesses=[sample_log.WITNESS_NOTE_KEY],
                witness_count_min=1,
            )
        return
    seen: list[tuple[int, bytes]] = []
    with pytest.raises(TileError) as refusal:
        seen.extend(tiles.replay(files.get, size=size, root=log.root))
    assert refusal.value.place.split(" ")[0] == path
    # What came out before the refusal is true.
    assert seen == list(enumerate(log.entries))[: len(seen)]


@given(size=st.sampled_from([1, 257, 700]), data=st.data())
def test_replay_names_a_missing_file(size: int, data: st.DataObject) -> None:
    log = sample(size)
    path = data.draw(st.sampled_from(sorted(set(log.files) - {"checkpoint"})))
    files = {name: content for name, content in log.files.items() if name != path}
    with pytest.raises(TileError) as refusal:
        list(tiles.replay(files.get, size=size, root=log.root))
    assert refusal.value.place == path
    assert refusal.value.code in (LedgerErrorCode.TILE_MISSING, LedgerErrorCode.BUNDLE_MISSING)


@settings(max_examples=20)
@given(size=st.sampled_from([1, 256, 300, 700]), data=st.data())
def test_proofs_from_tiles_are_those_from_the_tree(size: int, data: st.DataObject) -> None:
    log = sample(size)
    reader = log.reader()
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    read = log.tree.subtree_hash
    assert reader.inclusion_proof(index) == merkle.inclusion_proof(index, size, read)
    assert reader.consistency_proof(index) == merkle.consistency_proof(index, size, read)
    assert reader.leaf(index) == log.entries[index]


def test_a_log_with_three_tile_levels_replays() -> None:
    log = sample_log.build(sample_log.entries_of(65_537), steps=[255, 256, 40_000, 65_536])
    replayed = list(log.reader().replay(start=65_000))
    assert replayed == list(enumerate(log.entries))[65_000:]
    assert "tile/2/000.p/1" in log.files
    reader = log.reader()
    merkle.verify_inclusion(
        index=65_536,
        size=65_537,
        leaf=merkle.leaf_hash(log.entries[-1]),
        proof=reader.inclusion_proof(65_536),
        root=log.root,
    )
    changed = bytearray(log.files["tile/1/000"])
    changed[77 * 32] ^= 1
    files = {**log.files, "tile/1/000": bytes(changed)}
    with pytest.raises(TileError) as refusal:
        list(log.reader(files).replay())
    assert refusal.value.place == "tile/1/000"
