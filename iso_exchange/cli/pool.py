"""``iso pool``: chips that one contiguous gang can use."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.units import PPM, Chips, Ppm, Watts
from iso_exchange.api.v1 import resource_pb2
from iso_exchange.cli import output, values
from iso_exchange.cli.chips import installed_chip_table
from iso_exchange.cli.session import (
    OPERATOR_ID,
    Json,
    accepted,
    call,
    receipt_document,
    send,
)
from iso_exchange.client import BLANK_HEADER
from iso_exchange.commands import RegisterPool

app: Final = typer.Typer(no_args_is_help=True, help="Pools: register, list.")

FABRICS: Final = tuple(
    name.removeprefix("SCALE_OUT_KIND_")
    for name in resource_pb2.ScaleOutKind.keys()  # noqa: SIM118 - an enum wrapper, not a mapping
    if not name.endswith("_UNSPECIFIED")
)
PRECISIONS: Final = tuple(
    name.removeprefix("PRECISION_")
    for name in resource_pb2.Precision.keys()  # noqa: SIM118 - the same
    if not name.endswith("_UNSPECIFIED")
)


@app.command("register")
def register(
    context: typer.Context,
    pool_id: Annotated[str, typer.Argument(metavar="POOL", help="Identifier.")],
    site: Annotated[str, typer.Option("--site", help="Registered site.")],
    chip_class: Annotated[
        str, typer.Option("--class", help="Chip class, or a part of it that fits only one.")
    ],
    capacity: Annotated[str, typer.Option("--capacity", help="Installed chips, whole nodes.")],
    supplier: Annotated[
        list[str], typer.Option("--supplier", help="Who may offer there; may be repeated.")
    ],
    fabric: Annotated[
        str, typer.Option("--fabric", help=f"Between nodes: {', '.join(FABRICS)}.")
    ] = "",
    chips_per_node: Annotated[
        str, typer.Option("--chips-per-node", help="Default: that of the chip table.")
    ] = "",
    chip_power_watts: Annotated[
        int, typer.Option("--chip-power-watts", min=0, help="Busy chip, cooling included.")
    ] = 0,
    node_spare_ppm: Annotated[
        int, typer.Option("--node-spare-ppm", min=0, max=PPM, help="Spare share of NODE cover.")
    ] = 10_000,
    derate_ppm: Annotated[
        int, typer.Option("--derate-ppm", min=1, max=PPM, help="Measured over reference rate.")
    ] = PPM,
    precision: Annotated[
        str, typer.Option("--precision", help=f"Of account: {', '.join(PRECISIONS)}.")
    ] = "BF16",
    as_json: Json = False,
) -> None:
    """Register a pool at a site."""
    chip_table = installed_chip_table()
    (known_class,) = values.resolve_chip_classes(
        [chip_class], "--class", chip_table.chip_classes()
    )[:1] or ("",)
    node = chip_table.get(known_class).chips_per_node.value
    if chips_per_node:
        node = values.parse_count(chips_per_node, "--chips-per-node")
    fabrics = values.parse_names([fabric] if fabric else (), "--fabric", FABRICS)
    command = RegisterPool(
        header=BLANK_HEADER,
        pool_id=pool_id,
        site_id=site,
        supplier_ids=values.split_names(supplier),
        chip_class=known_class,
        chips_per_node=Chips(node),
        capacity=values.parse_chips(capacity, "--capacity"),
        chip_power=Watts(chip_power_watts),
        node_spare_ppm=Ppm(node_spare_ppm),
        fabric=fabrics[0] if fabrics else "",
        derate_ppm=Ppm(derate_ppm),
        precision=values.parse_names([precision], "--precision", PRECISIONS)[0],
    )
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, pool_id=pool_id),
        accepted(f"Registered pool {pool_id}", receipt),
        as_json=as_json,
    )
    output.next_steps(f"iso meter register meter-{pool_id} --pool {pool_id}", as_json=as_json)


@app.command("list")
def list_pools(
    context: typer.Context,
    site: Annotated[str, typer.Option("--site", help="Only this site.")] = "",
    chip_class: Annotated[str, typer.Option("--class", help="Only this chip class.")] = "",
    as_json: Json = False,
) -> None:
    """List pools."""
    wanted = ""
    if chip_class:
        wanted = values.resolve_chip_classes(
            [chip_class], "--class", installed_chip_table().chip_classes()
        )[0]
    found = call(
        context,
        lambda client: client.pools(site_id=site, chip_class=wanted),
        as_json=as_json,
        default=OPERATOR_ID,
    )
    rows = [
        (
            pool.pool_id,
            pool.site_id,
            pool.resource.chip_class,
            f"{pool.capacity_chip_count:,}",
            pool.resource.chips_per_node,
            output.named(pool.resource.scale_out, "kind"),
            " ".join(pool.supplier_ids),
        )
        for pool in found
    ]
    headers = ("POOL", "SITE", "CLASS", "CHIPS", "PER NODE", "FABRIC", "SUPPLIERS")
    output.answer(
        {"pools": [output.plain(pool) for pool in found]},
        output.table(headers, rows),
        as_json=as_json,
    )
