"""`loadctl top`: a live view of a running site, from its image.

Only reads. A site that stops, hangs or restarts while it is watched is said so and watched on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.text import Text

from loadctl import runtime
from loadctl.cli import live
from loadctl.cli.keyboard import Keyboard
from loadctl.cli.look import Look
from loadctl.cli.params import DURATION_ns, runtime_dir_option
from loadctl.cli.view import screen
from loadctl.errors import NotRunning
from loadctl.runtime import SiteDir
from loadctl.status import Status, StatusReader
from loadctl.units import NS_PER_S

KEYS = {"q": "quit", "s": "sort", "j": "down", "k": "up", "g": "home"}
# Asking takes the lock for a moment, and a site that starts in that moment is refused.
ASK_LOCK_EVERY_ns = NS_PER_S


@click.command()
@click.option("--site", "site_name", help="The site's name; needed only where several run.")
@runtime_dir_option
@click.option("--for", "for_ns", type=DURATION_ns, help="End after this long, e.g. 10s.")
@click.option(
    "--baud",
    type=click.IntRange(min=300),
    help="Of a slow line to the terminal; a serial line itself is known.",
)
def top(
    site_name: str | None, runtime_dir: Path | None, for_ns: int | None, baud: int | None
) -> None:
    """Watch a running site: is it safe, what binds, who acts, and the last ten minutes.

    q or ctrl-c ends it; j, k, arrows and page keys scroll the chargers, s puts them in another
    order.
    """
    live.end_on_signals()
    site_dir = runtime.find_site(runtime.search_dirs(runtime_dir), site_name)
    if not site_dir.is_locked():
        raise NotRunning(f"{site_dir.path.name}: not running; see `loadctl status`")
    watch, look = Watch(site_dir), Look()
    try:
        with (
            live.View(live.make_console(), baud, prints_all=True) as view,
            Keyboard(can_stop=True) as keyboard,
            live.Suspension(view, keyboard) as suspension,
        ):
            for now_ns in live.ticks(for_ns):
                suspension.check()
                view.show(watch.lines(now_ns, view, footer(look, keyboard), look))
                for key in keyboard.pressed(view.every_s):
                    if KEYS.get(key) == "quit":
                        return
                    look.press(KEYS.get(key, key))
    except KeyboardInterrupt:
        return


def footer(look: Look, keyboard: Keyboard) -> list[Text]:
    if not keyboard.has_keys:
        return []
    return [Text(f" q quit  j k PgDn PgUp scroll  g top  s order: {look.order}", "dim")]


class Watch:
    """The status of one site, again and again, whatever becomes of it meanwhile."""

    def __init__(self, site_dir: SiteDir) -> None:
        self._site_dir = site_dir
        self._reader = StatusReader(site_dir)
        self._last: Status | None = None
        self._last_at_ns = 0
        self._is_running = True
        self._asked_at_ns = time.monotonic_ns()

    def lines(
        self, now_ns: int, view: live.View, footer: Sequence[Text], look: Look | None = None
    ) -> list[Text]:
        """The screen; one line as long as a site that starts has published nothing."""
        try:
            status = self.look(now_ns)
        except NotRunning as error:
            return [Text(f" {error}"), *footer]
        if look is not None:
            look.now_ns = now_ns
            look.history.note(status, now_ns)
        return screen(status, *view.size, view.glyphs, footer, look)

    def look(self, now_ns: int) -> Status:
        """The newest status; where there is none for now, the last one with its age."""
        try:
            self._last, self._last_at_ns = self._reader.read(now_ns), now_ns
        except NotRunning:
            if self._last is None:
                raise
        status = dict(self._last)
        since_ms = (now_ns - self._last_at_ns) / 1e6
        status["age_ms"] = status["age_ms"] + since_ms
        status["is_stale"] = status["is_stale"] or since_ms > 0
        status["is_running"] = self._is_still_running(status, now_ns)
        if not status["is_running"]:
            status["is_stale"] = True
            if status["mode"] != "stop":  # it was killed: whatever it did last, it does no more
                status["mode"] = "not running"
        return status

    def _is_still_running(self, status: Status, now_ns: int) -> bool:
        """A fresh image is proof enough; only for an old one the lock is asked."""
        if not status["is_stale"]:
            self._is_running = True
        elif now_ns - self._asked_at_ns >= ASK_LOCK_EVERY_ns:
            self._asked_at_ns = now_ns
            self._is_running = self._site_dir.is_locked()
        return self._is_running
