"""Limits from outside at their edges: which of command, end and loss counts at one moment."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.external import External

from loadctl._core import Core
from tests.support.core_sites import NS_PER_S, RUN, attached, charger, circuit, site

HEARD_ns = 1000 * NS_PER_S
LOSS_AFTER_ns = 10 * NS_PER_S
END_ns = HEARD_ns + 5 * NS_PER_S
GUARANTEED_W = 4200
LOSS = {"takes_external": True, "loss_after_ns": LOSS_AFTER_ns}


def heard(command: dict[str, Any], **main: Any) -> Core:
    core = attached(site([circuit("main", 100_000, **{**LOSS, **main})], [charger("a")]))
    core.set_mode(RUN)
    words = {"limit_mA": None, "power_W": None, "until_ns": None, **command}
    core.external_limit(0, words["limit_mA"], words["power_W"], words["until_ns"], HEARD_ns)
    return core


def after(core: Core, span_ns: int) -> dict[str, Any]:
    core.step(HEARD_ns + span_ns)
    return dict(core.circuit(0))


CURRENT: dict[str, Any] = {"limit_mA": (8000, 8000, 8000)}
POWER: dict[str, Any] = {"power_W": 2300}


@pytest.mark.parametrize(
    ("until_ns", "span_ns", "state", "limit_mA"),
    [
        (None, 0, External.EXTERNAL_LIMIT, 8000),
        (None, LOSS_AFTER_ns - 1, External.EXTERNAL_LIMIT, 8000),
        # Without an end it goes with its source; the value at loss alone counts, also a higher one.
        (None, LOSS_AFTER_ns, External.EXTERNAL_LOST, 20_000),
        (END_ns, 5 * NS_PER_S - 1, External.EXTERNAL_LIMIT, 8000),
        (END_ns, 5 * NS_PER_S, External.EXTERNAL_EXPIRED, 20_000),
        # With an end it lasts until then, whether its source is heard or not.
        (HEARD_ns + 2 * LOSS_AFTER_ns, LOSS_AFTER_ns, External.EXTERNAL_LOST, 8000),
        (HEARD_ns + 2 * LOSS_AFTER_ns, 2 * LOSS_AFTER_ns - 1, External.EXTERNAL_LOST, 8000),
        (HEARD_ns + 2 * LOSS_AFTER_ns, 2 * LOSS_AFTER_ns, External.EXTERNAL_EXPIRED, 20_000),
    ],
)
def test_current_that_counts_at_one_moment(
    until_ns: int | None, span_ns: int, state: int, limit_mA: int
) -> None:
    core = heard({**CURRENT, "until_ns": until_ns}, loss_mA=(20_000,) * 3)
    found = after(core, span_ns)
    assert (found["external_state"], found["limit_mA"]) == (state, [limit_mA] * 3)


@pytest.mark.parametrize(
    ("until_ns", "span_ns", "power_mA"),
    [
        (None, 0, 10_000),
        (None, LOSS_AFTER_ns, 20_000),
        (END_ns, 5 * NS_PER_S - 1, 10_000),
        (END_ns, 5 * NS_PER_S, 20_000),
        (HEARD_ns + 2 * LOSS_AFTER_ns, LOSS_AFTER_ns, 10_000),
    ],
)
def test_power_that_counts_at_one_moment(until_ns: int | None, span_ns: int, power_mA: int) -> None:
    core = heard({**POWER, "until_ns": until_ns}, loss_W=4600)
    assert after(core, span_ns)["power_limit_mA"] == power_mA


@pytest.mark.parametrize(
    ("power_W", "is_lifted"), [(GUARANTEED_W - 1, 1), (GUARANTEED_W, 0), (GUARANTEED_W + 1, 0)]
)
def test_command_below_the_guaranteed_minimum_is_lifted_while_it_counts(
    power_W: int, is_lifted: int
) -> None:
    core = heard({"power_W": power_W}, loss_W=9000, guaranteed_W=GUARANTEED_W)
    assert after(core, 0)["external_is_lifted"] == is_lifted
    core.external_limit(0, None, None, None, HEARD_ns)
    assert after(core, 1)["external_is_lifted"] == 0


def test_circuit_that_takes_no_limits_is_lifted_by_none() -> None:
    core = attached(site([circuit("main", 100_000)], [charger("a")]))
    core.set_mode(RUN)
    core.step(HEARD_ns)
    found = core.circuit(0)
    assert (found["external_is_lifted"], found["external_kinds"]) == (0, 0)
    assert found["charger_power_limit_mA"] == 0


@pytest.mark.parametrize(("command_W", "loss_W"), [(9200, 6900), (6900, 9200)])
def test_lower_power_counts_of_a_command_and_the_loss_of_its_source(
    command_W: int, loss_W: int
) -> None:
    """One that ends by itself holds until then, beside what counts without its source."""
    command = {"power_W": command_W, "until_ns": HEARD_ns + 2 * LOSS_AFTER_ns}
    core = heard(command, loss_W=loss_W, guaranteed_W=4200)
    found = after(core, LOSS_AFTER_ns)
    assert found["external_state"] == External.EXTERNAL_LOST
    assert found["charger_power_limit_mA"] == 30_000


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize("c", [0, 5])
def test_failsafe_targets_keep_to_a_limit_of_one_phase_of_any_circuit(p: int, c: int) -> None:
    loss_mA = tuple(5000 if q == p else 100_000 for q in range(3))
    circuits = [circuit(f"c{k}", 100_000, 0 if k else -1) for k in range(c + 1)]
    circuits[c] = circuit("lost", 100_000, 0 if c else -1, takes_external=True, loss_mA=loss_mA)
    core = attached(site(circuits, [charger("a", c, phases=(q,)) for q in range(3)]))
    core.step(HEARD_ns)
    assert core.failsafe_mA() == [6000 * (q != p) for q in range(3)]
