"""`loadctl run`: check a site, hold its ports, and become its scan."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from hw.bus import lock_port
from loadctl import realtime, runtime
from loadctl import tables as plain
from loadctl.cli.params import maps_option, site_argument
from loadctl.errors import LoadctlError
from loadctl.plan import make_plan
from loadctl.site.load import Site, load_site
from loadctl.site.proof import prove
from loadctl.tables import Tables


@click.command()
@site_argument
@maps_option
@click.option(
    "--runtime-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where image and locks live; default $XDG_RUNTIME_DIR/loadctl, else /run/loadctl.",
)
@click.option(
    "--fifo-priority",
    type=click.IntRange(0, 98),
    default=realtime.FIFO_PRIORITY,
    show_default=True,
    help="SCHED_FIFO priority of the scan; 0 leaves it an ordinary process.",
)
@click.option("--cpu", type=click.IntRange(0), help="Pin the scan to this CPU.")
def run(
    site: Path,
    maps_dirs: tuple[Path, ...],
    runtime_dir: Path | None,
    fifo_priority: int,
    cpu: int | None,
) -> None:
    """Run SITE in the foreground until SIGTERM or ctrl-c.

    Refuses what `check` refuses, a port that is missing or in use, and a second instance. On the
    way out every charger is left at the lower of its last setpoint and its failsafe current.
    """
    loaded = load_site(site, maps_dirs)
    for warning in (*loaded.warnings, *must_hold(loaded)):
        click.echo(f"warning: {warning}", err=True)
    site_dir, lock_fd = runtime.claim(runtime_dir or runtime.default_dir(), loaded.tables.site.name)
    port_fds = hold_ports(loaded.tables, site_dir.lock_dir, lock_fd)
    site_dir.tables.write_text(plain.dump(loaded.tables))
    tables = loaded.tables
    click.echo(
        f"{tables.site.name}: {len(tables.chargers)} chargers, {len(tables.meters)} meters on"
        f" {len(tables.buses)} buses, files in {site_dir.path}"
    )
    options = ["--fifo-priority", str(fifo_priority)]
    options += [] if cpu is None else ["--cpu", str(cpu)]
    become_scan(site_dir, [lock_fd], port_fds, options)


def must_hold(loaded: Site) -> tuple[str, ...]:
    """CheckRefused where proof or bus plan do not hold; the warnings of the proof."""
    proof = prove(loaded.tables, loaded.maps)
    proof.require()
    make_plan(loaded.tables, loaded.maps)
    return proof.warnings


def hold_ports(tables: Tables, lock_dir: Path, site_fd: int) -> list[int]:
    """Every port or none: where one is missing or in use, all locks are let go, the site's too."""
    held: list[int] = []
    try:
        for row in tables.buses:
            held.append(lock_port(row.port, lock_dir))
    except LoadctlError:
        for fd in (*held, site_fd):
            os.close(fd)
        raise
    return held


def become_scan(
    site_dir: runtime.SiteDir, lock_fds: list[int], port_fds: list[int], options: list[str]
) -> NoReturn:
    """The locks go with the process: they live exactly as long as it does."""
    for fd in (*lock_fds, *port_fds):
        os.set_inheritable(fd, True)
    command = [sys.executable, "-P", "-m", "loadctl.scan"]
    command += ["--tables", str(site_dir.tables), "--runtime-dir", str(site_dir.path)]
    command += ["--lock-fds", ",".join(str(fd) for fd in port_fds), *options]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)
