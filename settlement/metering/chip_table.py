"""Versioned chip table: what one chip of each class is rated at, with a source per figure.

Rated capacity is what the exchange bills, so both sides of a contract name the same
table by version and by the SHA-256 of its exact bytes. The parser is strict: a table
that it does not understand completely is refused, never half read. Every figure is an
integer; where sources disagree the conservative one is kept (the lower for compute and
memory, the higher for power) and the conflict is described in ``note``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

FORMAT: Final = "iso-exchange.chip-table.v1"
MAX_BYTES: Final = 1 << 20
MAX_FIGURE: Final = 1_000_000_000

_CHIP_CLASS: Final = re.compile(r"[a-z0-9]+\.[a-z0-9]+(-[a-z0-9]+)*")
_NOT_FOUND: Final = "UNKNOWN_CHIP_CLASS"


class ChipTableError(ValueError):
    """A chip table that is refused, or a question that it does not answer.

    Attributes:
        code: Stable reason code. Parsing, in this order of precedence: ``TOO_LARGE``,
            ``NOT_UTF8``, ``NOT_JSON``, then by position in the file ``DUPLICATE_KEY``,
            ``MISSING_KEY``, ``UNKNOWN_KEY``, ``WRONG_TYPE``, ``NOT_AN_INTEGER``,
            ``OUT_OF_RANGE``, ``UNKNOWN_VALUE``, ``UNKNOWN_SOURCE``,
            ``DUPLICATE_CHIP_CLASS``. Look-ups: ``UNKNOWN_CHIP_CLASS``,
            ``UNKNOWN_PRECISION``.
        path: Where, such as ``chips[3].dense_tflops.BF16.value``.
        advice: What to do about it, one sentence.
    """

    def __init__(self, code: str, path: str, advice: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {path}: {advice}")
        self.code = code
        self.path = path
        self.advice = advice


class Precision(Enum):
    """Number format of a peak rate."""

    BF16 = "BF16"
    FP8 = "FP8"
    FP4 = "FP4"
    INT8 = "INT8"


class FigureStatus(Enum):
    """How far a figure can be relied on."""

    VENDOR_DOCUMENTED = "vendor-documented"
    """Read in a document of the maker of the chip."""
    SECONDARY = "secondary"
    """Read elsewhere, or recalled: check against the data sheet before signing on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A document that figures are taken from."""

    label: str
    publisher: str
    title: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of the table with its provenance.

    Attributes:
        value: Positive integer in the unit of the field that holds it.
        source: Label of a ``Source`` of the table.
        status: How far it can be relied on.
        note: Conflicts between sources and rounding, in words; may be empty.
    """

    value: int
    source: str
    status: FigureStatus
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakRate:
    """Dense peak rate (no structured sparsity) of one chip at one precision, TFLOP/s."""

    precision: Precision
    dense_tflops: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """Everything the table says about one chip class, per chip.

    Attributes:
        chip_class: Key, such as ``nvidia.h100-sxm5-80gb``.
        name: Name in the trade.
        vendor: Maker.
        form_factor: ``SXM``, ``NVL``, ``OAM``, ``TPU`` or ``TRN``.
        peaks: Dense peak rates, one per precision that has one.
        hbm_gb: Memory, decimal GB.
        hbm_gb_per_s: Memory bandwidth, GB/s.
        tdp_w: Design power, W; None where the maker publishes none.
        chips_per_node: Chips that one host carries.
        scale_up: Name of the scale-up link.
        scale_up_domain_chips: Chips in one scale-up domain.
        scale_up_gb_per_s: Scale-up bandwidth, GB/s, as the maker counts it.
    """

    chip_class: str
    name: str
    vendor: str
    form_factor: str
    peaks: tuple[PeakRate, ...]
    hbm_gb: Figure
    hbm_gb_per_s: Figure
    tdp_w: Figure | None
    chips_per_node: Figure
    scale_up: str
    scale_up_domain_chips: Figure
    scale_up_gb_per_s: Figure

    def dense_tflops(self, precision: Precision) -> int:
        """Dense peak at a precision, TFLOP/s.

        Raises:
            ChipTableError: ``UNKNOWN_PRECISION``, the class has no rate at it.
        """
        for peak in self.peaks:
            if peak.precision is precision:
                return peak.dense_tflops.value
        raise ChipTableError(
            "UNKNOWN_PRECISION",
            f"{self.chip_class}.{precision.value}",
            "name a precision that the chip table lists for this class",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipTable:
    """A parsed chip table.

    Attributes:
        version: Such as ``2026.1``.
        sha256: Lower-case hex digest of the exact bytes that were parsed.
        sources: In file order.
        chips: In file order.
    """

    version: str
    sha256: str
    sources: tuple[Source, ...]
    chips: tuple[Chip, ...]

    def get(self, chip_class: str) -> Chip:
        """Look a chip class up.

        Raises:
            ChipTableError: ``UNKNOWN_CHIP_CLASS``.
        """
        for chip in self.chips:
            if chip.chip_class == chip_class:
                return chip
        raise ChipTableError(
            _NOT_FOUND, chip_class, f"name a class of chip table version {self.version}"
        )

    def chip_classes(self) -> tuple[str, ...]:
        """Keys of the table, in file order."""
        return tuple(chip.chip_class for chip in self.chips)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """A JSON object before its keys are known to be unique."""

    pairs: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class _NonInteger:
    """A JSON number that is no integer, kept as text so that the path can be reported."""

    text: str


def parse(data: bytes) -> ChipTable:
    """Parse a chip table, completely or not at all.

    Args:
        data: UTF-8 JSON, at most 1 MiB; the digest is taken over exactly these bytes.

    Raises:
        ChipTableError: the code and the path say what is wrong and where.
    """
    if len(data) > MAX_BYTES:
        raise ChipTableError("TOO_LARGE", "$", f"keep the table below {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ChipTableError("NOT_UTF8", "$", "encode the table as UTF-8") from error
    try:
        document = json.loads(
            text,
            object_pairs_hook=lambda pairs: _Pairs(tuple(pairs)),
            parse_float=_NonInteger,
            parse_constant=_NonInteger,
        )
    except (ValueError, RecursionError) as error:
        raise ChipTableError("NOT_JSON", "$", f"write valid JSON: {error}") from error
    top = _members(document, "$", required=("format", "version", "sources", "chips"))
    if _text(top["format"], "format") != FORMAT:
        raise ChipTableError("UNKNOWN_VALUE", "format", f"this parser reads {FORMAT!r} only")
    sources = _sources(top["sources"])
    labels = frozenset(source.label for source in sources)
    return ChipTable(
        version=_text(top["version"], "version"),
        sha256=hashlib.sha256(data).hexdigest(),
        sources=sources,
        chips=_chips(top["chips"], labels),
    )


def _sources(value: object) -> tuple[Source, ...]:
    sources = []
    for label, entry in _unique_members(value, "sources").items():
        path = f"sources.{label}"
        fields = _members(entry, path, required=("publisher", "title", "address"))
        sources.append(
            Source(
                label=label,
                publisher=_text(fields["publisher"], f"{path}.publisher"),
                title=_text(fields["title"], f"{path}.title"),
                address=_text(fields["address"], f"{path}.address", empty=True),
            )
        )
    return tuple(sources)


def _chips(value: object, labels: frozenset[str]) -> tuple[Chip, ...]:
    if not isinstance(value, list):
        raise ChipTableError("WRONG_TYPE", "chips", "write a list")
    chips: list[Chip] = []
    seen: set[str] = set()
    for index, entry in enumerate(value):
        chip = _chip(entry, f"chips[{index}]", labels)
        if chip.chip_class in seen:
            raise ChipTableError(
                "DUPLICATE_CHIP_CLASS", f"chips[{index}].chip_class", "list each class once"
            )
        seen.add(chip.chip_class)
        chips.append(chip)
    if not chips:
        raise ChipTableError("OUT_OF_RANGE", "chips", "list at least one class")
    return tuple(chips)


def _chip(value: object, path: str, labels: frozenset[str]) -> Chip:
    fields = _members(
        value,
        path,
        required=(
            "chip_class",
            "name",
            "vendor",
            "form_factor",
            "dense_tflops",
            "hbm_gb",
            "hbm_gb_per_s",
            "chips_per_node",
            "scale_up",
            "scale_up_domain_chips",
            "scale_up_gb_per_s",
        ),
        optional=("tdp_w",),
    )

    def figure(name: str) -> Figure:
        return _figure(fields[name], f"{path}.{name}", labels)

    chip_class = _text(fields["chip_class"], f"{path}.chip_class")
    if _CHIP_CLASS.fullmatch(chip_class) is None:
        raise ChipTableError(
            "UNKNOWN_VALUE", f"{path}.chip_class", "write vendor.model-parts in lower case"
        )
    return Chip(
        chip_class=chip_class,
        name=_text(fields["name"], f"{path}.name"),
        vendor=_text(fields["vendor"], f"{path}.vendor"),
        form_factor=_text(fields["form_factor"], f"{path}.form_factor"),
        peaks=_peaks(fields["dense_tflops"], f"{path}.dense_tflops", labels),
        hbm_gb=figure("hbm_gb"),
        hbm_gb_per_s=figure("hbm_gb_per_s"),
        tdp_w=figure("tdp_w") if "tdp_w" in fields else None,
        chips_per_node=figure("chips_per_node"),
        scale_up=_text(fields["scale_up"], f"{path}.scale_up"),
        scale_up_domain_chips=figure("scale_up_domain_chips"),
        scale_up_gb_per_s=figure("scale_up_gb_per_s"),
    )


def _peaks(value: object, path: str, labels: frozenset[str]) -> tuple[PeakRate, ...]:
    names = {precision.value: precision for precision in Precision}
    peaks = []
    for name, entry in _unique_members(value, path).items():
        if name not in names:
            raise ChipTableError(
                "UNKNOWN_KEY", f"{path}.{name}", f"use one of {', '.join(sorted(names))}"
            )
        peaks.append(
            PeakRate(precision=names[name], dense_tflops=_figure(entry, f"{path}.{name}", labels))
        )
    if not peaks:
        raise ChipTableError("OUT_OF_RANGE", path, "give at least one precision")
    return tuple(peaks)


def _figure(value: object, path: str, labels: frozenset[str]) -> Figure:
    fields = _members(value, path, required=("value", "source", "status"), optional=("note",))
    number = _positive_integer(fields["value"], f"{path}.value")
    status_text = _text(fields["status"], f"{path}.status")
    statuses = {status.value: status for status in FigureStatus}
    if status_text not in statuses:
        raise ChipTableError(
            "UNKNOWN_VALUE", f"{path}.status", f"use one of {', '.join(sorted(statuses))}"
        )
    source = _text(fields["source"], f"{path}.source")
    if source not in labels:
        raise ChipTableError(
            "UNKNOWN_SOURCE", f"{path}.source", f"describe {source!r} under sources"
        )
    return Figure(
        value=number,
        source=source,
        status=statuses[status_text],
        note=_text(fields["note"], f"{path}.note") if "note" in fields else "",
    )


def _positive_integer(value: object, path: str) -> int:
    if isinstance(value, _NonInteger):
        raise ChipTableError("NOT_AN_INTEGER", path, f"write an integer, not {value.text}")
    if not isinstance(value, int) or isinstance(value, bool):
        raise ChipTableError("WRONG_TYPE", path, "write an integer")
    if not 0 < value <= MAX_FIGURE:
        raise ChipTableError("OUT_OF_RANGE", path, f"must be 1 to {MAX_FIGURE}, got {value}")
    return value


def _text(value: object, path: str, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise ChipTableError("WRONG_TYPE", path, "write a string")
    if not value and not empty:
        raise ChipTableError("OUT_OF_RANGE", path, "must not be empty")
    return value


def _unique_members(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, _Pairs):
        raise ChipTableError("WRONG_TYPE", path, "write an object")
    members: dict[str, object] = {}
    for name, member in value.pairs:
        if name in members:
            raise ChipTableError("DUPLICATE_KEY", _join(path, name), "give each key once")
        members[name] = member
    return members


def _members(
    value: object, path: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Mapping[str, object]:
    members = _unique_members(value, path)
    for name in required:
        if name not in members:
            raise ChipTableError("MISSING_KEY", _join(path, name), "add it")
    for name in members:
        if name not in required and name not in optional:
            raise ChipTableError("UNKNOWN_KEY", _join(path, name), "remove it")
    return members


def _join(path: str, name: str) -> str:
    return name if path == "$" else f"{path}.{name}"
