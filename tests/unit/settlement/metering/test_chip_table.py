"""The chip table that ships, and the strictness of its parser."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from iso_exchange import reference
from settlement.metering.chip_table import ChipTableError, FigureStatus, Precision, parse

FIGURE: dict[str, Any] = {"value": 10, "source": "doc", "status": "secondary"}
SMALL: dict[str, Any] = {
    "format": "iso-exchange.chip-table.v1",
    "version": "1",
    "sources": {"doc": {"publisher": "P", "title": "T", "address": ""}},
    "chips": [
        {
            "chip_class": "acme.one-8gb",
            "name": "One",
            "vendor": "Acme",
            "form_factor": "SXM",
            "dense_tflops": {"BF16": FIGURE},
            "hbm_gb": FIGURE,
            "hbm_gb_per_s": FIGURE,
            "chips_per_node": FIGURE,
            "scale_up": "LINK",
            "scale_up_domain_chips": FIGURE,
            "scale_up_gb_per_s": FIGURE,
        }
    ],
}


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def fresh() -> Any:
    # Through JSON, so that no two figures are the same object.
    return json.loads(encode(SMALL))


def changed(*path: str | int, to: object) -> bytes:
    document = fresh()
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return encode(document)


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(ChipTableError) as caught:
        parse(data)
    return caught.value.code, caught.value.path


def test_shipped_table_has_every_class_and_its_digest() -> None:
    data = reference.read_default_bytes()
    table = reference.read_default()
    assert table.sha256 == hashlib.sha256(data).hexdigest()
    assert table.version == "2026.1"
    assert table.chip_classes() == (
        "nvidia.a100-sxm4-80gb",
        "nvidia.h100-sxm5-80gb",
        "nvidia.h200-sxm5-141gb",
        "nvidia.b200-hgx-180gb",
        "nvidia.gb200-nvl72-186gb",
        "nvidia.b300-hgx-270gb",
        "amd.mi300x-oam-192gb",
        "amd.mi355x-oam-288gb",
        "google.tpu-v5p",
        "google.tpu-v6e",
        "google.tpu7x",
        "aws.trainium2",
    )


@pytest.mark.parametrize(
    ("chip_class", "precision", "dense_tflops"),
    [
        ("nvidia.a100-sxm4-80gb", Precision.BF16, 312),
        ("nvidia.h100-sxm5-80gb", Precision.BF16, 989),
        ("nvidia.h100-sxm5-80gb", Precision.FP8, 1979),
        ("nvidia.h200-sxm5-141gb", Precision.BF16, 989),
        ("nvidia.b200-hgx-180gb", Precision.FP4, 9000),
        ("nvidia.gb200-nvl72-186gb", Precision.BF16, 2250),
        ("nvidia.b300-hgx-270gb", Precision.FP4, 13125),
        ("amd.mi300x-oam-192gb", Precision.BF16, 1307),
        ("amd.mi355x-oam-288gb", Precision.FP8, 5000),
        ("google.tpu-v5p", Precision.BF16, 459),
        ("google.tpu-v6e", Precision.INT8, 1836),
        ("google.tpu7x", Precision.FP8, 4614),
        ("aws.trainium2", Precision.FP8, 1299),
    ],
)
def test_dense_peaks(chip_class: str, precision: Precision, dense_tflops: int) -> None:
    assert reference.read_default().get(chip_class).dense_tflops(precision) == dense_tflops


def test_every_source_is_used_and_vendor_figures_have_an_address() -> None:
    table = reference.read_default()
    addresses = {source.label: source.address for source in table.sources}
    used = set()
    for chip in table.chips:
        figures = [peak.dense_tflops for peak in chip.peaks]
        figures += [chip.hbm_gb, chip.hbm_gb_per_s, chip.chips_per_node]
        figures += [chip.scale_up_domain_chips, chip.scale_up_gb_per_s]
        figures += [chip.tdp_w] if chip.tdp_w is not None else []
        for figure in figures:
            used.add(figure.source)
            if figure.status is FigureStatus.VENDOR_DOCUMENTED:
                assert addresses[figure.source].startswith("https://"), chip.chip_class
    assert used == set(addresses)


def test_lookups_that_the_table_cannot_answer() -> None:
    table = reference.read_default()
    with pytest.raises(ChipTableError, match="UNKNOWN_CHIP_CLASS"):
        table.get("nvidia.h100")
    with pytest.raises(ChipTableError, match=r"UNKNOWN_PRECISION: nvidia\.h100-sxm5-80gb\.FP4"):
        table.get("nvidia.h100-sxm5-80gb").dense_tflops(Precision.FP4)


def test_small_table_parses() -> None:
    table = parse(encode(SMALL))
    assert table.get("acme.one-8gb").tdp_w is None
    assert table.get("acme.one-8gb").hbm_gb.value == 10


def test_digest_is_over_exact_bytes() -> None:
    assert parse(encode(SMALL)).sha256 != parse(encode(SMALL) + b"\n").sha256


PEAK = "chips[0].dense_tflops.BF16.value"


@pytest.mark.parametrize(
    ("data", "code", "path"),
    [
        (b" " * ((1 << 20) + 1), "TOO_LARGE", "$"),
        (b"\xff", "NOT_UTF8", "$"),
        (b"{", "NOT_JSON", "$"),
        (b"[" * 100_000, "NOT_JSON", "$"),
        (b"[]", "WRONG_TYPE", "$"),
        (changed("format", to="v2"), "UNKNOWN_VALUE", "format"),
        (changed("version", to=1), "WRONG_TYPE", "version"),
        (changed("extra", to=1), "UNKNOWN_KEY", "extra"),
        (changed("chips", to=[]), "OUT_OF_RANGE", "chips"),
        (changed("chips", to={}), "WRONG_TYPE", "chips"),
        (changed("chips", 0, "colour", to="red"), "UNKNOWN_KEY", "chips[0].colour"),
        (changed("chips", 0, "chip_class", to="Acme"), "UNKNOWN_VALUE", "chips[0].chip_class"),
        (changed("chips", 0, "hbm_gb", "value", to=-1), "OUT_OF_RANGE", "chips[0].hbm_gb.value"),
        (changed("chips", 0, "hbm_gb", "value", to=0), "OUT_OF_RANGE", "chips[0].hbm_gb.value"),
        (changed("chips", 0, "hbm_gb", "value", to=True), "WRONG_TYPE", "chips[0].hbm_gb.value"),
        (changed("chips", 0, "hbm_gb", "value", to="9"), "WRONG_TYPE", "chips[0].hbm_gb.value"),
        (changed("chips", 0, "dense_tflops", "BF16", "value", to=1.0), "NOT_AN_INTEGER", PEAK),
        (
            changed("chips", 0, "dense_tflops", "BF16", "value", to=float("nan")),
            "NOT_AN_INTEGER",
            PEAK,
        ),
        (changed("chips", 0, "dense_tflops", to={}), "OUT_OF_RANGE", "chips[0].dense_tflops"),
        (
            changed("chips", 0, "dense_tflops", "FP3", to=FIGURE),
            "UNKNOWN_KEY",
            "chips[0].dense_tflops.FP3",
        ),
        (
            changed("chips", 0, "hbm_gb", "source", to="rumour"),
            "UNKNOWN_SOURCE",
            "chips[0].hbm_gb.source",
        ),
        (
            changed("chips", 0, "hbm_gb", "status", to="sure"),
            "UNKNOWN_VALUE",
            "chips[0].hbm_gb.status",
        ),
        (
            changed("chips", to=SMALL["chips"] * 2),
            "DUPLICATE_CHIP_CLASS",
            "chips[1].chip_class",
        ),
        (
            encode(SMALL).replace(b'"version": "1"', b'"version": "1", "version": "2"'),
            "DUPLICATE_KEY",
            "version",
        ),
        (
            encode(SMALL).replace(b'"name": "One"', b'"name": "One", "name": "Two"'),
            "DUPLICATE_KEY",
            "chips[0].name",
        ),
    ],
)
def test_refusals_name_code_and_path(data: bytes, code: str, path: str) -> None:
    assert refusal(data) == (code, path)


@pytest.mark.parametrize("key", sorted(SMALL["chips"][0]))
def test_every_key_of_a_chip_is_required(key: str) -> None:
    document = fresh()
    del document["chips"][0][key]
    assert refusal(encode(document)) == ("MISSING_KEY", f"chips[0].{key}")
