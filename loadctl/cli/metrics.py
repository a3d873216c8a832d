"""`loadctl metrics`: the page that Prometheus scrapes, from a process of its own.

Only reads, and only when it is asked. Goes on through stops, restarts and the absence of sites.
"""

from __future__ import annotations

import signal
from pathlib import Path

import click
from prometheus_client.registry import CollectorRegistry

from loadctl import runtime
from loadctl.cli.params import runtime_dir_option
from loadctl.errors import UsageError
from loadctl.metrics.collect import SiteCollector
from loadctl.metrics.serve import PATH, MetricsServer, parse_address

LISTEN = "127.0.0.1:9763"


@click.command()
@click.option("--site", "site_name", help="Only the site of this name; else all there are.")
@runtime_dir_option
@click.option("--listen", default=LISTEN, show_default=True, help="Address and port.")
@click.option(
    "--allow-remote",
    is_flag=True,
    help="Listen on an address that other machines reach; nobody is asked who they are.",
)
def metrics(
    site_name: str | None, runtime_dir: Path | None, listen: str, allow_remote: bool
) -> None:
    """Serve the state of running sites to Prometheus, at /metrics. ctrl-c or SIGTERM ends it."""
    address = parse_address(listen)
    if not address.ip.is_loopback:
        if not allow_remote:
            raise UsageError(
                f"--listen {listen}: other machines reach this address, without a password;"
                " choose 127.0.0.1, or say --allow-remote"
            )
        click.echo(f"warning: {address} answers every machine that reaches it", err=True)
    registry = CollectorRegistry()
    registry.register(SiteCollector(runtime.search_dirs(runtime_dir), site_name))
    try:
        server = MetricsServer(address, registry)
    except OSError as error:
        raise UsageError(f"--listen {listen}: {error.strerror}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with server:
        click.echo(f"http://{server.address}{PATH}")
        try:
            server.serve_forever(poll_interval=0.5)
        except KeyboardInterrupt:
            return
