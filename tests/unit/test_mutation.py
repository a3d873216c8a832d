"""The tool that changes the law on purpose: what it changes, what it leaves, and how it counts."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.mutation.choice import Recorded, in_order, within_budget
from tests.mutation.operators import Ledger, Mutant
from tests.mutation.report import Explanations, ids_of, report, sample_of, score_of
from tests.mutation.source import Module, find_constants, mutate, mutate_pxd
from tests.mutation.trial import Outcome

HEAD = "from libc.stdint cimport int32_t\n\n\n"
FUNCTION = "cdef int32_t f(law_t *law, int32_t a, int32_t b) noexcept nogil:\n"


def mutated(source: str, pxd: str = "") -> tuple[Ledger, str]:
    ledger = Ledger()
    module = Module("law/some.pyx", HEAD + source, pxd)
    constants = find_constants(module, ledger)
    return ledger, mutate(module, constants, {}, ledger)


def changes(body: str, head: str = FUNCTION) -> list[str]:
    """The changed lines of a function of this body, in the order of their numbers."""
    ledger, _ = mutated(head + textwrap.indent(textwrap.dedent(body), "    "))
    return [mutant.after for mutant in ledger.mutants]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        # The neighbour at the boundary; equality has none.
        ("return a < b", ["return a <= b"]),
        ("return a >= b", ["return a > b"]),
        ("return a == b", []),
        # A constant: one of its neighbours is what the boundary says, on either side.
        ("return a > 5", ["return a > 6", "return a >= 5"]),
        ("return a < 5", ["return a < 4", "return a <= 5"]),
        ("return 5 > a", ["return 4 > a", "return 5 >= a"]),
        ("return a == 5", ["return a == 6", "return a == 4"]),
        ("return a == 0", ["return a == 1"]),
        # A chain has two boundaries.
        ("return 5 <= a < b", ["return 4 <= a < b", "return 5 < a < b", "return 5 <= a <= b"]),
    ],
)
def test_comparisons(statement: str, expected: list[str]) -> None:
    both_ways = ["return True", "return False"]
    assert sorted(changes(statement)) == sorted([*expected, *both_ways, "pass"])


def test_each_operand_of_and_and_or_is_left_out_and_the_whole_is_forced_once() -> None:
    assert changes("if a and not b:\n    law.x = a\n    law.y = b") == [
        "if True and not b:",
        "if a and not False:",
        "if False:",
        "pass",
        "pass",
    ]
    assert changes("if a or (b and a):\n    law.x = a\n    law.y = b")[:4] == [
        "if False or (b and a):",
        "if a or (True and a):",
        "if a or (b and True):",
        "if a or (False):",
    ]


def test_statement_alone_below_a_condition_that_is_forced_false_is_not_left_out_again() -> None:
    assert "pass" not in changes("if a:\n    law.x = b")
    assert "pass" in changes("if a or b:\n    law.x = b")
    assert changes("if a:\n    law.x = b\nelse:\n    law.x = a").count("pass") == 2
    assert changes("while a:\n    a = law.x").count("pass") == 1


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("law.x = a + b", ["law.x = a - b", "pass"]),
        ("law.x = a * b // a", ["law.x = a + b // a", "law.x = a * b * a"]),
        ("law.x = a % b", ["law.x = a // b"]),
        ("law.x = min(a, b)", ["law.x = max(a, b)"]),
        ("law.x = -a", ["law.x = a"]),
        ("law.x += a", ["pass", "law.x -= a"]),
        ("law.x = True", ["law.x = False"]),
        ("law.x = a if b else 7", ["law.x = a if True else 7", "law.x = a if b else 8"]),
        ("law.x[a + 1] = b", ["law.x[a - 1] = b", "law.x[a + 2] = b", "law.x[a + 0] = b"]),
        ("law.f(a, b)", ["pass"]),
        ("law.x = a + 2**31", ["law.x = a + 2**31 + 1", "law.x = a + 2**31 - 1"]),
        ("for a in range(b):\n    law.f(a)", ["pass"]),
        ("cdef int32_t k, n = 3", ["cdef int32_t k, n = 4", "cdef int32_t k, n = 2"]),
        ("law.x = <int64_t>a * law.y[0]", ["law.x = <int64_t>a + law.y[0]"]),
        ("law.x = <int64_t>a * law.y[0]", ["law.x = <int64_t>a * law.y[1]"]),
    ],
)
def test_changes_of_statements(statement: str, expected: list[str]) -> None:
    found = changes(statement)
    assert [text for text in found if text in expected] == sorted(expected, key=found.index)


@pytest.mark.parametrize(
    "statement",
    [
        "cdef charger_t *charger = &law.chargers[a]",
        "charger = &law.chargers[a]",  # a pointer by another name
        '"""Only words."""',
        "return 0",  # what a function ends with anyway
        "if a == b:\n    return False",
    ],
)
def test_what_says_nothing_is_left_alone(statement: str) -> None:
    assert [text for text in changes(statement) if text == "pass"] == []


def test_operands_of_a_power_are_left_alone() -> None:
    assert changes("law.x = 2**31") == ["pass", "law.x = 2**31 + 1", "law.x = 2**31 - 1"]


def test_text_of_errors_steps_of_ranges_and_what_a_pointer_shows_are_left_alone() -> None:
    assert changes("law.x = a[0]") == ["pass"]
    raised = changes('raise ValueError(f"{a}: {1 + 2} is not {3}")', "def f(a):\n")
    assert raised == ["pass"]
    assert changes("for a in range(b, -1, -2):\n    law.f(a)") == [
        "for a in range(b, -2, -2):",
        "for a in range(b, -0, -2):",
        "pass",
    ]


def test_or_of_python_is_one_of_its_operands() -> None:
    assert changes("return a.x or ()", "def f(a):\n") == ["pass", "return a.x", "return ()"]


def test_return_of_zero_within_a_loop_is_left_out_too() -> None:
    assert "pass" in changes("for a in range(b):\n    if a > b:\n        b = a\n    return 0")


def test_constants_are_worked_out_again_and_noted_where_they_are_used() -> None:
    source = "cdef enum:\n    HELD_s = 30\n\ncdef int64_t HELD_ns = HELD_s * 5\n\n\n"
    ledger, text = mutated(source + FUNCTION + "    return a // HELD_ns\n")
    assert "cdef long long HELD_s\n" in text
    assert "def work_out_constants():\n    global HELD_s\n    global HELD_ns\n" in text
    of_constant = [m for m in ledger.mutants if m.function == "constants"]
    assert [m.after for m in of_constant][:2] == ["HELD_s = 31", "HELD_s = 29"]
    # Whoever uses what is made of it uses it too.
    used = next(m.marks for m in of_constant if m.after.startswith("cdef int64_t HELD_ns"))
    assert set(used) < set(of_constant[0].marks)
    assert f"is_on({used[0]})" in text


def test_enums_of_a_pxd_become_variables_there() -> None:
    ledger = Ledger()
    named = "cdef enum Kind:\n    ONE = 1\n"
    pxd = "cdef enum:\n    # why\n    TOLERANCE_mA = 600\n    SIZE = 3\n\n" + named
    source = HEAD + FUNCTION + "    cdef int32_t few[SIZE]\n    return a\n"
    module = Module("law/some.pyx", source, pxd)
    constants = find_constants(module, ledger)
    assert [constant.name for constant in constants] == ["TOLERANCE_mA"]
    changed = mutate_pxd(module, constants)
    assert "cdef long long TOLERANCE_mA" in changed
    assert named in changed
    assert "cdef enum:\n    SIZE = 3\n" in changed
    assert "TOLERANCE_mA = ((599)" in mutate(module, constants, {}, ledger)


def test_function_is_named_within_its_class_and_line_numbers_are_those_of_the_source() -> None:
    source = "cdef class Core:\n    def step(self, a):\n        self.x = (\n            1)\n"
    ledger, _ = mutated(source)
    assert {m.function for m in ledger.mutants} == {"Core.step"}
    assert [m.row for m in ledger.mutants if m.after == "self.x = ( 2)"] == [7]


def mutant(number: int, after: str, file: str = "law/some.pyx") -> Mutant:
    return Mutant(file, "f", number, "return a", after, [number], number)


MUTANTS = [mutant(1, "return 1"), mutant(2, "return 2"), mutant(3, "return 3", "law/other.pyx")]
ALIVE = Outcome(None, "failed", 4)
KILLED = Outcome("test_x", "failed", 4)


def test_equivalent_mutant_is_not_counted_while_it_survives() -> None:
    key = ("law/some.pyx", "f", "return a", "return 2")
    explained = Explanations({key: "the same"}, frozenset({key}))
    score = score_of(MUTANTS, {1: KILLED, 2: ALIVE, 3: ALIVE}, explained)
    assert (score.percent, score.percent_of_all) == (50, pytest.approx(100 / 3))
    score = score_of(MUTANTS, {1: KILLED, 2: KILLED, 3: ALIVE}, explained)
    assert score.percent == score.percent_of_all == pytest.approx(200 / 3)


def test_only_what_says_so_is_equivalent(tmp_path: Path) -> None:
    entry = '[[survivor]]\nfile = "a"\nfunction = "f"\nreason = "r"\nchanges = [["x", "y"]]\n'
    path = tmp_path / "explained.toml"
    path.write_text(entry + entry.replace('"x"', '"z"') + "equivalent = true\n")
    found = Explanations.load(path)
    assert set(found.reasons) == {("a", "f", "x", "y"), ("a", "f", "z", "y")}
    assert found.equivalents == {("a", "f", "z", "y")}


def test_score_counts_explained_survivors_as_survivors() -> None:
    explained = Explanations({("law/some.pyx", "f", "return a", "return 2"): "the same"})
    score = score_of(MUTANTS, {1: KILLED, 2: ALIVE, 3: ALIVE}, explained)
    assert (score.n, score.n_killed, score.n_explained) == (3, 1, 1)
    assert score.percent == pytest.approx(100 / 3)
    assert score.unexplained_percent == pytest.approx(50)
    text = "\n".join(report(MUTANTS, {1: KILLED, 2: ALIVE, 3: ALIVE}, explained))
    assert text.index("return 3") < text.index("the same")
    assert "return 1" not in text


def test_explanation_of_what_is_killed_or_gone_is_stale() -> None:
    key = ("law/some.pyx", "f", "return a")
    explained = Explanations({(*key, f"return {n}"): "" for n in (1, 9, 2)})
    stale = list(explained.stale(MUTANTS, {1: KILLED, 2: ALIVE, 3: KILLED}))
    assert [line.split(", but ")[1] for line in stale] == ["is killed", "is not a mutant"]


def test_sample_stays_when_mutants_elsewhere_come_and_go() -> None:
    many = [mutant(n, f"return {n}") for n in range(1, 201)]
    sample = {m.after for m in sample_of(many, 50, seed=7)}
    fewer = {m.after for m in sample_of(many[3:], 50, seed=7)}
    assert len(sample) == 50
    assert len(sample & fewer) >= 47
    assert sample != {m.after for m in sample_of(many, 50, seed=8)}


def test_same_change_twice_in_a_function_has_two_names() -> None:
    ids = ids_of([mutant(1, "return 1"), mutant(2, "return 1")])
    assert len(set(ids.values())) == 2


def test_budget_takes_the_first_tests_and_one_at_least() -> None:
    times_s = {"a": 1, "b": 2, "c": 4}
    recorded = {name: Recorded(cpu_s, frozenset()) for name, cpu_s in times_s.items()}
    assert within_budget(["a", "b", "c"], recorded, 3) == ["a", "b"]
    assert within_budget(["a", "b", "c"], recorded, 0.5) == ["a"]
    assert within_budget([], recorded, 3) == []


def test_tests_of_the_module_narrow_ones_and_wide_ones_come_by_turns() -> None:
    def recorded(cpu_s: float, n_marks: int) -> Recorded:
        return Recorded(cpu_s, frozenset(range(n_marks)))

    tests = {
        "t/test_judge.py::slow": recorded(2, 9),
        "t/test_judge_edges.py::quick": recorded(1, 9),
        "t/test_a.py::narrow": recorded(1, 1),
        "t/test_a.py::middle": recorded(1, 5),
        "t/test_a.py::wide": recorded(1, 90),
        "t/test_a.py::wide_and_slow": recorded(100, 95),
    }
    order = [name.split("::")[1] for name in in_order(tests, "law/judge.pyx", tests)]
    assert order == ["quick", "narrow", "wide", "slow", "middle", "wide_and_slow"]
    assert in_order(tests, "law/index.pyx", tests)[0] == "t/test_a.py::narrow"
