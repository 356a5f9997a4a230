"""The registry as everybody sees it: participants, sites, pools, meters.

A registered thing is shown with the message of its signed body, without the header: the
signed original is in the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from clearing.types import Pool
from clearing.units import Chips, divide_up
from iso_exchange.api.v1 import meter_pb2, participant_pb2, pool_pb2, resource_pb2, site_pb2
from iso_exchange.api.v1.location_pb2 import Location
from iso_exchange.convert import enums
from iso_exchange.convert.fields import number_of
from iso_exchange.convert.pools import NO_FABRIC
from iso_exchange.convert.sites import write_location
from iso_exchange.sequencer.state import Meter, Participant, PoolRecord, SiteRecord
from settlement.metering.chip_table import Chip, ChipTable


def participant_view(
    participant: Participant, *, entry_index: int | None = None
) -> participant_pb2.ParticipantView:
    """A participant as the registry has it now.

    Args:
        entry_index: Log entry that admitted it, None where it is not at hand.
    """
    suspended = bool(participant.suspended)
    keys = (*participant.keys.values(), *participant.revoked.values())
    return participant_pb2.ParticipantView(
        participant=participant_pb2.Participant(
            participant_id=participant.participant_id,
            display_name=participant.display_name,
            roles=sorted(enums.ROLE.number(role) for role in participant.roles),
            public_key=keys[0],
            country_code=participant.country,
        ),
        state=(
            participant_pb2.PARTICIPANT_STATE_SUSPENDED
            if suspended
            else participant_pb2.PARTICIPANT_STATE_ACTIVE
        ),
        revoked_key_ids=tuple(participant.revoked),
        key_ids=tuple(participant.keys),
        entry_index=entry_index,
    )


def location_view(record: SiteRecord) -> Location:
    """Where a site is and whose law reaches it, as registered."""
    site = record.site
    return write_location(
        site_id=site.site_id,
        region=site.region,
        country=site.country,
        subdivision=record.subdivision,
        data_residency=site.data_residency,
        legal_controls=site.legal_controls,
        certifications=site.certifications,
        carbon_grams_per_kwh=record.carbon_grams_per_kwh,
    )


def site_view(record: SiteRecord) -> site_pb2.Site:
    """A site as registered."""
    return site_pb2.Site(
        site_id=record.site.site_id,
        community_id=record.community_id,
        surcharge_micro_usd_per_chip_hour=record.site.surcharge,
        power_limit_watts=record.site.power_limit,
        location=location_view(record),
    )


def pool_view(record: PoolRecord, table: ChipTable | None) -> pool_pb2.Pool:
    """A pool as registered, its chips described by the chip table.

    Args:
        record: The pool.
        table: Chip table in force; without one only what the registry knows is stated.
    """
    pool = record.pool
    return pool_pb2.Pool(
        pool_id=pool.pool_id,
        site_id=pool.site_id,
        resource=resource_view(pool, pool.capacity, table),
        capacity_chip_count=pool.capacity,
        chip_power_watts=pool.chip_power,
        node_spare_ppm=pool.node_spare_ppm,
        derate_ppm=record.derate_ppm,
        precision=number_of(enums.PRECISION, record.precision, "precision"),
        supplier_ids=sorted(record.supplier_ids),
    )


def resource_view(pool: Pool, chips: Chips, table: ChipTable | None) -> resource_pb2.ResourceSpec:
    """What chips of a pool are.

    Args:
        pool: The pool.
        chips: Installed chips, or the most that a contract has in one interval.
        table: Chip table in force, None before the first.
    """
    resource = resource_pb2.ResourceSpec(
        chip_class=pool.chip_class,
        chips_per_node=pool.chips_per_node,
        node_count=divide_up(chips, pool.chips_per_node),
        min_node_count=1,
        node_count_increment=1,
    )
    if pool.fabric != NO_FABRIC:
        resource.scale_out.kind = number_of(enums.FABRIC, pool.fabric, "resource.scale_out.kind")
    if table is not None and pool.chip_class in table.chip_classes():
        resource.chip_table_version = table.version
        resource.chip_table_sha256 = bytes.fromhex(table.sha256)
        _rate(resource, table.get(pool.chip_class))
    return resource


def meter_view(meter: Meter, keys: Sequence[bytes]) -> meter_pb2.Meter:
    """A meter as registered.

    Args:
        meter: The meter.
        keys: Raw public keys of its participant, present ones first.
    """
    return meter_pb2.Meter(meter_id=meter.meter_id, pool_id=meter.pool_id, public_key=keys[0])


def _rate(resource: resource_pb2.ResourceSpec, chip: Chip) -> None:
    """Fill in what the chip table says of one chip."""
    resource.form_factor = enums.FORM_FACTOR.number(chip.form_factor)
    resource.scale_up.kind = enums.SCALE_UP.number(chip.scale_up)
    resource.scale_up.domain_chip_count = chip.scale_up_domain_chips.value
    resource.scale_up.bandwidth_gb_per_second_per_chip = chip.scale_up_gb_per_s.value
    resource.memory.chip_gb = chip.hbm_gb.value
    resource.memory.chip_gb_per_second = chip.hbm_gb_per_s.value
    resource.peak_rates.extend(
        sorted(
            (
                resource_pb2.PeakRate(
                    precision=enums.PRECISION.number(peak.precision.value),
                    dense_tflop_per_second=peak.dense_tflops.value,
                )
                for peak in chip.peaks
            ),
            key=lambda rate: rate.precision,
        )
    )
