"""Requirements resolve to pools; every other pool has its first reason why not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing.eligibility import Ineligible, PoolIndex, first_mismatch, resolve
from clearing.types import Eligibility, Pool, Site
from clearing.units import Chips, MicroUsdPerChipHour

SITE = Site(
    site_id="oslo",
    surcharge=MicroUsdPerChipHour(0),
    region="eu-north",
    country="NO",
    data_residency=("EU", "NO"),
    legal_controls=("NO_LAW",),
    certifications=("ISO27001", "SOC2_TYPE2"),
)
POOL = Pool(
    pool_id="oslo-h100",
    site_id="oslo",
    chip_class="nvidia.h100-sxm5-80gb",
    chips_per_node=Chips(8),
    capacity=Chips(512),
    fabric="INFINIBAND_NDR",
)


def test_no_condition_is_met_by_every_pool() -> None:
    assert first_mismatch(Eligibility(), SITE, POOL) is None


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (Eligibility(pool_ids=("other",)), Ineligible.NOT_NAMED),
        (Eligibility(chip_classes=("amd.mi300x-oam-192gb",)), Ineligible.CHIP_CLASS),
        (Eligibility(regions=("us-south",)), Ineligible.REGION),
        (Eligibility(countries=("US",)), Ineligible.COUNTRY),
        (Eligibility(data_residency=("NO", "US")), Ineligible.DATA_RESIDENCY),
        (Eligibility(excluded_legal_controls=("NO_LAW",)), Ineligible.LEGAL_CONTROL),
        (Eligibility(certifications=("HIPAA",)), Ineligible.CERTIFICATION),
        (Eligibility(fabrics=("ROCE",)), Ineligible.FABRIC),
    ],
)
def test_each_condition_has_its_reason(where: Eligibility, reason: Ineligible) -> None:
    assert first_mismatch(where, SITE, POOL) is reason


def test_conditions_hold_together() -> None:
    where = Eligibility(
        pool_ids=("oslo-h100",),
        chip_classes=("nvidia.h100-sxm5-80gb",),
        regions=("eu-north", "us-south"),
        countries=("NO",),
        data_residency=("NO",),
        excluded_legal_controls=("US_CLOUD_ACT",),
        certifications=("SOC2_TYPE2",),
        fabrics=("INFINIBAND_NDR",),
    )
    assert first_mismatch(where, SITE, POOL) is None
    assert first_mismatch(replace(where, fabrics=("ROCE",)), SITE, POOL) is Ineligible.FABRIC


def test_the_first_condition_missed_is_the_one_reported() -> None:
    where = Eligibility(countries=("US",), fabrics=("ROCE",))
    assert first_mismatch(where, SITE, POOL) is Ineligible.COUNTRY


def test_resolution_is_sorted_and_complete() -> None:
    pools = (replace(POOL, pool_id="b"), replace(POOL, pool_id="a"), replace(POOL, pool_id="c"))
    found = resolve(Eligibility(pool_ids=("c", "a")), {"oslo": SITE}, pools)
    assert found.eligible == ("a", "c")
    assert found.refused == (("b", Ineligible.NOT_NAMED),)


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2, unique=True).map(tuple)
CONDITIONS = st.builds(Eligibility, **dict.fromkeys(Eligibility.__dataclass_fields__, NAMES))
SITES = st.builds(
    Site,
    site_id=st.just("s"),
    surcharge=st.just(MicroUsdPerChipHour(0)),
    region=st.sampled_from(["a", "b"]),
    country=st.sampled_from(["a", "b"]),
    data_residency=NAMES,
    legal_controls=NAMES,
    certifications=NAMES,
)


@given(st.lists(SITES, min_size=1, max_size=4), st.lists(CONDITIONS, max_size=6), st.data())
def test_the_index_answers_as_single_pools_do(
    sites: list[Site], wheres: list[Eligibility], data: st.DataObject
) -> None:
    by_name = {f"s{n}": replace(site, site_id=f"s{n}") for n, site in enumerate(sites)}
    pools = [
        replace(
            POOL,
            pool_id=name,
            site_id=data.draw(st.sampled_from(sorted(by_name))),
            chip_class=data.draw(st.sampled_from("abc")),
            fabric=data.draw(st.sampled_from("abc")),
        )
        for name in data.draw(st.permutations(["a", "b", "c", "d"]))
    ]
    index = PoolIndex(by_name, pools)
    for where in wheres:
        assert index.eligible(where) == resolve(where, by_name, pools).eligible
