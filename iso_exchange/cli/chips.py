"""``iso chips``: what a chip of each class is rated at, and who says so."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

import typer

from iso_exchange.cli import output
from iso_exchange.cli.session import OPERATOR_ID, Json, call
from iso_exchange.client import Client, ClientError
from settlement.metering.chip_table import ChipTable, Figure

app: Final = typer.Typer(no_args_is_help=True, help="Chip table: list.")


@app.callback()
def chips() -> None:
    """Chip table: list."""


@app.command("list")
def list_chips(
    context: typer.Context,
    published: Annotated[
        bool, typer.Option("--published", help="The table in force at the exchange.")
    ] = False,
    sources: Annotated[bool, typer.Option("--sources", help="One row per figure.")] = False,
    as_json: Json = False,
) -> None:
    """List chip classes with dense peak rates, memory and power, each figure with its source."""
    from iso_exchange import reference
    from settlement.metering import chip_table

    document = reference.read_default_bytes()
    if published:
        document = call(context, _published, as_json=as_json, default=OPERATOR_ID)
    parsed = chip_table.parse(document)
    digest = hashlib.sha256(document).hexdigest()
    figures = [
        {
            "chip_class": chip.chip_class,
            "figure": name,
            "value": figure.value,
            "source": figure.source,
            "status": figure.status.value,
            "note": figure.note,
        }
        for chip in (parsed.get(name) for name in parsed.chip_classes())
        for name, figure in _figures(chip)
    ]
    answer: dict[str, object] = {"version": parsed.version, "sha256": digest, "figures": figures}
    answer["sources"] = [
        {
            "label": source.label,
            "publisher": source.publisher,
            "title": source.title,
            "address": source.address,
        }
        for source in parsed.sources
    ]
    output.answer(
        answer,
        _figure_table(figures) if sources else _chip_table(parsed),
        f"\nChip table {parsed.version}, sha256 {digest}",
        as_json=as_json,
    )


def installed_chip_table() -> ChipTable:
    """Chip table that ships with this version; names chip classes on the command line."""
    from iso_exchange import reference

    return reference.read_default()


async def _published(client: Client) -> bytes:
    """Document of the latest CHIP_TABLE entry of the log."""
    from iso_exchange.authority import command_of
    from iso_exchange.commands import PublishChipTable

    entries = await client.entries(kinds=["CHIP_TABLE"])
    for entry in reversed(entries):
        command = command_of(entry.leaf)
        if isinstance(command, PublishChipTable):
            return command.document
    message = "the exchange has published no chip table"
    raise ClientError(message)


def _figures(chip: Any) -> list[tuple[str, Figure]]:  # noqa: ANN401 - a settlement Chip
    named = [(f"dense_tflops.{peak.precision.value}", peak.dense_tflops) for peak in chip.peaks]
    for name in ("hbm_gb", "hbm_gb_per_s", "tdp_w", "chips_per_node", "scale_up_gb_per_s"):
        figure = getattr(chip, name)
        if figure is not None:
            named.append((name, figure))
    return named


def _chip_table(parsed: ChipTable) -> Any:  # noqa: ANN401 - anything Rich prints
    precisions = ("BF16", "FP8", "FP4", "INT8")
    rows = []
    for name in parsed.chip_classes():
        chip = parsed.get(name)
        rates = {peak.precision.value: peak.dense_tflops.value for peak in chip.peaks}
        rows.append(
            (
                name,
                *(rates.get(precision, "") for precision in precisions),
                chip.hbm_gb.value,
                chip.tdp_w.value if chip.tdp_w else "",
                chip.chips_per_node.value,
                chip.scale_up,
            )
        )
    headers = ("CLASS", *precisions, "HBM GB", "TDP W", "PER NODE", "SCALE-UP")
    return output.table(headers, rows, title="Dense TFLOP/s per chip")


def _figure_table(figures: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - anything Rich prints
    columns = ("chip_class", "figure", "value", "source", "status", "note")
    return output.table(
        [column.upper().replace("_", " ") for column in columns],
        ([figure[column] for column in columns] for figure in figures),
    )
