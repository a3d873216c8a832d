"""`loadctl limit`: what a grid operator, a ripple control receiver or a person allows a circuit."""

from __future__ import annotations

import json
import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from loadctl import runtime
from loadctl import tables as plain
from loadctl.cli.params import DURATION_ns, json_option, runtime_dir_option
from loadctl.cli.refusals import REFUSALS
from loadctl.control import Answer, Code, Field, Limit, ask, limit_bounds, pack_limit
from loadctl.errors import CheckRefused, NotRunning, UsageError
from loadctl.outside import currents_words, span_words
from loadctl.runtime import SiteDir
from loadctl.tables import CircuitRow, Phases, Tables
from loadctl.units import (
    N_PHASES,
    A_list_from_mA,
    W_from_kW_floor,
    kW_from_W,
    mA_from_A_floor,
    s_from_ns,
)

SERIAL_BYTES = 4
# How the numbers of a record are called and counted on the command line.
OPTIONS = {Field.LIMIT_mA: "--amps", Field.POWER_W: "--kw", Field.SPAN_ns: "--for"}
PER_UNIT = {Field.LIMIT_mA: (1_000, "A"), Field.POWER_W: (1_000, "kW"), Field.SPAN_ns: (10**9, "s")}


class AmpsType(click.ParamType[list[Decimal]]):
    """One number for all phases, or three for L1, L2, L3."""

    name = "amps"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Decimal]:
        words = str(value).split(",")
        if len(words) not in (1, N_PHASES):
            self.fail(f"{value!r} is neither one number nor three, such as 10 or 10,10,16")
        numbers = [_number(self, word, "amps") for word in words]
        return numbers if len(numbers) == N_PHASES else numbers * N_PHASES


class KilowattType(click.ParamType[Decimal]):
    name = "kw"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        return _number(self, str(value), "kilowatts")


def _number(kind: click.ParamType[Any], word: str, unit: str) -> Decimal:
    try:
        number = Decimal(word.strip())
    except InvalidOperation:
        kind.fail(f"{word!r} is no number of {unit}")
    if not number.is_finite():
        kind.fail(f"{word!r} is no number of {unit}")
    return number


@click.command()
@click.argument("circuit")
@click.option("--amps", type=AmpsType(), help="Per phase: one number, or three: 10,10,16. 0 is 0.")
@click.option("--kw", type=KilowattType(), help="Total power. 0 is 0.")
@click.option(
    "--for",
    "span_ns",
    type=DURATION_ns,
    help="How long, such as 2h; default: until the next command.",
)
@click.option("--clear", is_flag=True, help="There is no limit from outside.")
@click.option("--site", "site_name", help="The site's name; needed only where several run.")
@runtime_dir_option
@json_option
def limit(
    circuit: str,
    amps: list[Decimal] | None,
    kw: Decimal | None,
    span_ns: int | None,
    clear: bool,
    site_name: str | None,
    runtime_dir: Path | None,
    as_json: bool,
) -> None:
    """Limit CIRCUIT of a running site from outside, or say with --clear that there is no limit.

    Each command replaces all of the one before on this circuit. It counts from the next scan on.
    Exit code 1: the site refused it; 2: it breaks a bound; 5: nobody took it.
    """
    if clear == (amps is not None or kw is not None):
        raise UsageError("give --amps, --kw or both; or --clear alone, with --for if it ends")
    site_dir = runtime.find_site(runtime.search_dirs(runtime_dir), site_name)
    if not site_dir.is_locked():
        raise NotRunning(f"{site_dir.path.name}: not running")
    tables = plain.load_file(site_dir.tables)
    circuit_i = find_circuit(tables, circuit)
    words = Limit(
        circuit_i,
        None if amps is None else _phases([mA_from_A_floor(value_A) for value_A in amps]),
        None if kw is None else W_from_kW_floor(kw),
        span_ns,
    )
    bounds = limit_bounds(words)
    if bounds.code is not Code.ACCEPTED:
        raise UsageError(bound_text(words, bounds))
    send(site_dir, tables, words)
    row = tables.circuits[circuit_i]
    click.echo(json.dumps(as_dict(row, words)) if as_json else accepted_text(row, words))


def find_circuit(tables: Tables, name: str) -> int:
    names = [row.name for row in tables.circuits]
    if name not in names:
        raise UsageError(f"there is no circuit {name!r}; there are: {', '.join(names)}")
    if not tables.circuits[names.index(name)].takes_external:
        raise UsageError(
            f"circuit {name!r} takes no limits from outside; external = {{ at_loss_A = ... }} in"
            " the site file lets it"
        )
    return names.index(name)


def send(site_dir: SiteDir, tables: Tables, words: Limit) -> None:
    serial = int.from_bytes(os.urandom(SERIAL_BYTES), "little")
    record = pack_limit(words, serial, plain.signed_hash(tables))
    answer = ask(site_dir.control, record, serial)
    if answer.code is Code.OUT_OF_BOUNDS:
        raise CheckRefused(bound_text(words, answer))
    if answer.code is not Code.ACCEPTED:
        raise CheckRefused(REFUSALS[answer.code])


def bound_text(words: Limit, answer: Answer) -> str:
    """The number that is out of its bounds, and these."""
    values = {
        Field.LIMIT_mA: words.limit_mA or (),
        Field.POWER_W: (words.power_W,),
        Field.SPAN_ns: (words.span_ns,),
    }[answer.field]
    out = [value for value in values if value is not None and not _is_within(value, answer)]
    per_unit, unit = PER_UNIT[answer.field]
    value, most = (number / per_unit for number in (out[0], answer.most))
    least = answer.least // per_unit
    return (
        f"{OPTIONS[answer.field]}: {value:.10g} {unit} is not within {least} to {most:.0f} {unit}"
    )


def _is_within(value: int, answer: Answer) -> bool:
    return answer.least <= value <= answer.most


def accepted_text(row: CircuitRow, words: Limit) -> str:
    """What counts from now on, until when, and what then."""
    parts = []
    if words.limit_mA is not None:
        parts.append(f"{currents_words(A_list_from_mA(words.limit_mA))} A")
    if words.power_W is not None:
        parts.append(power_text(row, words.power_W))
    text = f"accepted: {row.name}: " + (" and ".join(parts) or "no limit from outside")
    if words.span_ns is not None:
        text += f", for {span_words(s_from_ns(words.span_ns))}"
    elif row.loss_after_ns is not None:
        text += f", while it is repeated within {span_words(s_from_ns(row.loss_after_ns))}"
    else:
        text += ", until the next command"
    own_mA = row.limit_mA
    if words.limit_mA is not None and any(map(int.__gt__, words.limit_mA, own_mA)):
        text += f"; its own limit of {currents_words(A_list_from_mA(own_mA))} A stays"
    return text


def power_text(row: CircuitRow, power_W: int) -> str:
    if row.guaranteed_W is None:
        return f"{kW_from_W(power_W):g} kW"
    if power_W >= row.guaranteed_W:
        return f"{kW_from_W(power_W):g} kW of chargers"
    least = f"{kW_from_W(row.guaranteed_W):g} kW of chargers"
    return f"{least}, the guaranteed minimum, for {kW_from_W(power_W):g} kW"


def as_dict(row: CircuitRow, words: Limit) -> dict[str, Any]:
    counts_W = words.power_W
    if counts_W is not None:
        counts_W = max(counts_W, row.guaranteed_W or 0)
    return {
        "circuit": row.name,
        "accepted": True,
        "limit_A": None if words.limit_mA is None else A_list_from_mA(words.limit_mA),
        "limit_kW": None if words.power_W is None else kW_from_W(words.power_W),
        "counts_kW": None if counts_W is None else kW_from_W(counts_W),
        "for_s": None if words.span_ns is None else s_from_ns(words.span_ns),
    }


def _phases(values_mA: list[int]) -> Phases:
    return values_mA[0], values_mA[1], values_mA[2]
