"""`loadctl failsafe`: bring every charger of a site down when guard and scan are both gone."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from hw.devices import parse_map
from loadctl import runtime
from loadctl import tables as plain
from loadctl.cli.params import maps_option, site_argument
from loadctl.errors import BusError, CheckRefused, ConfigError, LoadctlError
from loadctl.guard.rescue import Outcome, bring_down
from loadctl.link import Link
from loadctl.site.load import load_site
from loadctl.site.proof import prove
from loadctl.status import StatusReader
from loadctl.tables import Tables
from loadctl.units import A_from_mA

FRESH_ms = 60_000  # a service manager is quicker; a person at a terminal is not


@click.command()
@site_argument
@maps_option
@click.option(
    "--runtime-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where image and locks live; default $XDG_RUNTIME_DIR/loadctl, else /run/loadctl.",
)
def failsafe(site: Path, maps_dirs: tuple[Path, ...], runtime_dir: Path | None) -> None:
    """Write min(last setpoint, failsafe current) to every charger of SITE, once.

    For a site that does not run: the stop action of its service, or a person whose gateway is to
    come off the bus. Refuses while it runs. A last setpoint that nobody has known for a minute is
    read first; nothing is ever raised. A SITE that `run` would refuse, for a mistake or because its
    failsafe proof does not hold, is brought down as it ran last; where that is not known either,
    every charger to 0 A. Exit code 4: not every charger acknowledged.
    """
    name, from_file, why_not = site_and_tables(site, maps_dirs)
    dirs = runtime.search_dirs(runtime_dir)
    site_dir, lock_fd = runtime.hold(runtime.where_last(dirs, name), name, dirs)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, lock_fd)
        last = last_tables(site_dir)
        tables, warning = chosen(name, from_file, last, why_not)
        if warning:
            click.echo(f"warning: {warning}", err=True)
        is_known = last is not None and last.site_hash == tables.site_hash and is_fresh(site_dir)
        link = stack.enter_context(link_of(site_dir, tables, is_known=is_known))
        maps = {model: parse_map(raw, model) for model, raw in tables.maps.items()}
        outcomes = bring_down(tables, maps, site_dir.lock_dir, link)
    for outcome in outcomes:
        click.echo(outcome_words(tables, outcome))
    n_open = sum(not outcome.is_acknowledged for outcome in outcomes)
    if n_open:
        raise BusError(
            f"{n_open} of {len(outcomes)} chargers did not acknowledge: their own watchdogs remain"
        )


def site_and_tables(
    site: Path, maps_dirs: tuple[Path, ...]
) -> tuple[str, Tables | None, ConfigError | CheckRefused | None]:
    """The name, which even a file with mistakes has, its tables, and why these cannot be used."""
    try:
        loaded = load_site(site, maps_dirs)
    except ConfigError as error:
        name = runtime.name_in_file(site)
        if name is None:
            raise
        return name, None, error
    name = loaded.tables.site.name
    try:
        prove(loaded.tables, loaded.maps).require()
    except CheckRefused as error:
        return name, loaded.tables, error
    return name, loaded.tables, None


def chosen(
    name: str,
    from_file: Tables | None,
    last: Tables | None,
    why_not: ConfigError | CheckRefused | None,
) -> tuple[Tables, str]:
    """Tables whose failsafe currents hold for the building, and a warning where they are not those
    of the file: what ran last was proven before it ran; 0 A needs no proof."""
    if why_not is None and from_file is not None:
        return from_file, ""
    why = why_not.lines[0] if why_not is not None else "a site file that says nothing"
    if last is not None and last.site.name == name:
        return last, f"as it ran last, for {why}"
    if from_file is None:
        raise why_not or ConfigError(why)
    rows = tuple(dataclasses.replace(row, failsafe_mA=0) for row in from_file.chargers)
    return dataclasses.replace(from_file, chargers=rows), f"every charger to 0 A, for {why}"


def last_tables(site_dir: runtime.SiteDir) -> Tables | None:
    """What ran last, by this version; its files outlive the processes."""
    try:
        return plain.load(site_dir.tables.read_text())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # none, torn, or of another version


def is_fresh(site_dir: runtime.SiteDir) -> bool:
    """Whether the last scan is so young that nobody else can have told the chargers anything."""
    try:
        age_ms = StatusReader(site_dir).read(time.monotonic_ns())["age_ms"]
    except (OSError, LoadctlError):
        return False
    return bool(0 <= age_ms <= FRESH_ms)


@contextlib.contextmanager
def link_of(site_dir: runtime.SiteDir, tables: Tables, *, is_known: bool) -> Iterator[Link]:
    """The link of the run that ended, which holds the last setpoints; else an empty one aside."""
    with tempfile.TemporaryDirectory(prefix="loadctl-failsafe-") as folder:
        n_chargers, n_circuits = len(tables.chargers), len(tables.circuits)
        link = Link.create(Path(folder) / runtime.LINK, n_chargers, n_circuits)
        if is_known:
            with contextlib.suppress(OSError, LoadctlError):
                link = Link.open(site_dir.link)
        yield link


def outcome_words(tables: Tables, outcome: Outcome) -> str:
    name = tables.chargers[outcome.charger_i].name
    if outcome.why:
        return f"{name}: {outcome.why}"
    if outcome.is_acknowledged:
        return f"{name}: {A_from_mA(outcome.target_mA):g} A acknowledged"
    if outcome.is_left_alone:
        return f"{name}: does not obey; nothing is sent, its own watchdog brings it down"
    return f"{name}: {A_from_mA(outcome.target_mA):g} A not acknowledged"
