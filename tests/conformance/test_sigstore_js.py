"""npm's @sigstore/verify and @sigstore/core accept our inclusion proofs and envelopes.

``npm install --prefix tests/conformance/node`` installs them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from settlement.ledger import envelope, keys, merkle
from tests.conformance import random_trees, sample_log

FOLDER = Path(__file__).parent / "node"


def verdicts(items: list[dict[str, Any]]) -> list[str]:
    """What sigstore says to each; skips where it is not installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    packages = FOLDER / "node_modules"
    if not (packages / "@sigstore" / "verify").is_dir():
        pytest.skip("@sigstore/verify is missing: npm install --prefix tests/conformance/node")
    done = subprocess.run(
        [node, str(FOLDER / "verify.js"), str(packages)],
        input="".join(json.dumps(item) + "\n" for item in items),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def proofs() -> list[dict[str, Any]]:
    tree = random_trees.tree(max(random_trees.LARGE))
    return [
        {
            "leaf": random_trees.leaf(index).hex(),
            "index": index,
            "size": size,
            "root": tree.root(size).hex(),
            "proof": [
                hash_.hex() for hash_ in merkle.inclusion_proof(index, size, tree.subtree_hash)
            ],
        }
        for size, index, _ in random_trees.cases(seed=3)
    ]


def test_sigstore_accepts_our_proofs_and_no_others() -> None:
    items = proofs()
    assert verdicts(items) == ["ok"] * len(items)
    changed = [
        change
        for item in items[5:200]
        for change in (
            {**item, "leaf": "00"},
            {**item, "index": (item["index"] + 1) % item["size"]},
            {**item, "root": "00" * 32},
            {**item, "proof": [*item["proof"], "00" * 32]},
        )
        if change != item
    ]
    assert set(verdicts(changed)) == {"refused"}


def test_sigstore_verifies_an_envelope() -> None:
    opened = envelope.decode(envelope.sign("text/plain", b"hello", [sample_log.LOG_KEY]))
    item = {
        "type": opened.payload_type,
        "payload": opened.payload.hex(),
        "signature": opened.signatures[0].sig.hex(),
        "key": keys.public_to_pem(sample_log.LOG_KEY.public).decode(),
    }
    other = keys.public_to_pem(sample_log.WITNESS_KEY.public).decode()
    changed = [{**item, "type": "text/other"}, {**item, "payload": "00"}, {**item, "key": other}]
    assert verdicts([item, *changed]) == ["ok", "refused", "refused", "refused"]
