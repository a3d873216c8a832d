"""Pictures of what an operator sees, for docs/: a demo site that runs in real time, drawn as SVG.

`scripts/screenshots` makes them anew. Nothing in them is made up: the site, its devices and its
cars are those of `loadctl demo`, and the lines are those of `top` and `status`.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from loadctl.answers import Status, answers
from loadctl.cli import demo
from loadctl.cli.keyboard import Keyboard
from loadctl.cli.look import Look
from loadctl.cli.show import show_prose
from loadctl.cli.top import footer
from loadctl.cli.view import acts_lines, screen
from loadctl.why import why_charger

FOLDER = Path(__file__).resolve().parents[2] / "docs/images"
# Without fonts from elsewhere: a page that is read offline looks the same.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
FORMAT = FORMAT.replace("Fira Code", "DejaVu Sans Mono")
REDRAW_EVERY_s = 0.25


class Keys(Keyboard):
    """As on a terminal: the last line says which keys there are."""

    has_keys = True  # type: ignore[assignment]


def watched(span_s: float, seed: int) -> tuple[Status, Look]:
    """The status of a demo site after so long, and the history until then."""
    look, status = Look(), {}
    with tempfile.TemporaryDirectory(prefix="loadctl-shots-") as name:
        folder = Path(name)
        simulated, site_path, _ = demo.simulated_site(folder, seed)
        with simulated:
            guard = demo.start_guard(site_path, folder)
            try:
                watch = demo.first_status(guard, folder)
                end_s = time.monotonic() + span_s
                while time.monotonic() < end_s:
                    look.now_ns = time.monotonic_ns()
                    status = watch.look(look.now_ns)
                    look.history.note(status, look.now_ns)
                    time.sleep(REDRAW_EVERY_s)
            finally:
                demo.stop(guard)
    return status, look


def picture(lines: Sequence[Text], width: int, title: str, path: Path) -> None:
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(line, soft_wrap=True)
    svg = console.export_svg(title=title, theme=MONOKAI, code_format=FORMAT, unique_id=path.stem)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


def prose(lines: Sequence[str]) -> list[Text]:
    """As `status` wraps it."""
    console = Console(file=io.StringIO(), width=80)
    show_prose(console, lines)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    return [Text(line) for line in written.splitlines()]


def most_limited(status: Status) -> str:
    """A charger that a limit holds back; else the first."""
    bound = [name for name, charger in status["chargers"].items() if charger["binding"]]
    return next(iter(bound or status["chargers"]))


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__)
    parser.add_argument("--seconds", type=float, default=240, help="that the site runs (240)")
    parser.add_argument("--seed", type=int, default=1, help="of its cars (1)")
    parser.add_argument("--into", type=Path, default=FOLDER)
    arguments = parser.parse_args(argv)
    arguments.into.mkdir(parents=True, exist_ok=True)
    status, look = watched(arguments.seconds, arguments.seed)
    keys = footer(look, Keys())
    for width, height in ((80, 24), (120, 40)):
        lines = screen(status, width, height, None, keys, look)
        path = arguments.into / f"top-{width}x{height}.svg"
        picture(lines, width, "loadctl top", path)
    page = prose([*answers(status), *(line.plain[1:] for line in acts_lines(status))])
    picture(page, 80, "loadctl status", arguments.into / "status.svg")
    name = most_limited(status)
    why = prose(why_charger(status, name))
    picture(why, 80, f"loadctl status {name}", arguments.into / "why.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
