"""The options that all bids share: where, which class of service, with which cover and notice."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Final

import typer

from clearing.types import Conversion, Cover, Eligibility, ServiceClass
from clearing.units import Seconds
from iso_exchange.cli import values
from iso_exchange.cli.chips import installed_chip_table
from iso_exchange.cli.pool import FABRICS
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.site import CERTIFICATIONS, LEGAL_REGIMES
from iso_exchange.commands import BidConditions

CLOUD_ACT: Final = "US_CLOUD_ACT"

Factors = Annotated[
    list[str] | None,
    typer.Option(
        "--factor",
        metavar="CLASS=FACTOR",
        help="A chip of this class is worth so many times the limit: 'h200=1.25'.",
    ),
]


def read_conditions(
    *,
    chip_class: Annotated[
        list[str] | None,
        typer.Option("--class", help="Chip classes, or parts of them: 'h100-sxm|h200-sxm'."),
    ] = None,
    pool: Annotated[list[str] | None, typer.Option("--pool", help="Only these pools.")] = None,
    region: Annotated[
        list[str] | None, typer.Option("--region", help="Only these regions.")
    ] = None,
    country: Annotated[
        list[str] | None, typer.Option("--country", help="Only these countries (ISO 3166-1).")
    ] = None,
    residency: Annotated[
        list[str] | None, typer.Option("--residency", help="Data stays in each of these.")
    ] = None,
    no_cloud_act: Annotated[
        bool, typer.Option("--no-cloud-act", help="Not where the US CLOUD Act reaches.")
    ] = False,
    without_law: Annotated[
        list[str] | None,
        typer.Option("--without-law", help=f"Not where these reach: {', '.join(LEGAL_REGIMES)}."),
    ] = None,
    certification: Annotated[
        list[str] | None,
        typer.Option("--certification", help=f"Each of these: {', '.join(CERTIFICATIONS)}."),
    ] = None,
    fabric: Annotated[
        list[str] | None, typer.Option("--fabric", help=f"One of these: {', '.join(FABRICS)}.")
    ] = None,
    firm: Annotated[
        bool | None,
        typer.Option("--firm/--interruptible", help="Not reclaimable, or only after notice."),
    ] = None,
    notice: Annotated[
        str, typer.Option("--notice", help="Notice an interruptible needs, such as 5m.")
    ] = "",
    cover: Annotated[
        Cover | None,
        typer.Option("--cover", case_sensitive=False, help="Of firm bids. Default: NODE."),
    ] = None,
    factor: Factors = None,
) -> BidConditions:
    """Conditions from the options as typed.

    Raises:
        BadValue: no condition at all, or options that do not go together.
    """
    laws = values.parse_names(without_law or (), "--without-law", LEGAL_REGIMES)
    where = Eligibility(
        pool_ids=values.split_names(pool or ()),
        chip_classes=_chip_classes(chip_class or []),
        regions=values.split_names(region or ()),
        countries=tuple(name.upper() for name in values.split_names(country or ())),
        data_residency=tuple(name.upper() for name in values.split_names(residency or ())),
        excluded_legal_controls=tuple(dict.fromkeys((*laws, CLOUD_ACT) if no_cloud_act else laws)),
        certifications=values.parse_names(certification or (), "--certification", CERTIFICATIONS),
        fabrics=values.parse_names(fabric or (), "--fabric", FABRICS),
    )
    firm = _refuse_misfits(where, firm, notice, cover)
    default = Cover.NODE if firm else Cover.NONE
    return BidConditions(
        where=where,
        service_class=ServiceClass.FIRM if firm else ServiceClass.INTERRUPTIBLE,
        cover=default if cover is None else cover,
        notice_s=values.parse_duration(notice, "--notice") if notice else Seconds(0),
        conversions=_factors(factor or []),
    )


def with_conditions(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options; it receives what they mean as ``conditions``."""
    own = inspect.signature(command, eval_str=True).parameters
    shared = inspect.signature(read_conditions, eval_str=True).parameters

    @functools.wraps(command)
    def wrapped(**arguments: object) -> None:
        options = {name: arguments.pop(name) for name in shared}
        command(conditions=read_conditions(**options), **arguments)  # type: ignore[arg-type]

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in {**own, **shared}.items()
        if name != "conditions"
    ]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {item.name: item.annotation for item in parameters}
    del wrapped.__wrapped__
    return wrapped


def _refuse_misfits(
    where: Eligibility, firm: bool | None, notice: str, cover: Cover | None
) -> bool:
    """Whether the bid is firm; refuse options that do not go together."""
    if where == Eligibility():
        raise BadValue("--class", "say where it may be served: --class, --pool, --region ...")
    if firm is None:
        raise BadValue("--firm", "say which service you bid for: --firm or --interruptible")
    if firm and notice:
        raise BadValue("--notice", "firm service is not reclaimed: leave the notice out")
    if not firm and cover not in {None, Cover.NONE}:
        raise BadValue("--cover", "interruptible service has no cover: leave it out")
    return firm


def _factors(texts: list[str]) -> tuple[Conversion, ...]:
    if not texts:
        return ()
    return values.parse_factors(texts, "--factor", installed_chip_table().chip_classes())


def _chip_classes(texts: list[str]) -> tuple[str, ...]:
    if not texts:
        return ()
    return values.resolve_chip_classes(texts, "--class", installed_chip_table().chip_classes())
