"""What is kept between runs, and what is said of one.

A survivor is explained by file, function and text, never by line, in `explained.toml`. One that is
said to be `equivalent` can be told from the original by no test: it changes no output, only work or
memory, or it cannot be reached with a difference. The score is killed of all others; it is printed
beside that of all. Any other explanation changes no score, it only says why it is left.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.mutation.choice import Recorded
from tests.mutation.operators import Key, Mutant
from tests.mutation.trial import Outcome

EXPLAINED = Path(__file__).parent / "explained.toml"


def ids_of(mutants: Sequence[Mutant]) -> dict[int, str]:
    """A name for every mutant that holds while its line and those like it stay: by number."""
    seen: Counter[Key] = Counter()
    ids = {}
    for mutant in mutants:
        seen[mutant.key] += 1
        text = "\0".join((*mutant.key, str(seen[mutant.key])))
        ids[mutant.number] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return ids


def sample_of(mutants: Sequence[Mutant], n: int, seed: int) -> list[Mutant]:
    """Chosen by what they are, so that a change elsewhere leaves the rest of the sample alone."""
    ids = ids_of(mutants)

    def rank(mutant: Mutant) -> str:
        return hashlib.sha256(f"{seed} {ids[mutant.number]}".encode()).hexdigest()

    chosen = sorted(mutants, key=rank)[:n]
    return sorted(chosen, key=lambda mutant: mutant.number)


@dataclass
class Store:
    """Results of earlier runs. `state` stands for all that an outcome rests on."""

    path: Path
    outcomes: dict[str, dict[str, Any]]
    recorded: dict[str, dict[str, Any]]

    @classmethod
    def load(cls, path: Path) -> Store:
        if not path.exists():
            return cls(path, {}, {})
        held = json.loads(path.read_text())
        return cls(path, held["outcomes"], held["recorded"])

    def save(self) -> None:
        text = json.dumps({"outcomes": self.outcomes, "recorded": self.recorded})
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    def keep_outcome(self, name: str, outcome: Outcome, state: str) -> None:
        self.outcomes[name] = {**asdict(outcome), "state": state}

    def outcome(self, name: str, state: str | None = None) -> Outcome | None:
        """The last one, or None where it rests on something else."""
        held = self.outcomes.get(name)
        if held is None or (state is not None and held["state"] != state):
            return None
        return Outcome(held["killed_by"], held["how"], held["n_tests"])

    def keep_recorded(self, name: str, recorded: Recorded, state: str) -> None:
        marks = sorted(recorded.marks)
        self.recorded[name] = {"cpu_s": recorded.cpu_s, "marks": marks, "state": state}

    def known(self, state_of: Mapping[str, str]) -> dict[str, Recorded]:
        """Recordings that still hold; `state_of` the file of a test."""
        return {
            name: Recorded(held["cpu_s"], frozenset(held["marks"]))
            for name, held in self.recorded.items()
            if state_of.get(name.split("::")[0]) == held["state"]
        }


@dataclass(frozen=True)
class Explanations:
    reasons: Mapping[Key, str]
    equivalents: frozenset[Key] = frozenset()

    @classmethod
    def load(cls, path: Path = EXPLAINED) -> Explanations:
        reasons, equivalents = {}, set()
        for entry in tomllib.loads(path.read_text()).get("survivor", []):
            for before, after in entry["changes"]:
                key = entry["file"], entry["function"], before, after
                reasons[key] = entry["reason"]
                if entry.get("equivalent", False):
                    equivalents.add(key)
        return cls(reasons, frozenset(equivalents))

    def covers(self, mutant: Mutant) -> bool:
        return mutant.key in self.reasons

    def stale(self, mutants: Sequence[Mutant], outcomes: Mapping[int, Outcome]) -> Iterator[str]:
        """Explanations of what is not there, or does not survive."""
        survivors = {m.key for m in mutants if outcomes[m.number].killed_by is None}
        everything = {m.key for m in mutants}
        for key in self.reasons:
            if key not in survivors:
                what = "is killed" if key in everything else "is not a mutant"
                file, function, before, after = key
                yield f"{file} {function}: `{before}` -> `{after}` is explained, but {what}"


@dataclass(frozen=True)
class Score:
    n: int
    n_killed: int
    n_explained: int
    n_equivalent: int = 0  # of those explained

    @property
    def percent(self) -> float:
        """Killed, of those that a test can tell from the original."""
        n = self.n - self.n_equivalent
        return 100 * self.n_killed / n if n else 100.0

    @property
    def percent_of_all(self) -> float:
        return 100 * self.n_killed / self.n if self.n else 100.0

    @property
    def unexplained_percent(self) -> float:
        """Killed, of those that nothing says need not be."""
        n = self.n - self.n_explained
        return 100 * self.n_killed / n if n else 100.0

    def __str__(self) -> str:
        open_ = self.n - self.n_killed - self.n_explained
        shares = f"{self.percent_of_all:7.1f} % {self.percent:7.1f} %"
        return f"{self.n:6} {self.n_killed:6} {shares} {self.n_explained:6} {open_:6}"


def score_of(
    mutants: Sequence[Mutant], outcomes: Mapping[int, Outcome], explained: Explanations
) -> Score:
    survivors = [m for m in mutants if outcomes[m.number].killed_by is None]
    n_explained = sum(explained.covers(mutant) for mutant in survivors)
    n_equivalent = sum(mutant.key in explained.equivalents for mutant in survivors)
    return Score(len(mutants), len(mutants) - len(survivors), n_explained, n_equivalent)


def report(
    mutants: Sequence[Mutant], outcomes: Mapping[int, Outcome], explained: Explanations
) -> Iterator[str]:
    """Survivors that nobody has explained, the explained ones, and the score by file."""
    by_file: defaultdict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        by_file[mutant.module].append(mutant)
        outcome = outcomes[mutant.number]
        if outcome.killed_by is None and not explained.covers(mutant):
            yield _line(mutant, f"{outcome.n_tests} tests")
    for mutant in mutants:
        if outcomes[mutant.number].killed_by is None and explained.covers(mutant):
            yield _line(mutant, explained.reasons[mutant.key])
    yield f"{'':24}   all killed    of all   of rest  expl.   open"
    for file, of_file in sorted(by_file.items()):
        yield f"{file:24} {score_of(of_file, outcomes, explained)}"
    yield f"{'together':24} {score_of(mutants, outcomes, explained)}"


def _line(mutant: Mutant, why: str) -> str:
    return (
        f"loadctl/{mutant.module}:{mutant.row} {mutant.function}\n"
        f"    {mutant.before}\n    {mutant.after}\n    {why}"
    )
