"""Mutation testing of the control law: `scripts/mutate`.

Without arguments a sample, as in CI: it fails where less than 95 % are killed of those that are not
explained. With `--all` every mutant: it fails where less than 95 % of all are killed, or where an
explanation does not hold any more.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mutation.operators import Mutant
from tests.mutation.report import Explanations, Store, ids_of, report, sample_of, score_of
from tests.mutation.tree import ROOT, TREE, build
from tests.mutation.trial import TESTS, Outcome, Plan, run

LEAST_PERCENT = 95
SEED = 20_240
SAVE_EVERY_s = 20


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sample", type=int, default=180, metavar="N", help="default: 180")
    what.add_argument("--all", action="store_true", help="every mutant")
    what.add_argument(
        "--survivors",
        action="store_true",
        help="those that survived the last runs, or are new, and are not explained",
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of the sample")
    parser.add_argument("--only", default="", metavar="TEXT", help="in file or function")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument(
        "--budget", type=float, default=15, metavar="s", help="of tests for a mutant; default: 15"
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    built = build(args.jobs, say)
    for mutant in built.left_out:
        say(f"left out, does not compile: {mutant.module} {mutant.before} -> {mutant.after}")
    explained = Explanations.load()
    ids = ids_of(built.mutants)
    store = Store.load(TREE.parent / "results.json")
    wanted = [m for m in built.mutants if args.only in f"{m.module} {m.function}"]
    known: dict[int, Outcome] = {}
    state = state_of_everything()
    if args.survivors:
        known = {m.number: Outcome(None) for m in wanted if explained.covers(m)}
        known |= killed_before(wanted, ids, store, None)
    elif args.all:
        known = killed_before(wanted, ids, store, state)
    else:
        wanted = sample_of(wanted, args.sample, args.seed)
        known = {m.number: Outcome(None) for m in wanted if explained.covers(m)}
    outcomes = known | try_out(args, built.mutants, wanted, known, ids, store, state)
    for line in report(wanted, outcomes, explained):
        say(line)
    score = score_of(wanted, outcomes, explained)
    if args.all or args.survivors:
        stale = list(explained.stale(wanted, outcomes)) if not args.only else []
        for line in stale:
            say(line)
        raise SystemExit(bool(stale) or score.percent < LEAST_PERCENT)
    raise SystemExit(score.unexplained_percent < LEAST_PERCENT)


def killed_before(
    wanted: Sequence[Mutant], ids: Mapping[int, str], store: Store, state: str | None
) -> dict[int, Outcome]:
    """Outcomes that stand: for a state all that rest on it, else every kill of an earlier run."""
    known = {}
    for mutant in wanted:
        outcome = store.outcome(ids[mutant.number], state)
        if outcome is not None and (state is not None or outcome.killed_by is not None):
            known[mutant.number] = outcome
    return known


def try_out(
    args: argparse.Namespace,
    everything: Sequence[Mutant],
    wanted: Sequence[Mutant],
    known: Mapping[int, Outcome],
    ids: Mapping[int, str],
    store: Store,
    state: str,
) -> dict[int, Outcome]:
    begin_s = saved_s = time.monotonic()
    todo = [m for m in wanted if m.number not in known]
    hints = {m.number: o.killed_by for m in todo if (o := store.outcome(ids[m.number]))}
    tests = states_of_tests()

    def keep_recorded() -> None:
        for name, recorded in plan.recorded.items():
            store.keep_recorded(name, recorded, tests[name.split("::")[0]])
        store.save()

    def note(number: int, outcome: Outcome) -> None:
        nonlocal saved_s
        store.keep_outcome(ids[number], outcome, state)
        if time.monotonic() - saved_s > SAVE_EVERY_s:
            saved_s = time.monotonic()
            store.save()
            n_alive = sum(o.killed_by is None for o in plan.outcomes.values())
            say(f"{len(plan.outcomes)} of {len(todo)} tried, {n_alive} survive")

    plan = Plan(
        mutants=todo,
        modules=sorted({m.module for m in everything if m.module.endswith(".pyx")}),
        n_marks=max(n for m in everything for n in (m.number, *m.marks)),
        jobs=args.jobs,
        budget_s=args.budget,
        say=say,
        known=store.known(tests),
        hints={n: test for n, test in hints.items() if test},
        has_recorded=keep_recorded,
        noted=note,
    )
    run(plan)
    store.save()
    if plan.broken:
        name, why = next(iter(plan.broken.items()))
        raise SystemExit(f"{why}\nmutation: {len(plan.broken)} tests fail unchanged, first {name}")
    say(f"{len(todo)} mutants tried in {time.monotonic() - begin_s:.0f} s")
    return plan.outcomes


def state_of_everything() -> str:
    return _digest([*_common(), *sorted(TREE.glob("tests/**/test_*.py"))])


def states_of_tests() -> dict[str, str]:
    """What a recording rests on, by file of tests: the file, and all that is not a test."""
    common = _common()
    return {
        str(path.relative_to(TREE)): _digest([*common, path])
        for tests in TESTS
        for path in (TREE / tests).glob("test_*.py")
    }


def _common() -> list[Path]:
    globs = ("loadctl/**/*.py*", "hw/**/*.py", "tests/support/*.py")
    paths = {path for pattern in globs for path in TREE.glob(pattern)}
    return sorted(path for path in paths if path.suffix != ".pyc")


def _digest(paths: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(str(path.relative_to(TREE)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


if __name__ == "__main__":
    assert Path.cwd() == ROOT, "run scripts/mutate"
    main()
