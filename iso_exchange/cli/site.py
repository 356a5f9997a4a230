"""``iso site``: places with a host community."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.units import Watts
from iso_exchange.api.v1 import location_pb2
from iso_exchange.cli import output, values
from iso_exchange.cli.session import (
    OPERATOR_ID,
    Json,
    accepted,
    call,
    receipt_document,
    send,
)
from iso_exchange.client import BLANK_HEADER
from iso_exchange.commands import RegisterSite

app: Final = typer.Typer(no_args_is_help=True, help="Sites: register, list.")

LEGAL_REGIMES: Final = tuple(
    name.removeprefix("LEGAL_REGIME_")
    for name in location_pb2.LegalRegime.keys()  # noqa: SIM118 - an enum wrapper, not a mapping
    if not name.endswith("_UNSPECIFIED")
)
CERTIFICATIONS: Final = tuple(
    name.removeprefix("CERTIFICATION_KIND_")
    for name in location_pb2.CertificationKind.keys()  # noqa: SIM118 - the same
    if not name.endswith("_UNSPECIFIED")
)
WATTS_MAX: Final = 10**12


@app.command("register")
def register(
    context: typer.Context,
    site_id: Annotated[str, typer.Argument(metavar="SITE", help="Identifier.")],
    community: Annotated[
        str, typer.Option("--community", help="Participant that receives the surcharge.")
    ],
    surcharge: Annotated[
        str,
        typer.Option("--surcharge", help="US dollars per delivered chip-hour, 0 if there is none."),
    ],
    region: Annotated[str, typer.Option("--region", help="Such as us-south.")],
    country: Annotated[str, typer.Option("--country", help="ISO 3166-1 alpha-2.")],
    subdivision: Annotated[str, typer.Option("--subdivision", help="ISO 3166-2.")] = "",
    power_limit_watts: Annotated[
        str, typer.Option("--power-limit-watts", help="Default: power never binds.")
    ] = "",
    residency: Annotated[
        list[str] | None,
        typer.Option("--residency", help="Where data stays, such as US or EEA; may be repeated."),
    ] = None,
    law: Annotated[
        list[str] | None,
        typer.Option("--law", help=f"Legal regimes that reach it: {', '.join(LEGAL_REGIMES)}."),
    ] = None,
    certification: Annotated[
        list[str] | None,
        typer.Option("--certification", help=f"Held: {', '.join(CERTIFICATIONS)}."),
    ] = None,
    carbon_grams_per_kwh: Annotated[
        int, typer.Option("--carbon-grams-per-kwh", min=0, max=2_000)
    ] = 0,
    as_json: Json = False,
) -> None:
    """Register a site with the surcharge of its community."""
    limit = None
    if power_limit_watts:
        limit = Watts(values.parse_count(power_limit_watts, "--power-limit-watts", most=WATTS_MAX))
    command = RegisterSite(
        header=BLANK_HEADER,
        site_id=site_id,
        community_id=community,
        surcharge=values.parse_price(surcharge, "--surcharge"),
        power_limit=limit,
        region=region,
        country=country.upper(),
        subdivision=subdivision,
        data_residency=tuple(sorted(name.upper() for name in values.split_names(residency or ()))),
        legal_controls=tuple(sorted(values.parse_names(law or (), "--law", LEGAL_REGIMES))),
        certifications=tuple(
            sorted(values.parse_names(certification or (), "--certification", CERTIFICATIONS))
        ),
        carbon_grams_per_kwh=carbon_grams_per_kwh,
    )
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, site_id=site_id),
        accepted(f"Registered site {site_id}", receipt),
        as_json=as_json,
    )
    output.next_steps(f"iso pool register POOL --site {site_id} ...", as_json=as_json)


@app.command("list")
def list_sites(
    context: typer.Context,
    region: Annotated[str, typer.Option("--region", help="Only this region.")] = "",
    as_json: Json = False,
) -> None:
    """List sites with their surcharges and who can compel them."""
    found = call(
        context,
        lambda client: client.sites(region=region),
        as_json=as_json,
        default=OPERATOR_ID,
    )
    regimes = location_pb2.LegalRegime.DESCRIPTOR
    rows = [
        (
            site.site_id,
            site.location.region,
            site.location.country_code,
            site.community_id,
            output.price_text(site.surcharge_micro_usd_per_chip_hour),
            " ".join(
                output.enum_text(regimes, regime) for regime in site.location.legal_control.regimes
            ),
        )
        for site in found
    ]
    headers = ("SITE", "REGION", "COUNTRY", "COMMUNITY", "SURCHARGE/CHIP-H", "LAWS")
    output.answer(
        {"sites": [output.plain(site) for site in found]},
        output.table(headers, rows),
        as_json=as_json,
    )
