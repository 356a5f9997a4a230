"""Named SQL of the PostgreSQL adapter; ``test_query_plans.py`` explains the hot ones."""

from __future__ import annotations

TAKE_OVER = """
UPDATE tree_state SET epoch = epoch + 1 RETURNING epoch, size, root
"""

TREE_STATE = """
SELECT epoch, size, root FROM tree_state
"""

# The row lock makes the second of two committers wait; then it finds another state.
SWAP_TREE_STATE = """
UPDATE tree_state SET epoch = $4, size = $5, root = $6
WHERE epoch = $1 AND size = $2 AND root = $3
"""

ENTRY_COLUMNS = (
    "index",
    "kind",
    "time_us",
    "leaf",
    "leaf_hash",
    "envelope",
    "salt",
    "owners",
    "principal",
    "request_id",
    "body_sha256",
    "reply",
    "documents",
)

_ENTRY = ", ".join(ENTRY_COLUMNS)

ENTRIES = f"""
SELECT {_ENTRY} FROM entries WHERE index >= $1 AND index < $2 ORDER BY index
"""  # noqa: S608 - constants of this module

LEAVES = """
SELECT leaf FROM entries WHERE index >= $1 AND index < $2 ORDER BY index
"""

LEAF_HASHES = """
SELECT leaf_hash FROM entries WHERE index >= $1 AND index < $2 ORDER BY index
"""

FIND_REQUEST = f"""
SELECT {_ENTRY} FROM entries WHERE principal = $1 AND request_id = $2
"""  # noqa: S608 - constants of this module

# The digest was checked against the body, so a row with this digest has this body.
INSERT_DOCUMENT = """
INSERT INTO documents (sha256, kind, public, owners, body) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (sha256) DO NOTHING
"""

DOCUMENT = """
SELECT sha256, kind, public, owners, body FROM documents WHERE sha256 = $1
"""

DOCUMENTS = """
SELECT sha256, kind, public, owners, body FROM documents
WHERE sha256 > $1 ORDER BY sha256 LIMIT $2
"""

DOCUMENTS_OF_KIND = """
SELECT sha256, kind, public, owners, body FROM documents
WHERE kind = $3 AND sha256 > $1 ORDER BY sha256 LIMIT $2
"""

TRANSFER_COLUMNS = (
    "entry_index",
    "position",
    "transfer_id",
    "asset",
    "debit",
    "credit",
    "amount",
    "applied",
    "phase",
    "code",
    "pending_id",
    "reason",
    "contract_id",
    "interval_start",
    "quantity",
    "price",
    "corrects",
)

_TRANSFER = ", ".join(TRANSFER_COLUMNS)

TRANSFERS = f"""
SELECT {_TRANSFER} FROM transfers
WHERE (entry_index, position) >= ($1, $2) ORDER BY entry_index, position LIMIT $3
"""  # noqa: S608 - constants of this module

# Two ordered index scans that stop at the limit; one OR would read the account's whole history.
TRANSFERS_OF_ACCOUNT = f"""
SELECT * FROM (
    (SELECT {_TRANSFER} FROM transfers
     WHERE debit = $4 AND (entry_index, position) >= ($1, $2)
     ORDER BY entry_index, position LIMIT $3)
    UNION ALL
    (SELECT {_TRANSFER} FROM transfers
     WHERE credit = $4 AND debit <> $4 AND (entry_index, position) >= ($1, $2)
     ORDER BY entry_index, position LIMIT $3)
) AS touched ORDER BY entry_index, position LIMIT $3
"""  # noqa: S608 - constants of this module

UPSERT_BALANCES = """
INSERT INTO balances (asset, account, posted, pending_debit, pending_credit)
SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::numeric[])
ON CONFLICT (asset, account) DO UPDATE SET
    posted = excluded.posted,
    pending_debit = excluded.pending_debit,
    pending_credit = excluded.pending_credit
"""

BALANCES = """
SELECT asset, account, posted, pending_debit, pending_credit FROM balances
ORDER BY asset, account
"""

# A prefix is a range; starts_with($1) would use no index in a generic plan.
BALANCES_IN_RANGE = """
SELECT asset, account, posted, pending_debit, pending_credit FROM balances
WHERE account >= $1 AND account < $2 ORDER BY asset, account
"""

PUBLISHED = """
SELECT size, checkpoint FROM published
"""

INSERT_PUBLISHED = """
INSERT INTO published (size, checkpoint) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""

SWAP_PUBLISHED = """
UPDATE published SET size = $2, checkpoint = $3 WHERE size = $1
"""

INSERT_META = """
INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""

META = """
SELECT key, value FROM meta ORDER BY key
"""
