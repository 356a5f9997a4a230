"""The labs of the demo scenario: who they are, what they may use, what they prefer.

Ten replay the tenants of the trace; two are assumptions that bring the 512-chip gangs the
trace does not have. Preferences and legal conditions are assumptions too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clearing.units import PPM
from iso_exchange.replay.grid import B200, H100, H200, MI300X
from iso_exchange.replay.parts import CLOUD_ACT, Eligibility


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPlan:
    """A lab before the day is known.

    Attributes:
        class_shares: Chip classes it uses and the share of its demand on each, parts per
            million, adding up to one million; empty for an assumed lab.
        where: Conditions that hold for every order, chip classes apart.
        small_deposit: Its deposit does not cover its last order.
    """

    lab_id: str
    name: str
    country: str
    trace_tenant: str
    class_shares: tuple[tuple[str, int], ...]
    where: Eligibility
    small_deposit: bool = False

    def eligible_for(self, *chip_classes: str) -> Eligibility:
        """Conditions of one order for chips of these classes."""
        return Eligibility(
            pool_ids=self.where.pool_ids,
            chip_classes=chip_classes,
            countries=self.where.countries,
            data_residency=self.where.data_residency,
            excluded_legal_controls=self.where.excluded_legal_controls,
            certifications=self.where.certifications,
        )


_ANYWHERE: Final = Eligibility()
_SOVEREIGN: Final = Eligibility(data_residency=("EEA",), excluded_legal_controls=(CLOUD_ACT,))

LAB_PLANS: Final = (
    LabPlan(
        lab_id="lab-01",
        name="Meridian Models",
        country="US",
        trace_tenant="cluster01",
        class_shares=((H100, 600_000), (H200, 400_000)),
        where=Eligibility(certifications=("SOC2_TYPE2",)),
    ),
    LabPlan(
        lab_id="lab-02",
        name="Tessellate AI",
        country="US",
        trace_tenant="cluster02",
        class_shares=((B200, 600_000), (H200, 400_000)),
        where=_ANYWHERE,
    ),
    LabPlan(
        lab_id="lab-03",
        name="Hokuto Research",
        country="JP",
        trace_tenant="cluster03",
        class_shares=((H100, 600_000), (H200, 400_000)),
        where=Eligibility(data_residency=("JP",)),
    ),
    LabPlan(
        lab_id="lab-04",
        name="Northwind Intelligence",
        country="US",
        trace_tenant="cluster04",
        class_shares=((H100, 480_000), (H200, 320_000), (B200, 200_000)),
        where=_ANYWHERE,
    ),
    LabPlan(
        lab_id="lab-05",
        name="Quayside Labs",
        country="GB",
        trace_tenant="cluster05",
        class_shares=((H100, PPM),),
        where=Eligibility(countries=("FI", "FR", "IS", "NO")),
    ),
    LabPlan(
        lab_id="lab-06",
        name="Institut Verne",
        country="FR",
        trace_tenant="cluster06",
        class_shares=((H200, 600_000), (H100, 280_000), (MI300X, 120_000)),
        where=_SOVEREIGN,
    ),
    LabPlan(
        lab_id="lab-07",
        name="Cobalt Reasoning",
        country="US",
        trace_tenant="cluster07",
        class_shares=((H100, 480_000), (H200, 320_000), (B200, 200_000)),
        where=_ANYWHERE,
    ),
    LabPlan(
        lab_id="lab-08",
        name="Open Weights Foundation",
        country="DE",
        trace_tenant="cluster08",
        class_shares=((H100, 700_000), (MI300X, 300_000)),
        where=_ANYWHERE,
    ),
    LabPlan(
        lab_id="lab-09",
        name="Prairie Robotics",
        country="US",
        trace_tenant="cluster09",
        class_shares=((H100, PPM),),
        where=Eligibility(pool_ids=("oh-1-h100", "tx-1-h100")),
    ),
    LabPlan(
        lab_id="lab-10",
        name="Newcomer Studio",
        country="US",
        trace_tenant="cluster10",
        class_shares=((H100, PPM),),
        where=_ANYWHERE,
        small_deposit=True,
    ),
    LabPlan(
        lab_id="lab-11",
        name="Aurora Frontier",
        country="NO",
        trace_tenant="",
        class_shares=(),
        where=_SOVEREIGN,
    ),
    LabPlan(
        lab_id="lab-12",
        name="Longhorn Frontier",
        country="US",
        trace_tenant="",
        class_shares=(),
        where=_ANYWHERE,
    ),
)
"""In the order of their identifiers; trace tenants are unique."""
