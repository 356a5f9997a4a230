"""Sites and where they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from clearing.units import MicroUsdPerChipHour, Watts
from iso_exchange.api.v1 import location_pb2, site_pb2
from iso_exchange.commands import RegisterSite
from iso_exchange.convert import enums
from iso_exchange.convert.fields import Reader, malformed, not_taken, number_of
from iso_exchange.convert.headers import read_header, write_header
from iso_exchange.convert.participants import COUNTRY, COUNTRY_ADVICE

REGION_LENGTH_MAX: Final = 64
RESIDENCY_COUNT_MAX: Final = 64
CERTIFICATION_COUNT_MAX: Final = 32
CARBON_GRAMS_PER_KWH_MAX: Final = 2_000

_SUBDIVISION: Final = re.compile(r"(?:[A-Z]{2}-[A-Z0-9]{1,3})?")


def read_site(body: Reader) -> RegisterSite:
    """Registration of a site; whether a surcharge is stated is judged later."""
    header = read_header(body)
    site_id = body.identifier("site_id")
    surcharge = body.integer_or_none("surcharge_micro_usd_per_chip_hour")
    power_limit = body.integer_or_none("power_limit_watts")
    location = body.child("location")
    if location.reference("site_id") != site_id:
        raise malformed(location.path("site_id"), "name the site itself", limit=site_id)
    power = location.child_or_none("power")
    return RegisterSite(
        header=header,
        site_id=site_id,
        community_id=body.reference("community_id"),
        surcharge=None if surcharge is None else MicroUsdPerChipHour(surcharge),
        power_limit=None if power_limit is None else Watts(power_limit),
        region=location.text("region", longest=REGION_LENGTH_MAX),
        country=location.matching("country_code", COUNTRY, COUNTRY_ADVICE),
        subdivision=location.matching(
            "subdivision_code", _SUBDIVISION, "use the code of ISO 3166-2, such as US-TX"
        ),
        data_residency=_residency(location),
        legal_controls=_regimes(location),
        certifications=_certifications(location),
        carbon_grams_per_kwh=(
            power.bounded("carbon_grams_per_kwh", 0, CARBON_GRAMS_PER_KWH_MAX) if power else 0
        ),
    )


def write_site(command: RegisterSite) -> site_pb2.Site:
    """Body of a site's registration."""
    return site_pb2.Site(
        header=write_header(command.header),
        site_id=command.site_id,
        community_id=command.community_id,
        surcharge_micro_usd_per_chip_hour=command.surcharge,
        power_limit_watts=command.power_limit,
        location=write_location(
            site_id=command.site_id,
            region=command.region,
            country=command.country,
            subdivision=command.subdivision,
            data_residency=command.data_residency,
            legal_controls=command.legal_controls,
            certifications=command.certifications,
            carbon_grams_per_kwh=command.carbon_grams_per_kwh,
        ),
    )


def write_location(
    *,
    site_id: str,
    region: str,
    country: str,
    subdivision: str,
    data_residency: Sequence[str],
    legal_controls: Sequence[str],
    certifications: Sequence[str],
    carbon_grams_per_kwh: int,
) -> location_pb2.Location:
    """Location from what the registry keeps of it.

    Raises:
        BodyError: a legal regime or certification that the wire has no value for.
    """
    location = location_pb2.Location(
        site_id=site_id,
        region=region,
        country_code=country,
        subdivision_code=subdivision,
        certifications=[
            location_pb2.Certification(
                kind=number_of(enums.CERTIFICATION, name, "location.certifications")
            )
            for name in certifications
        ],
    )
    if data_residency:
        location.data_residency.storage_country_codes.extend(data_residency)
        location.data_residency.telemetry_country_codes.extend(data_residency)
    location.legal_control.SetInParent()
    location.legal_control.regimes.extend(
        number_of(enums.LEGAL_REGIME, name, "location.legal_control.regimes")
        for name in legal_controls
    )
    if carbon_grams_per_kwh:
        location.power.carbon_grams_per_kwh = carbon_grams_per_kwh
    return location


def _residency(location: Reader) -> tuple[str, ...]:
    residency = location.child_or_none("data_residency")
    if residency is None:
        return ()
    storage = residency.areas("storage_country_codes", most=RESIDENCY_COUNT_MAX)
    telemetry = residency.areas("telemetry_country_codes", most=RESIDENCY_COUNT_MAX)
    if set(storage) != set(telemetry):
        raise not_taken(
            residency.path("telemetry_country_codes"),
            "orders cannot ask for storage alone yet: give the same list as for storage",
        )
    return storage


def _regimes(location: Reader) -> tuple[str, ...]:
    control = location.child_or_none("legal_control")
    return control.choices("regimes", enums.LEGAL_REGIME) if control else ()


def _certifications(location: Reader) -> tuple[str, ...]:
    found: list[str] = []
    for item in location.children("certifications", most=CERTIFICATION_COUNT_MAX):
        kind = item.choice("kind", enums.CERTIFICATION)
        if kind in found:
            raise malformed(item.path("kind"), "name each certification once", got=kind)
        found.append(kind)
    return tuple(found)
