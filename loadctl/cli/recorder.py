"""`loadctl recorder`: copies what a running site has to tell from memory to a disk.

Nothing of the site waits for it. It waits for a site that does not run yet, follows its restarts,
and ends on SIGTERM after a last flush.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import click

from hw.toml_text import parsed, read_text
from loadctl import runtime
from loadctl.cli.params import runtime_dir_option
from loadctl.errors import ConfigError, NotRunning
from loadctl.flight.writer import KEEP_BYTES, KEEP_s
from loadctl.journal import loop, place
from loadctl.journal.sql import Bounds
from loadctl.units import NS_PER_S, ns_from_s

FIND_EVERY_ns = NS_PER_S
S_PER_DAY = 86_400
BYTES_PER_MB = 1_000_000
DEFAULT = Bounds()


def _days_option(
    flag: str, most: int, default: int, help: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    days = click.IntRange(1, most)
    return click.option(flag, type=days, default=default, show_default=True, help=help)


@click.command()
@click.option(
    "--site",
    "site",
    help="The site's name, or its site file; needed only where several run.",
)
@runtime_dir_option
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Where to write; default $STATE_DIRECTORY, /var/lib/loadctl, or ~/.local/state/loadctl.",
)
@click.option(
    "--flush-s",
    type=click.FloatRange(0.2, 60),
    default=2.0,
    show_default=True,
    help="Store about so often; a power cut loses no more than that.",
)
@click.option(
    "--event-rows",
    type=click.IntRange(1_000, 100_000_000),
    default=DEFAULT.event_rows,
    show_default=True,
    help="Keep at most so many events.",
)
@_days_option("--event-days", 3_650, DEFAULT.event_days, "Keep events so long.")
@_days_option("--second-days", 366, DEFAULT.second_days, "Keep one-second history so long.")
@_days_option(
    "--minute-days", 3_650, DEFAULT.minute_days, "Keep one-minute history and sessions so long."
)
@_days_option("--flight-days", 366, KEEP_s // S_PER_DAY, "Keep recordings of every scan so long.")
@click.option(
    "--flight-mb",
    type=click.IntRange(0, 1_000_000),
    default=KEEP_BYTES // BYTES_PER_MB,
    show_default=True,
    help="Let them take at most so many MB; 0: none are made.",
)
def recorder(
    site: str | None,
    runtime_dir: Path | None,
    state_dir: Path | None,
    flush_s: float,
    event_rows: int,
    event_days: int,
    second_days: int,
    minute_days: int,
    flight_days: int,
    flight_mb: int,
) -> None:
    """Record the events, the history and every scan of a running site.

    Exit code 2 where the state directory cannot be written.
    """
    named = Named(site)
    top = place.state_dir(state_dir)
    place.require_writable(top)
    bounds = Bounds(event_rows, event_days, second_days, minute_days)
    dirs = runtime.search_dirs(runtime_dir)
    with loop.stoppable() as sleep:
        while not sleep(0):
            site_dir = wait_for_site(dirs, named, sleep)
            if site_dir is None:
                return
            folder = place.Place(top / site_dir.path.name)
            lock_fd = place.hold(folder.path)
            say(f"{site_dir.path.name}: records to {folder.path}")
            drains = loop.drains_of(
                site_dir,
                folder,
                bounds,
                ns_from_s(flush_s),
                flight_days * S_PER_DAY,
                flight_mb * BYTES_PER_MB,
                say,
            )
            begun = named.name

            def is_over(begun: str | None = begun) -> bool:
                return sleep(loop.LOOK_EVERY_ns) or is_elsewhere(dirs, named, begun)

            loop.run(drains, is_over, say)
            os.close(lock_fd)


class Named:
    """The site that was asked for. Of a file it is the name in there, whenever that is changed."""

    def __init__(self, site: str | None) -> None:
        self.site = site
        self._seen = self._stamp()
        self.name = None if site is None else name_of(site)

    def look(self) -> None:
        """Keeps the name while the file is gone or cannot be read: somebody is editing it."""
        stamp = self._stamp()
        if self.site is None or stamp == self._seen:
            return
        with contextlib.suppress(ConfigError):
            self.name = name_of(self.site)
            self._seen = stamp

    def _stamp(self) -> tuple[int, int, int] | None:
        if self.site is None or not self.site.endswith(".toml"):
            return None
        try:
            found = os.stat(self.site)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def is_elsewhere(dirs: list[Path], named: Named, begun: str | None) -> bool:
    """Whether the site was given another name than `begun` and runs under that by now."""
    named.look()
    if named.name == begun:
        return False
    try:
        return runtime.find_site(dirs, named.name).is_locked()
    except NotRunning:
        return False


def name_of(site: str) -> str:
    """The name of a site; of a file the one that it gives itself. Nothing else of it is looked
    at."""
    if not site.endswith(".toml"):
        return site
    raw = parsed(Path(site), read_text(Path(site)))
    try:
        return str(raw["site"]["name"])
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{site}: no site file with a site.name ({error})") from error


def wait_for_site(dirs: list[Path], named: Named, sleep: loop.Sleep) -> runtime.SiteDir | None:
    """Where the site is, once it was started; None where we are told to stop before."""
    has_said = False
    while True:
        try:
            return runtime.find_site(dirs, named.name)
        except NotRunning as error:
            if not has_said:
                say(f"{error}; waits for it")
            has_said = True
        if sleep(FIND_EVERY_ns):
            return None
        named.look()


def say(words: str) -> None:
    click.echo(words, err=True)
