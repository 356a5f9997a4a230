from __future__ import annotations

import hashlib

from clearing import ties
from clearing.units import MicroUsdPerChipHour

CREDIT = MicroUsdPerChipHour(100)


def test_commitment_is_the_hash_of_the_seed() -> None:
    assert ties.seed_commitment(b"seed") == hashlib.sha256(b"seed").hexdigest()


def test_credits_stay_in_range_and_depend_on_every_part() -> None:
    found = {
        ties.alternative_credit(seed, order, pool, start, CREDIT)
        for seed in (b"1", b"2")
        for order in ("a", "b", "c")
        for pool in ("p", "q")
        for start in range(5)
    }
    assert min(found) >= 0
    assert max(found) <= 100
    assert len(found) > 20


def test_credits_of_many_are_those_of_each() -> None:
    placements = [(f"órder {i}", f"pool {i % 3}", i) for i in range(200)]
    for credit in (MicroUsdPerChipHour(0), CREDIT):
        found = ties.alternative_credits(b"seed", placements, credit)
        assert found.tolist() == [
            ties.alternative_credit(b"seed", *placement, credit) for placement in placements
        ]
    assert ties.alternative_credits(b"seed", (), CREDIT).tolist() == []


def test_no_credit_is_allowed() -> None:
    assert ties.pool_credit(b"seed", "p", MicroUsdPerChipHour(0)) == 0


def test_parts_do_not_run_into_each_other() -> None:
    assert ties.sharing_key(b"", "ab", "c", 1)[:32] != ties.sharing_key(b"", "a", "bc", 1)[:32]


def test_sharing_key_is_the_published_hash() -> None:
    digest = hashlib.sha256(b"seed" + b"order\0pool\x003").digest()
    assert ties.sharing_key(b"seed", "order", "pool", 3) == digest + b"order"


def test_price_weights_are_near_each_other() -> None:
    weights = {ties.price_weight(b"seed", "energy", "p", t) for t in range(50)}
    assert all(1_000 <= weight < 2_000 for weight in weights)
    assert len(weights) > 40
