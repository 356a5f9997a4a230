"""The Merkle tree of RFC 6962: hashing, compact ranges, proofs and their verification.

A *full subtree* ``(level, index)`` covers the ``2**level`` leaves from
``index * 2**level``. Its hash never changes once all its leaves exist, so a log of any
size is described by the hashes of its full subtrees; everything here is computed from
those, and verification from nothing but the bytes of a proof.

Source: RFC 6962, section 2.1; the verification steps follow RFC 9162, section 2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from settlement.ledger.errors import LedgerErrorCode, MerkleError

HASH_BYTES: Final = 32
TREE_SIZE_MAX: Final = 2**63 - 1
LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

HashReader: TypeAlias = Callable[[int, int], bytes]
"""Hash of the full subtree (level, index); only asked for subtrees that are complete."""

_sha256 = hashlib.sha256


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return _sha256(LEAF_PREFIX + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return _sha256(NODE_PREFIX + left + right).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """All that a log must remember to grow: its full subtrees from left to right.

    A value: growing returns another one. Equal leaves give equal frontiers, however
    they were batched.

    Attributes:
        size: Number of leaves, 0 to 2**63 - 1.
        hashes: One 32-byte hash for each one-bit of ``size``, the largest subtree first.

    Raises:
        MerkleError: ``TREE_SIZE``, ``FRONTIER_SHAPE``, ``HASH_LENGTH``.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse hashes that cannot belong to the size."""
        _check_size(self.size)
        if len(self.hashes) != self.size.bit_count():
            raise MerkleError(
                LedgerErrorCode.FRONTIER_SHAPE,
                f"size {self.size} has {self.size.bit_count()} full subtrees, "
                f"got {len(self.hashes)} hashes",
            )
        _check_hashes(self.hashes, "frontier")

    def append(self, leaf: bytes) -> Frontier:
        """Frontier with one more leaf hash (not the leaf itself) on the right."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> Frontier:
        """Frontier with more leaf hashes on the right, about one node hash for each."""
        stack = list(self.hashes)
        size = self.size
        for hash_ in leaves:
            right = hash_
            carry = size
            while carry & 1:
                right = _sha256(NODE_PREFIX + stack.pop() + right).digest()
                carry >>= 1
            stack.append(right)
            size += 1
        return Frontier(size=size, hashes=tuple(stack))

    def root(self) -> bytes:
        """Merkle tree hash of all leaves; SHA-256 of nothing for the empty log."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT


@dataclass(slots=True, kw_only=True)
class HashTree:
    """All full-subtree hashes of a log in memory, 64 bytes a leaf; grows in place.

    Its :meth:`subtree_hash` is a :data:`HashReader` for proofs and tiles.
    """

    _levels: list[bytearray] = field(default_factory=lambda: [bytearray()])

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0]) // HASH_BYTES

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaf hashes and the hash of every subtree they complete.

        Raises:
            MerkleError: ``HASH_LENGTH``; nothing was appended then.
        """
        added = tuple(leaves)
        _check_hashes(added, "leaf hashes")
        self._levels[0] += b"".join(added)
        for level in range(64):
            below = self._levels[level]
            complete = len(below) // (2 * HASH_BYTES)
            if complete == 0:
                return
            if len(self._levels) == level + 1:
                self._levels.append(bytearray())
            present = len(self._levels[level + 1])
            pairs = bytes(below[2 * present : complete * 2 * HASH_BYTES])
            self._levels[level + 1] += parent_hashes(pairs)

    def subtree_hash(self, level: int, index: int) -> bytes:
        """Hash of a full subtree.

        Raises:
            MerkleError: ``LEAF_INDEX`` when the subtree is not complete.
        """
        start = index * HASH_BYTES
        row = self._levels[level] if 0 <= level < len(self._levels) else b""
        if not 0 <= start < len(row):
            raise MerkleError(
                LedgerErrorCode.LEAF_INDEX,
                f"subtree ({level}, {index}) is not complete at size {self.size}",
            )
        return bytes(row[start : start + HASH_BYTES])

    def root(self, size: int | None = None) -> bytes:
        """Root now, or as it was at an earlier size."""
        return root_at(self.size if size is None else size, self.subtree_hash)


def parent_hashes(pairs: bytes) -> bytes:
    """One node hash for each 64 bytes: the next level of a row of hashes."""
    return b"".join(
        [
            _sha256(NODE_PREFIX + pairs[start : start + 2 * HASH_BYTES]).digest()
            for start in range(0, len(pairs), 2 * HASH_BYTES)
        ]
    )


def full_subtrees(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The fewest full subtrees (level, index) that cover leaves ``[begin, end)``, in order."""
    while begin < end:
        level = (end - begin).bit_length() - 1
        if begin:
            level = min(level, (begin & -begin).bit_length() - 1)
        yield level, begin >> level
        begin += 1 << level


def root_at(size: int, read: HashReader) -> bytes:
    """Root of the first ``size`` leaves.

    Raises:
        MerkleError: ``TREE_SIZE``.
    """
    _check_size(size)
    return _range_hash(0, size, read) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: HashReader) -> tuple[bytes, ...]:
    """Audit path of one leaf, from its sibling up.

    Args:
        index: Of the leaf, 0 <= index < size.
        size: Number of leaves of the tree that the proof is for.
        read: Hashes of full subtrees of that tree.

    Raises:
        MerkleError: ``TREE_SIZE``, ``LEAF_INDEX``.

    Source: RFC 6962, section 2.1.1.
    """
    _check_size(size)
    _check_index(index, size)
    path = []
    begin, end = 0, size
    while end - begin > 1:
        split = begin + _largest_power_of_two_below(end - begin)
        if index < split:
            path.append(_range_hash(split, end, read))
            end = split
        else:
            path.append(_range_hash(begin, split, read))
            begin = split
    return tuple(reversed(path))


def consistency_proof(old_size: int, new_size: int, read: HashReader) -> tuple[bytes, ...]:
    """Proof that the first ``old_size`` leaves of the new tree are the old tree.

    Empty when the sizes are equal or the old tree is empty.

    Raises:
        MerkleError: ``TREE_SIZE``, also when the tree shrinks.

    Source: RFC 6962, section 2.1.2.
    """
    _check_growth(old_size, new_size)
    if old_size in (0, new_size):
        return ()
    path = []
    begin, end = 0, new_size
    # Whether the part walked into is the complete old tree, whose root the verifier has.
    known = True
    while old_size != end:
        split = begin + _largest_power_of_two_below(end - begin)
        if old_size <= split:
            path.append(_range_hash(split, end, read))
            end = split
        else:
            path.append(_range_hash(begin, split, read))
            begin = split
            known = False
    if not known:
        path.append(_range_hash(begin, end, read))
    return tuple(reversed(path))


def verify_inclusion(
    *, index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf hash is at this index of the tree with this root.

    Args:
        index: Zero-based.
        size: Of the tree, from its checkpoint.
        leaf: Leaf hash, see :func:`leaf_hash`.
        proof: Audit path, from the leaf's sibling up.
        root: From the checkpoint.

    Raises:
        MerkleError: ``TREE_SIZE``, ``LEAF_INDEX``, ``HASH_LENGTH``, ``PROOF_LENGTH``,
            ``PROOF_ROOT``.

    Source: RFC 9162, section 2.1.3.2.
    """
    _check_size(size)
    _check_index(index, size)
    _check_hashes((leaf, root), "leaf or root")
    _check_hashes(proof, "proof")
    position, last = index, size - 1
    computed = leaf
    for sibling in proof:
        if last == 0:
            raise MerkleError(LedgerErrorCode.PROOF_LENGTH, "the proof is too long")
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            # A node without a right sibling keeps its hash until it is a right child.
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise MerkleError(LedgerErrorCode.PROOF_LENGTH, "the proof is too short")
    if computed != root:
        raise MerkleError(LedgerErrorCode.PROOF_ROOT, "the proof leads to another root")


def verify_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree only grew between two checkpoints.

    Raises:
        MerkleError: ``TREE_SIZE`` also when it shrank, ``HASH_LENGTH``, ``PROOF_LENGTH``,
            ``PROOF_OLD_ROOT``, ``PROOF_NEW_ROOT``.

    Source: RFC 9162, section 2.1.4.2; the empty old tree, which the RFC leaves open, is
    consistent with every tree and needs an empty proof.
    """
    _check_growth(old_size, new_size)
    _check_hashes((old_root, new_root), "root")
    _check_hashes(proof, "proof")
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise MerkleError(LedgerErrorCode.PROOF_OLD_ROOT, "not the root of the empty tree")
    if old_size in (0, new_size):
        if proof:
            raise MerkleError(LedgerErrorCode.PROOF_LENGTH, "expected an empty proof")
        if old_size == new_size and old_root != new_root:
            raise MerkleError(LedgerErrorCode.PROOF_NEW_ROOT, "same size, different roots")
        return
    _verify_growth(old_size, old_root, new_size, new_root, proof)


def _verify_growth(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """RFC 9162, section 2.1.4.2, for 0 < old_size < new_size."""
    # A complete old tree is a node of the new one: its root is the proof's first hash.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not proof:
        raise MerkleError(LedgerErrorCode.PROOF_LENGTH, "the proof is too short")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_computed = new_computed = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise MerkleError(LedgerErrorCode.PROOF_LENGTH, "the proof is too long")
        if position & 1 or position == last:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            new_computed = node_hash(new_computed, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise MerkleError(LedgerErrorCode.PROOF_LENGTH, "the proof is too short")
    if old_computed != old_root:
        raise MerkleError(LedgerErrorCode.PROOF_OLD_ROOT, "the proof leads to another old root")
    if new_computed != new_root:
        raise MerkleError(LedgerErrorCode.PROOF_NEW_ROOT, "the proof leads to another new root")


def _range_hash(begin: int, end: int, read: HashReader) -> bytes:
    """Hash of leaves ``[begin, end)``, where the range is a node of some tree."""
    return _fold([read(level, index) for level, index in full_subtrees(begin, end)])


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Join subtrees of falling size, right to left."""
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def _largest_power_of_two_below(count: int) -> int:
    """The k of RFC 6962 with k < count <= 2k, for count > 1."""
    return 1 << ((count - 1).bit_length() - 1)


def _check_size(size: int) -> None:
    if not 0 <= size <= TREE_SIZE_MAX:
        raise MerkleError(LedgerErrorCode.TREE_SIZE, f"{size} is not between 0 and 2**63 - 1")


def _check_growth(old_size: int, new_size: int) -> None:
    _check_size(old_size)
    _check_size(new_size)
    if old_size > new_size:
        raise MerkleError(
            LedgerErrorCode.TREE_SIZE, f"the tree shrank from {old_size} to {new_size}"
        )


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise MerkleError(LedgerErrorCode.LEAF_INDEX, f"no leaf {index} in a tree of size {size}")


def _check_hashes(hashes: Sequence[bytes], place: str) -> None:
    if any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise MerkleError(
            LedgerErrorCode.HASH_LENGTH, f"a hash has {HASH_BYTES} bytes", place=place
        )
