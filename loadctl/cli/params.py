"""Parameters that several commands share."""

from __future__ import annotations

import re
from pathlib import Path

import click

from loadctl.cli.times import SECONDS, SPAN
from loadctl.units import NS_PER_S

SECONDS_ALONE = re.compile(r"\d+(?:\.\d+)?")


class DurationType(click.ParamType[int]):
    """A span such as 20s, 1.5min, 2h or 3d; plain numbers are seconds. Converts to ns."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        match = SPAN.fullmatch(f"{text}s" if SECONDS_ALONE.fullmatch(text) else text)
        if match is None:
            words = f"{value!r} is no duration; write for example 20s, 10min, 2h or 3d"
            self.fail(words, param, ctx)
        duration_ns = round(float(match[1]) * SECONDS[match[2]] * NS_PER_S)
        if duration_ns == 0:
            self.fail(f"{value!r} is not above 0 s", param, ctx)
        return duration_ns


DURATION_ns = DurationType()


site_argument = click.argument("site", type=click.Path(path_type=Path))
maps_option = click.option(
    "--maps",
    "maps_dirs",
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A directory with device maps of your own; may be given several times.",
)
runtime_dir_option = click.option(
    "--runtime-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to look; default $XDG_RUNTIME_DIR/loadctl, then /run/loadctl.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
