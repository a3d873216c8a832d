"""`loadctl backup` and `loadctl restore`: site files, own maps and journals in one archive."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from loadctl import backup as archive
from loadctl import runtime
from loadctl.errors import ConfigError
from loadctl.journal import place
from loadctl.site.load import load_site

CONFIG_DIR = Path("/etc/loadctl")
folder = click.Path(file_okay=False, path_type=Path)
archive_argument = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


def with_places(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where everything lies."""
    for option in (
        click.option("--state-dir", type=folder, help="Where journals lie; as for the recorder."),
        click.option("--maps", "maps_dir", type=folder, help="Own maps; default CONFIG_DIR/maps."),
        click.option(
            "--config-dir",
            type=folder,
            envvar="CONFIGURATION_DIRECTORY",  # of systemd
            default=CONFIG_DIR,
            show_default=True,
            help="Where site files lie.",
        ),
    ):
        command = option(command)
    return command


def places_of(config_dir: Path, maps_dir: Path | None, state_dir: Path | None) -> archive.Places:
    return archive.Places(config_dir, maps_dir or config_dir / "maps", place.state_dir(state_dir))


@click.command()
@archive_argument
@with_places
def backup(file: Path, config_dir: Path, maps_dir: Path | None, state_dir: Path | None) -> None:
    """Write every site file, own map and journal of this gateway to FILE, a .tar.gz.

    May run at any time: a journal is copied whole while its recorder writes.
    """
    made = archive.make(file, places_of(config_dir, maps_dir, state_dir), version("loadctl"))
    for member in made.files:
        click.echo(f"{member.name}: {member.n_bytes} bytes")
    click.echo(f"{file}: {len(made.files)} files, {file.stat().st_size} bytes")


@click.command()
@archive_argument
@with_places
@click.option(
    "--runtime-dir",
    type=folder,
    help="Where running sites are looked for; default $XDG_RUNTIME_DIR/loadctl, then /run/loadctl.",
)
def restore(
    file: Path,
    config_dir: Path,
    maps_dir: Path | None,
    state_dir: Path | None,
    runtime_dir: Path | None,
) -> None:
    """Put back what FILE holds: all of it or, where anything is wrong, nothing.

    Refuses while one of its sites runs or a recorder has one of its journals open. What it replaces
    is kept beside it in a folder `replaced-` and the time.
    """
    places = places_of(config_dir, maps_dir, state_dir)
    with archive.unpacked(file) as (manifest, copies), contextlib.ExitStack() as locks:
        for name in names_of(copies, places):
            for top in runtime.search_dirs(runtime_dir):
                if (top / runtime.slug(name)).is_dir():
                    locks.callback(os.close, runtime.hold(top, name)[1])
        archive.require_unused([places.of(n) for n in copies if n.startswith("journals/")])
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        replaced = archive.put_back(copies, places, stamp)
    for path, aside in replaced.items():
        click.echo(f"{path}" + (f", before: {aside}" if aside is not None else ""))
    click.echo(f"{len(replaced)} files of {manifest.made_at}, loadctl {manifest.version}")
    warn_of_mistakes(copies, places)


def names_of(copies: dict[str, Path], places: archive.Places) -> list[str]:
    """What the sites are called, in the archive and where its files go to."""
    sites = [name for name in copies if name.endswith(".toml") and name.startswith("sites/")]
    found = {
        runtime.name_in_file(path) for name in sites for path in (copies[name], places.of(name))
    }
    return sorted(name for name in found if name is not None)


def warn_of_mistakes(copies: dict[str, Path], places: archive.Places) -> None:
    """A backup of a site that was not finished is one too: it is restored, and that is said."""
    maps = [places.maps] if places.maps.is_dir() else []
    for name in copies:
        if name.startswith("sites/") and name.endswith(".toml"):
            try:
                load_site(places.of(name), maps)
            except ConfigError as error:
                click.echo(f"warning: `loadctl check` refuses it: {error}", err=True)
