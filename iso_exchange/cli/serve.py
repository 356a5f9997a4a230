"""``iso serve``: the whole exchange in one process group, or one of its roles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iso_exchange import config as configuration
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import settings_of

ServerName = Annotated[
    list[str] | None,
    typer.Option("--server-name", help="Further host name of the server certificate."),
]
DrainSeconds = Annotated[
    float,
    typer.Option("--drain-seconds", help="Time for calls in flight when the server stops."),
]
WitnessPolicy = Annotated[
    Path | None,
    typer.Option("--witness-policy", help="C2SP tlog-policy file: witnesses and quorum."),
]
WitnessSeconds = Annotated[
    float, typer.Option("--witness-seconds", help="Time for witnesses to answer.")
]
TimestampUrl = Annotated[
    str, typer.Option("--timestamp-url", help="RFC 3161 authority that stamps checkpoints.")
]
TimestampSeconds = Annotated[
    float, typer.Option("--timestamp-seconds", help="Time between two stamps.")
]
WebhookLoopback = Annotated[
    bool, typer.Option("--webhook-loopback", help="Let webhooks call this machine, without TLS.")
]
LogLevel = Annotated[
    str, typer.Option("--log-level", help=f"{', '.join(configuration.LOG_LEVELS)}.")
]
ProcessRole = Annotated[
    configuration.Role,
    typer.Option("--role", help="What this process does; apart they need --database-url."),
]
MlDsa = Annotated[
    bool,
    typer.Option(
        "--ml-dsa/--no-ml-dsa", help="A new exchange signs checkpoints with ML-DSA-44 too."
    ),
]


def serve(
    context: typer.Context,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data directory. Default: the global --data.")
    ] = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="gRPC; port 0: choose one.")
    ] = configuration.GRPC_LISTEN_DEFAULT,
    http_listen: Annotated[
        str, typer.Option("--http-listen", metavar="HOST:PORT", help="Metrics and log files.")
    ] = configuration.HTTP_LISTEN_DEFAULT,
    database_url: Annotated[
        str,
        typer.Option(
            "--database-url",
            envvar=configuration.DATABASE_URL_VARIABLE,
            help="PostgreSQL server. Default: an embedded one below the data directory.",
        ),
    ] = "",
    clock: Annotated[
        str, typer.Option("--clock", help="system, or simulated:2026-10-05T00:00:00Z.")
    ] = "system",
    origin: Annotated[
        str, typer.Option("--origin", help="Name of the log, part of everything that is signed.")
    ] = configuration.ORIGIN_DEFAULT,
    server_name: ServerName = None,
    drain_seconds: DrainSeconds = configuration.DRAIN_SECONDS_DEFAULT,
    witness_policy: WitnessPolicy = None,
    witness_seconds: WitnessSeconds = configuration.WITNESS_SECONDS_DEFAULT,
    timestamp_url: TimestampUrl = "",
    timestamp_seconds: TimestampSeconds = configuration.TIMESTAMP_SECONDS_DEFAULT,
    ml_dsa: MlDsa = True,
    webhook_loopback: WebhookLoopback = False,
    role: ProcessRole = configuration.Role.ALL,
    log_level: LogLevel = "INFO",
) -> None:
    """Run the exchange until it is told to stop. The first start makes keys and an operator.

    Logs go to standard error. Ends with 0 after an orderly stop, 1 when it has to be started
    again, 2 when it does not start as configured.
    """
    if log_level.upper() not in configuration.LOG_LEVELS:
        raise BadValue(
            "--log-level", f"expected one of {', '.join(configuration.LOG_LEVELS)}", got=log_level
        )
    try:
        config = configuration.Config(
            data=data or settings_of(context).data,
            origin=origin,
            grpc=configuration.parse_listen(listen),
            http=configuration.parse_listen(http_listen),
            server_names=tuple(server_name or ()),
            database_url=database_url or None,
            simulated_start_us=configuration.parse_clock(clock),
            drain_seconds=drain_seconds,
            log_level=log_level.upper(),
            witness_policy=witness_policy,
            witness_seconds=witness_seconds,
            timestamp_url=timestamp_url,
            timestamp_seconds=timestamp_seconds,
            second_signature=ml_dsa,
            webhook_loopback=webhook_loopback,
            role=role,
        )
    except configuration.ConfigError as error:
        raise BadValue("serve", str(error)) from error
    from iso_exchange import server

    raise typer.Exit(server.serve(config))
