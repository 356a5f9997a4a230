"""Laws of exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from clearing.units import (
    ChipSeconds,
    MicroUsdPerChipHour,
    Ppm,
    divide_half_even,
    divide_up,
    energy_charge,
    share_ppm,
    share_ppm_up,
    split_largest_remainder,
)

WIDE = st.integers(-(10**24), 10**24)
POSITIVE = st.integers(1, 10**12)


@given(WIDE, POSITIVE)
def test_half_even_is_the_rounding_of_fractions(numerator: int, denominator: int) -> None:
    assert divide_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(WIDE, POSITIVE)
def test_rounding_is_odd(numerator: int, denominator: int) -> None:
    assert divide_half_even(-numerator, denominator) == -divide_half_even(numerator, denominator)


@given(WIDE, POSITIVE)
def test_rounding_up_is_the_least_integer_not_below(numerator: int, denominator: int) -> None:
    up = divide_up(numerator, denominator)
    assert up * denominator >= numerator > (up - 1) * denominator


@given(st.integers(0, 10**18), st.integers(0, 1_000_000))
def test_a_requirement_is_never_undershot(amount: int, share: int) -> None:
    up = share_ppm_up(amount, Ppm(share))
    assert up * 1_000_000 >= amount * share
    assert up - 1 <= share_ppm(amount, Ppm(share)) <= up


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**15), st.integers(0, 10**15))
def test_a_charge_split_in_two_is_off_by_at_most_one(price: int, left: int, right: int) -> None:
    rate = MicroUsdPerChipHour(price)
    whole = energy_charge(rate, ChipSeconds(left + right))
    parts = energy_charge(rate, ChipSeconds(left)) + energy_charge(rate, ChipSeconds(right))
    assert abs(whole - parts) <= 1


@given(WIDE, st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_parts_add_up_and_stay_within_one_of_their_share(total: int, weights: list[int]) -> None:
    assume(any(weights))
    keys = [str(index) for index in range(len(weights))]
    parts = split_largest_remainder(total, weights, keys)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1
        assert weight or not part


@given(
    st.integers(0, 10**12),
    st.lists(
        st.tuples(st.integers(0, 10**6), st.uuids()),
        min_size=1,
        max_size=12,
        unique_by=lambda x: x[1],
    ),
)
def test_a_split_does_not_depend_on_the_order_of_its_parts(
    total: int, entries: list[tuple[int, object]]
) -> None:
    assume(any(weight for weight, _ in entries))
    named = [(weight, str(key)) for weight, key in entries]
    shuffled = sorted(named, key=lambda entry: entry[1])

    def split(items: list[tuple[int, str]]) -> dict[str, int]:
        keys = [key for _, key in items]
        return dict(
            zip(keys, split_largest_remainder(total, [w for w, _ in items], keys), strict=True)
        )

    assert split(named) == split(shuffled)
