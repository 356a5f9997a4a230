"""Typed refusals of the ledger formats, each with a stable code.

Every function that reads bytes from outside either returns a value or raises one of the
classes below. The class says which format was read, the code says what was wrong with
it, and the place says where (a path, an index, a field). Codes are part of the public
interface: they may be added, never renamed or given another meaning.
"""

from __future__ import annotations

import enum


class LedgerErrorCode(enum.StrEnum):
    """Why ledger bytes were refused. Within a format, in the order the checks are made."""

    # Envelope
    ENVELOPE_TOO_LARGE = "ENVELOPE_TOO_LARGE"
    ENVELOPE_NOT_JSON = "ENVELOPE_NOT_JSON"
    ENVELOPE_DUPLICATE_FIELD = "ENVELOPE_DUPLICATE_FIELD"
    ENVELOPE_UNKNOWN_FIELD = "ENVELOPE_UNKNOWN_FIELD"
    ENVELOPE_MISSING_FIELD = "ENVELOPE_MISSING_FIELD"
    ENVELOPE_FIELD_TYPE = "ENVELOPE_FIELD_TYPE"
    ENVELOPE_BASE64 = "ENVELOPE_BASE64"
    ENVELOPE_PAYLOAD_TYPE = "ENVELOPE_PAYLOAD_TYPE"
    ENVELOPE_UNSIGNED = "ENVELOPE_UNSIGNED"
    ENVELOPE_TOO_MANY_SIGNATURES = "ENVELOPE_TOO_MANY_SIGNATURES"
    ENVELOPE_KEY_ID = "ENVELOPE_KEY_ID"
    ENVELOPE_SIGNATURE_LENGTH = "ENVELOPE_SIGNATURE_LENGTH"
    ENVELOPE_DUPLICATE_SIGNATURE = "ENVELOPE_DUPLICATE_SIGNATURE"
    ENVELOPE_UNKNOWN_KEY = "ENVELOPE_UNKNOWN_KEY"
    ENVELOPE_BAD_SIGNATURE = "ENVELOPE_BAD_SIGNATURE"

    # Keys
    KEY_LENGTH = "KEY_LENGTH"
    KEY_NOT_CANONICAL = "KEY_NOT_CANONICAL"
    KEY_SMALL_ORDER = "KEY_SMALL_ORDER"
    KEY_PEM = "KEY_PEM"
    KEY_ALGORITHM = "KEY_ALGORITHM"
    KEY_NAME = "KEY_NAME"
    KEY_ID_MISMATCH = "KEY_ID_MISMATCH"
    VKEY_MALFORMED = "VKEY_MALFORMED"

    # Merkle tree
    TREE_SIZE = "TREE_SIZE"
    LEAF_INDEX = "LEAF_INDEX"
    HASH_LENGTH = "HASH_LENGTH"
    FRONTIER_SHAPE = "FRONTIER_SHAPE"
    PROOF_LENGTH = "PROOF_LENGTH"
    PROOF_ROOT = "PROOF_ROOT"
    PROOF_OLD_ROOT = "PROOF_OLD_ROOT"
    PROOF_NEW_ROOT = "PROOF_NEW_ROOT"

    # Signed note and checkpoint
    NOTE_TOO_LARGE = "NOTE_TOO_LARGE"
    NOTE_MALFORMED = "NOTE_MALFORMED"
    NOTE_BAD_SIGNATURE = "NOTE_BAD_SIGNATURE"
    NOTE_UNVERIFIED = "NOTE_UNVERIFIED"
    NOTE_TOO_FEW_WITNESSES = "NOTE_TOO_FEW_WITNESSES"
    CHECKPOINT_MALFORMED = "CHECKPOINT_MALFORMED"
    CHECKPOINT_ORIGIN = "CHECKPOINT_ORIGIN"
    COSIGNATURE_MALFORMED = "COSIGNATURE_MALFORMED"

    # Trust policy and witness request
    POLICY_TOO_LARGE = "POLICY_TOO_LARGE"
    POLICY_MALFORMED = "POLICY_MALFORMED"
    POLICY_KEY = "POLICY_KEY"
    POLICY_DUPLICATE_KEY = "POLICY_DUPLICATE_KEY"
    POLICY_NAME = "POLICY_NAME"
    POLICY_QUORUM = "POLICY_QUORUM"
    WITNESS_REQUEST = "WITNESS_REQUEST"

    # Tiles and entry bundles
    TILE_PATH = "TILE_PATH"
    TILE_MISSING = "TILE_MISSING"
    TILE_LENGTH = "TILE_LENGTH"
    TILE_HASH_MISMATCH = "TILE_HASH_MISMATCH"
    TILE_ROOT_MISMATCH = "TILE_ROOT_MISMATCH"
    BUNDLE_MISSING = "BUNDLE_MISSING"
    BUNDLE_MALFORMED = "BUNDLE_MALFORMED"
    BUNDLE_ENTRY_TOO_LARGE = "BUNDLE_ENTRY_TOO_LARGE"
    BUNDLE_ENTRY_MISMATCH = "BUNDLE_ENTRY_MISMATCH"

    # Proof file and commitment
    PROOF_FILE_TOO_LARGE = "PROOF_FILE_TOO_LARGE"
    PROOF_FILE_MALFORMED = "PROOF_FILE_MALFORMED"
    COMMITMENT_LENGTH = "COMMITMENT_LENGTH"
    COMMITMENT_SALT_LENGTH = "COMMITMENT_SALT_LENGTH"
    COMMITMENT_LEAF = "COMMITMENT_LEAF"
    COMMITMENT_MISMATCH = "COMMITMENT_MISMATCH"


class LedgerFormatError(ValueError):
    """Bytes or values that are not what the ledger format says.

    Attributes:
        code: Stable reason, see :class:`LedgerErrorCode`.
        place: Where: a field, a path, an index. Empty when the whole input is meant.
        detail: One sentence for a person. Not stable.
    """

    def __init__(self, code: LedgerErrorCode, detail: str, place: str = "") -> None:
        """Keep the parts, also as ``args``: errors travel between worker processes."""
        super().__init__(code, detail, place)
        self.code = code
        self.place = place
        self.detail = detail

    def __str__(self) -> str:
        """Code, place and sentence."""
        where = f" at {self.place}" if self.place else ""
        return f"{self.code.value}{where}: {self.detail}"


class EnvelopeError(LedgerFormatError):
    """A DSSE envelope was refused."""


class KeyFormatError(LedgerFormatError):
    """A key, key name or verifier key string was refused."""


class MerkleError(LedgerFormatError):
    """A tree shape or a Merkle proof was refused."""


class CheckpointError(LedgerFormatError):
    """A signed note, checkpoint or cosignature was refused."""


class PolicyError(LedgerFormatError):
    """A trust policy was refused; the place is its line."""


class WitnessRequestError(LedgerFormatError):
    """A request to a witness was refused."""


class TileError(LedgerFormatError):
    """A tile, an entry bundle or their path was refused; the place names it."""


class ProofError(LedgerFormatError):
    """A proof file, or the opening of a commitment, was refused."""
