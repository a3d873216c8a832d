"""`loadctl run`: check a site, claim it, and become its guard."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from loadctl import realtime, runtime
from loadctl import tables as plain
from loadctl.cli.params import maps_option, site_argument
from loadctl.guard.child import SCAN_MODULE
from loadctl.guard.watch import CRASH_LIMIT, CRASH_WINDOW_ns
from loadctl.plan import make_plan
from loadctl.site.load import Site, load_site
from loadctl.site.proof import prove
from loadctl.site.source import source_of
from loadctl.units import NS_PER_S


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
    help="SCHED_FIFO priority of the scan, the guard's is 10 higher; 0: ordinary processes.",
)
@click.option("--cpu", type=click.IntRange(0), help="Pin the scan to this CPU.")
@click.option(
    "--watchdog-device",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Feed this hardware watchdog, such as /dev/watchdog.",
)
@click.option("--crash-limit", type=click.IntRange(1), default=CRASH_LIMIT, hidden=True)
@click.option("--crash-window-s", type=float, default=CRASH_WINDOW_ns / NS_PER_S, hidden=True)
@click.option("--scan-module", default=SCAN_MODULE, hidden=True)
def run(
    site: Path,
    maps_dirs: tuple[Path, ...],
    runtime_dir: Path | None,
    **for_guard: object,
) -> None:
    """Run SITE in the foreground until SIGTERM or ctrl-c.

    Refuses what `check` refuses, a port that is missing or in use, and a second instance. The guard
    starts the scan, takes the buses over when it is late, and starts it again. On the way out every
    charger is left at the lower of its last setpoint and its failsafe current. Exit code 4: not
    every charger acknowledged that.
    """
    loaded = load_site(site, maps_dirs)
    for warning in (*loaded.warnings, *must_hold(loaded)):
        click.echo(f"warning: {warning}", err=True)
    dirs = runtime.search_dirs(runtime_dir)
    site_dir, lock_fd = runtime.claim(dirs[0], loaded.tables.site.name, dirs)
    if not runtime.is_in_memory(site_dir.path):
        click.echo(
            f"warning: runtime directory {site_dir.path} is on a disk, whose writes guard and scan"
            " may have to wait for; one in memory, such as /run, is better",
            err=True,
        )
    site_dir.tables.write_text(plain.dump(loaded.tables))
    source_of(loaded, maps_dirs).keep_in(site_dir)
    tables = loaded.tables
    click.echo(
        f"{tables.site.name}: {len(tables.chargers)} chargers, {len(tables.meters)} meters on"
        f" {len(tables.buses)} buses, files in {site_dir.path}"
    )
    options = [word for name, value in sorted(for_guard.items()) for word in option(name, value)]
    become_guard(site_dir, lock_fd, options)


def option(name: str, value: object) -> list[str]:
    return [] if value is None else [f"--{name.replace('_', '-')}", str(value)]


def must_hold(loaded: Site) -> tuple[str, ...]:
    """CheckRefused where proof or bus plan do not hold; the warnings of the proof."""
    proof = prove(loaded.tables, loaded.maps)
    proof.require()
    make_plan(loaded.tables, loaded.maps)
    return proof.warnings


def become_guard(site_dir: runtime.SiteDir, lock_fd: int, options: list[str]) -> NoReturn:
    """The lock of the site goes with the process, and with every scan that it starts."""
    os.set_inheritable(lock_fd, True)
    command = [sys.executable, "-P", "-m", "loadctl.guard"]
    command += ["--tables", str(site_dir.tables), "--runtime-dir", str(site_dir.path)]
    command += ["--lock-fd", str(lock_fd), *options]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)
