"""Pools: the chips, their nodes and fabric, who supplies them and how they are accounted."""

from __future__ import annotations

from typing import Final

from clearing.types import MAX_CHIPS
from clearing.units import PPM, Chips, Ppm, Watts
from iso_exchange.api.v1 import pool_pb2, resource_pb2
from iso_exchange.commands import RegisterPool
from iso_exchange.convert import enums
from iso_exchange.convert.fields import BodyError, Reader, malformed, number_of
from iso_exchange.convert.headers import read_header, write_header

SUPPLIER_COUNT_MAX: Final = 64
CHIPS_PER_NODE_MAX: Final = 1_024
NODE_SPARE_DEFAULT_PPM: Final = 10_000
PRECISION_DEFAULT: Final = "BF16"
NO_FABRIC: Final = ""


def read_pool(body: Reader) -> RegisterPool:
    """Registration of a pool."""
    resource = body.child("resource")
    chips_per_node = resource.bounded("chips_per_node", 1, CHIPS_PER_NODE_MAX)
    node_count = resource.bounded("node_count", 1, MAX_CHIPS)
    capacity = body.bounded("capacity_chip_count", 1, MAX_CHIPS)
    if node_count * chips_per_node != capacity:
        raise malformed(
            resource.path("node_count"),
            "nodes times chips per node is the capacity",
            got=f"{node_count} x {chips_per_node}",
            limit=str(capacity),
        )
    scale_out = resource.child_or_none("scale_out")
    spare_ppm = body.integer_or_none("node_spare_ppm")
    return RegisterPool(
        header=read_header(body),
        pool_id=body.identifier("pool_id"),
        site_id=body.reference("site_id"),
        supplier_ids=body.references("supplier_ids", least=1, most=SUPPLIER_COUNT_MAX),
        chip_class=resource.reference("chip_class"),
        chips_per_node=Chips(chips_per_node),
        capacity=Chips(capacity),
        chip_power=Watts(body.bounded("chip_power_watts", 0)),
        node_spare_ppm=Ppm(NODE_SPARE_DEFAULT_PPM if spare_ppm is None else spare_ppm),
        fabric=scale_out.choice("kind", enums.FABRIC) if scale_out else NO_FABRIC,
        derate_ppm=Ppm(body.integer("derate_ppm") or PPM),
        precision=body.choice_or("precision", enums.PRECISION, PRECISION_DEFAULT),
    )


def write_pool(command: RegisterPool) -> pool_pb2.Pool:
    """Body of a pool's registration.

    Raises:
        BodyError: capacity is not whole nodes, or fabric or precision have no wire value.
    """
    if command.chips_per_node <= 0 or command.capacity % command.chips_per_node:
        raise BodyError("capacity_chip_count", f"{command.capacity} chips are not whole nodes")
    if command.derate_ppm == 0:
        raise BodyError("derate_ppm", "0 stands for the default on the wire")
    resource = resource_pb2.ResourceSpec(
        chip_class=command.chip_class,
        chips_per_node=command.chips_per_node,
        node_count=command.capacity // command.chips_per_node,
    )
    if command.fabric != NO_FABRIC:
        resource.scale_out.kind = number_of(enums.FABRIC, command.fabric, "resource.scale_out.kind")
    return pool_pb2.Pool(
        header=write_header(command.header),
        pool_id=command.pool_id,
        site_id=command.site_id,
        resource=resource,
        capacity_chip_count=command.capacity,
        chip_power_watts=command.chip_power,
        node_spare_ppm=command.node_spare_ppm,
        derate_ppm=command.derate_ppm,
        precision=number_of(enums.PRECISION, command.precision, "precision"),
        supplier_ids=command.supplier_ids,
    )
