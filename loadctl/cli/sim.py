"""`loadctl sim`: the simulated devices of a site and nothing else."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click

from hw.sim.fault_file import load_faults
from hw.sim.scenario import demo_scenario
from hw.sim.site import SimSite
from loadctl.cli.params import DURATION_ns, maps_option, site_argument
from loadctl.site.load import load_site

LOOK_EVERY_s = 0.2


@click.command()
@site_argument
@click.option("--for", "for_ns", type=DURATION_ns, help="End after this long, e.g. 20s.")
@maps_option
@click.option("--seed", default=1, show_default=True, help="Another seed, other cars.")
@click.option(
    "--faults",
    "faults_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Faults to play, by their times; the file is described in hw/sim/README.md.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the judge's report at the end.")
def sim(
    site: Path,
    for_ns: int | None,
    maps_dirs: tuple[Path, ...],
    seed: int,
    faults_path: Path | None,
    as_json: bool,
) -> None:
    """Run only the simulated devices of SITE; print their ports."""
    tables = load_site(site, maps_dirs).tables
    faults = () if faults_path is None else load_faults(faults_path, tables)
    scenario = replace(demo_scenario(tables, seed), faults=faults)
    with tempfile.TemporaryDirectory(prefix="loadctl-sim-") as folder:
        simulated = SimSite(tables, scenario, Path(folder))
        with simulated:
            for name, port in simulated.ports.items():
                click.echo(f"bus {name}: {port}")
            _wait(simulated, for_ns)
        if as_json:
            click.echo(json.dumps(simulated.report()))


def _wait(simulated: SimSite, for_ns: int | None) -> None:
    """Until ctrl-c, SIGTERM, the time given, or a bus process that ended."""
    end_ns = None if for_ns is None else time.monotonic_ns() + for_ns
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while not simulated.dead() and (end_ns is None or time.monotonic_ns() < end_ns):
            time.sleep(LOOK_EVERY_s)
    except KeyboardInterrupt:
        return
