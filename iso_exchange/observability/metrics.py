"""Metrics of the exchange; names are part of the public interface (ops/prometheus)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

entries = Counter("iso_ledger_entries_total", "Log entries committed by this process")
log_size = Gauge("iso_ledger_size", "Committed log entries")
published_size = Gauge("iso_ledger_published_size", "Entries under the last signed checkpoint")
witness_answers = Counter(
    "iso_witness_answers_total",
    "Answers of witnesses, by witness and finding",
    ["witness", "finding"],
)
refusals = Counter("iso_refusals_total", "Commands refused, by reason code", ["code"])
requests = Counter(
    "iso_requests_total", "gRPC requests, by method and status", ["method", "status"]
)
request_seconds = Histogram("iso_request_seconds", "gRPC request duration", ["method"])
clearing_seconds = Histogram(
    "iso_clearing_seconds",
    "Wall time of one successful clearing, from its start to the committed result",
    buckets=(0.5, 1, 2, 5, 10, 20, 60, 300),
)
run_seconds = Histogram(
    "iso_spot_run_seconds",
    "Wall time of one spot run, from the start of its clearing to published awards",
    buckets=(0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 30),
)
certified_gap_ppb = Gauge(
    "iso_certified_gap_ppb", "Certified welfare gap of the last auction, parts per billion"
)
renewed_runs = Counter(
    "iso_spot_runs_renewed_total", "Spot runs that were not cleared in time and were renewed"
)
webhooks = Counter(
    "iso_webhook_posts_total", "Notices posted to participants, by result", ["result"]
)
instruction_batches = Counter(
    "iso_instruction_batches_total", "Batches of instructions given to suppliers"
)
provisioning_timeouts = Counter(
    "iso_provisioning_timeouts_total", "Starts whose nodes were not handed over in time"
)
settled_hours = Counter("iso_settled_hours_total", "Delivery intervals settled")
allocation = Gauge(
    "iso_allocation_ratio",
    "Chips that carry work over chips in service: awarded in a run, metered over an hour",
    ["market", "measure"],
)
idle_share = Gauge(
    "iso_allocation_idle_ratio",
    "Share of a spot market's capacity that a reason held idle in the last run",
    ["market", "reason"],
)
allocation_level = Gauge(
    "iso_allocation_level",
    "Level of the allocation alarm: 0 normal, 1 warning, 2 major outage",
    ["market"],
)
allocation_alarms = Counter(
    "iso_allocation_alarms_total", "Changes of the alarm's level on record", ["market", "level"]
)
