"""`loadctl tune`: what of a running site can be changed, its values, and the changes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import click

from hw.toml_text import read_text
from loadctl import runtime
from loadctl import tables as plain
from loadctl.cli.params import DURATION_ns, json_option, runtime_dir_option
from loadctl.cli.refusals import REFUSALS
from loadctl.cli.tunings import (
    as_dict,
    bounds_of,
    diff_of,
    line_of,
    meaning,
    values_of,
)
from loadctl.control import (
    MOST_STAGED,
    Adopt,
    Answer,
    Change,
    Code,
    Field,
    MOST_SPAN_ns,
    ask_all,
    pack_adopt,
    pack_change,
)
from loadctl.errors import CheckRefused, NotRunning, UsageError
from loadctl.image import Reader
from loadctl.live import LiveSite, amount, amounts, file_value, open_live, parse_values
from loadctl.outside import span_words
from loadctl.saving import (
    alone,
    differing,
    lasting,
    merged,
    note_saved,
    values_on_disk,
)
from loadctl.site.save import write_over
from loadctl.tuning import NOTHING, in_force
from loadctl.units import NS_PER_S, s_from_ns

SERIAL_BYTES = 4
LOOK_EVERY_s = 0.01

site_option = click.option("--site", "site_name", help="The site's name, where several run.")


@click.group()
def tune() -> None:
    """Change a running site: values of [tuning], of chargers and circuits.

    A change is checked as a whole by the rules of the site file and counts from one scan on. It is
    lost when the site stops, unless it is saved. Exit code 1: refused; 2: no such key; 5: not
    running.
    """


def find(site_name: str | None, runtime_dir: Path | None) -> LiveSite:
    return open_live(runtime.find_site(runtime.search_dirs(runtime_dir), site_name))


@tune.command("list")
@click.argument("prefix", default="")
@site_option
@runtime_dir_option
@json_option
def list_keys(prefix: str, site_name: str | None, runtime_dir: Path | None, as_json: bool) -> None:
    """Every key that begins with PREFIX, such as charger.bay1: value, bounds, meaning."""
    live = find(site_name, runtime_dir)
    bounds, now_ns = bounds_of(live), time.monotonic_ns()
    names = [name for name in live.names.values() if name.text.startswith(prefix)]
    if not names:
        live.find(prefix)
    if as_json:
        found = {name.text: as_dict(live, name, bounds, now_ns) for name in names}
        click.echo(json.dumps(found))
        return
    for name in names:
        click.echo(line_of(live, name, bounds, now_ns))
        click.echo(f"    {meaning(name)}")


@tune.command()
@click.argument("key")
@site_option
@runtime_dir_option
@json_option
def get(key: str, site_name: str | None, runtime_dir: Path | None, as_json: bool) -> None:
    """The value of KEY that is in force."""
    live = find(site_name, runtime_dir)
    found = (live, live.find(key), bounds_of(live), time.monotonic_ns())
    click.echo(json.dumps(as_dict(*found)) if as_json else line_of(*found))


@tune.command("set")
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option("--for", "span_ns", type=DURATION_ns, help="How long, such as 10m; then it ends.")
@site_option
@runtime_dir_option
@json_option
def set_keys(
    pairs: tuple[str, ...],
    span_ns: int | None,
    site_name: str | None,
    runtime_dir: Path | None,
    as_json: bool,
) -> None:
    """Change one or several keys; all of them count from the same scan on, or none.

    A limit of a circuit is one number, or three: circuit.main.limit_A=50,50,63. With --for the
    values fall back by themselves to what was in force beneath them.
    """
    live = find(site_name, runtime_dir)
    if span_ns is not None and span_ns > MOST_SPAN_ns:
        most = span_words(s_from_ns(MOST_SPAN_ns))
        raise UsageError(f"--for: {span_words(s_from_ns(span_ns))} is above {most}")
    changes: dict[int, int | None] = {}
    for pair in pairs:
        text, has_value, value = pair.rpartition("=")  # a name may hold one, too
        if not has_value:
            raise UsageError(f"{pair!r} is not KEY=VALUE")
        name = live.find(text.strip())
        if name.slots[0] in changes:
            raise UsageError(f"{name.text}: is set twice")
        changes.update(zip(name.slots, parse_values(name, value), strict=True))
    if len(changes) > MOST_STAGED:
        raise UsageError(f"{len(changes)} values at once; at most {MOST_STAGED}")
    change(live, [changes], span_ns, as_json)


@tune.command()
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@site_option
@runtime_dir_option
@json_option
def revert(
    keys: tuple[str, ...], site_name: str | None, runtime_dir: Path | None, as_json: bool
) -> None:
    """Let KEYs, or all that was changed, be as the site file says again."""
    live = find(site_name, runtime_dir)
    slots = [slot for key in keys for slot in live.find(key).slots] if keys else [*live.layers]
    if not slots:
        click.echo(json.dumps({"accepted": True, "keys": {}}) if as_json else "nothing is changed")
        return
    change(live, in_parts(live, slots), None, as_json)


@tune.command()
@site_option
@runtime_dir_option
@json_option
def diff(site_name: str | None, runtime_dir: Path | None, as_json: bool) -> None:
    """What differs from the site file, and what of it would be lost when the site stops."""
    live = find(site_name, runtime_dir)
    now_ns = time.monotonic_ns()
    on_disk = values_on_disk(live)
    elsewhere = differing(live, on_disk)
    names = [
        name
        for name in live.names.values()
        if name in elsewhere or any(slot in live.layers for slot in name.slots)
    ]
    found = {name.text: diff_of(live, name, on_disk, now_ns) for name in names}
    if as_json:
        click.echo(json.dumps(found))
        return
    for name in names:
        key, row = name.key, found[name.text]
        site, now = values_of(live.slots.site, name), values_of(live.counts, name)
        if not any(slot in live.layers for slot in name.slots):
            disk = amounts(key, [on_disk[slot] for slot in name.slots])
            click.echo(f"{name.text}  {amounts(key, now)}, from the next start on {disk}")
            continue
        fate = "saved" if row["is_saved"] else "lost when the site stops"
        if row["for_s"] is not None:
            fate = f"for {span_words(row['for_s'])} more"
        click.echo(f"{name.text}  {amounts(key, site)} -> {amounts(key, now)}, {fate}")
    if not names:
        click.echo("nothing differs from the site file")


@tune.command()
@click.argument("site_file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Also into a file that was changed since the start.")
@site_option
@runtime_dir_option
@json_option
def save(
    site_file: Path | None,
    force: bool,
    site_name: str | None,
    runtime_dir: Path | None,
    as_json: bool,
) -> None:
    """Write what was changed into the site file, or into SITE_FILE; all else in it stays.

    What holds for a time only is not written. The new file is checked as a whole first.
    """
    site_dir = runtime.find_site(runtime.search_dirs(runtime_dir), site_name)
    with alone(site_dir):
        live = open_live(site_dir)
        path = site_file or Path(live.source.path)
        before = read_text(path)
        if not live.source.is_as_known(before) and not force:
            raise CheckRefused(
                f"{path}: was changed since the site was started; look at it, then --force writes"
                " into it as it is now"
            )
        found = merged(live, path, before)
        write_over(path, found.text, before)
        if path.resolve() == Path(live.source.path).resolve():
            warning = note_saved(live, found.text)
            if warning:
                click.echo(f"warning: {warning}", err=True)
    if as_json:
        saved = {name.text: file_value(name.key, lasting(live, name)) for name in found.written}
        kept = {name.text: file_value(name.key, values) for name, values in found.kept.items()}
        click.echo(json.dumps({"path": str(path), "saved": saved, "kept": kept}))
        return
    said = ", ".join(name.text for name in found.written) or "nothing differs"
    click.echo(f"saved in {path}: {said}")
    for name, values in found.kept.items():
        click.echo(f"kept as written by hand: {name.text} {amounts(name.key, values)}")


# changes


def in_parts(live: LiveSite, slots: Iterable[int]) -> list[dict[int, int | None]]:
    """What lets these slots be as the site file says, in parts that a scan takes.

    Charger and circuit stay whole: rules look at one of them.
    """
    parts: list[dict[int, int | None]] = [{}]
    for _, own in groupby(sorted(set(slots)), lambda slot: whose(live, slot)):
        owned = dict.fromkeys(own)
        if len(parts[-1]) + len(owned) > MOST_STAGED:
            parts.append({})
        parts[-1].update(owned)
    return parts


def whose(live: LiveSite, slot: int) -> tuple[str, int]:
    key, who = live.slots.place_of(slot)
    return key.table, who


def change(
    live: LiveSite, parts: list[dict[int, int | None]], span_ns: int | None, as_json: bool
) -> None:
    """Judge a change as a whole, have its parts adopted, say what became of it."""
    changes = {slot: value for part in parts for slot, value in part.items()}
    now_ns = time.monotonic_ns()
    fresh = live.fresh(changes, None if span_ns is None else now_ns + span_ns)
    warnings = live.judge(fresh, now_ns)
    for part in parts:
        send(live, part, span_ns)
    layers = {**live.layers, **fresh}
    asked = [
        in_force(site, layers.get(slot, NOTHING), now_ns)
        for slot, site in enumerate(live.slots.site)
    ]
    after = live.slots.lifted(asked)
    names = list({live.name_of(slot).text: live.name_of(slot) for slot in changes}.values())
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        keys = {
            name.text: {
                "value": file_value(name.key, values_of(after, name)),
                "before": file_value(name.key, values_of(live.counts, name)),
            }
            for name in names
        }
        for_s = None if span_ns is None else s_from_ns(span_ns)
        click.echo(json.dumps({"accepted": True, "for_s": for_s, "keys": keys}))
        return
    for name in names:
        before, now = values_of(live.counts, name), values_of(after, name)
        span = "" if span_ns is None else f", for {span_words(s_from_ns(span_ns))}"
        click.echo(
            f"accepted: {name.text} {amounts(name.key, before)} -> {amounts(name.key, now)}{span}"
        )


def send(live: LiveSite, changes: dict[int, int | None], span_ns: int | None) -> None:
    serial = int.from_bytes(os.urandom(SERIAL_BYTES), "little")
    site_hash = plain.signed_hash(live.tables)
    places = [(live.slots.place_of(slot), value) for slot, value in changes.items()]
    records = [
        pack_change(Change(key.number, who, value), serial, site_hash)
        for (key, who), value in places
    ]
    records.append(pack_adopt(Adopt(len(changes), span_ns), serial, site_hash))
    answers = ask_all(live.site_dir.control, records, serial)
    for slot, answer in zip((*changes, None), answers, strict=False):  # fewer answers: not allowed
        if answer.code is not Code.ACCEPTED:
            raise CheckRefused(refusal_text(live, slot, answer))
    wait_for_image(live, time.monotonic_ns())


def wait_for_image(live: LiveSite, accepted_at_ns: int) -> None:
    """A scan adopts and then publishes; who asks next is to see what counts now. A scan that stops
    meanwhile is not waited for."""
    period_ns = live.tables.site.period_ns
    end_ns = accepted_at_ns + NS_PER_S + 2 * period_ns
    while time.monotonic_ns() < end_ns:
        try:
            published_at_ns = Reader(live.site_dir.image).snapshot()["scan"]["published_at_ns"]
        except (FileNotFoundError, NotRunning):
            return
        if published_at_ns > accepted_at_ns:
            return
        time.sleep(LOOK_EVERY_s)


def refusal_text(live: LiveSite, asked: int | None, answer: Answer) -> str:
    """`asked`: the slot that was to be changed; None where all of them were to count."""
    if answer.code is Code.BREAKS_RULE:
        slot = live.slots.slot_of(answer.least, answer.most)
        where = "a rule of the site" if slot is None else live.name_of(slot).text
        return f"{where}: refused beside what was changed by others meanwhile; look and try again"
    if answer.code is Code.OUT_OF_BOUNDS and asked is not None:
        key, name = live.slots.place_of(asked)[0], live.name_of(asked)
        least, most = amount(key, answer.least), amount(key, answer.most)
        bound = f"no multiple of {least}" if answer.field is Field.STEP else ""
        said = bound or f"not within {least} to {most}"
        return f"{name.text}: refused by the running scan: {said}"
    if answer.code is Code.OUT_OF_BOUNDS:
        least, most = (span_words(s_from_ns(span)) for span in (answer.least, answer.most))
        return f"--for: refused by the running scan: not within {least} to {most}"
    return REFUSALS[answer.code]
