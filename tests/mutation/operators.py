"""What is changed in one expression or statement, and its text with every change behind a guard.

    conditions      forced true and forced false; in `and` and `or` each operand left out
    comparisons     < and <=, > and >= for each other
    arithmetic      + - * // % & | << >> for a neighbour, a sign dropped, min and max for each other
    constants       whole numbers one more and one less (of 0: more), True and False for each other
    statements      an assignment, a call, a return, raise, break or continue left out; += and -=

Negations, and `and` for `or`, are left out: whoever tells a forced condition from the right one
tells these too, so they would only flatter the score. Left out as well is what provably changes
nothing or only says another mutant again: a constant whose comparison at its boundary is the
same, a statement alone below a condition that is forced false, the last return of a zero. And what
no test of the law is about: texts of errors, the step of a range, names of pointers.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from tests.mutation.lines import Line, Parsed

BOUNDARY = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
SYMBOLS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
# With k on the right, k + this is what the boundary says already.
SAME_AS_BOUNDARY = {ast.Lt: 1, ast.LtE: -1, ast.Gt: -1, ast.GtE: 1}
ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
AUGMENTED = {"+=": "-=", "-=": "+=", "*=": "+=", "|=": "&=", "&=": "|="}
SWAPPED = {"min": "max", "max": "min"}

# File, function, the line before and after.
Key = tuple[str, str, str, str]


@dataclass
class Mutant:
    """One change. `before` and `after` are the whole line, in one row."""

    module: str
    function: str
    row: int
    before: str
    after: str
    # Numbers under which a test notes that this change would make a difference to it.
    marks: list[int] = field(default_factory=list)
    number: int = 0  # under which it is chosen

    @property
    def key(self) -> Key:
        return self.module, self.function, self.before, self.after


@dataclass
class Ledger:
    """All numbers given out so far; 0 is none."""

    mutants: list[Mutant] = field(default_factory=list)
    last: int = 0
    unwatched: frozenset[Key] = frozenset()  # what cannot be compared, so is noted when reached
    left_out: frozenset[Key] = frozenset()  # what does not compile

    def number(self) -> int:
        self.last += 1
        return self.last

    def add(self, mutant: Mutant) -> int | None:
        if mutant.key in self.left_out:
            return None
        mutant.number = self.number()
        mutant.marks = mutant.marks or [mutant.number]
        self.mutants.append(mutant)
        return mutant.number


@dataclass(frozen=True)
class Place:
    module: str
    function: str
    # C without the interpreter lock: whole numbers, and no effects but those of calls.
    is_c: bool
    returns_zero: bool  # what follows the last statement
    uses: dict[str, int]  # constants of a module by name, with the number that notes their use
    marks: tuple[int, ...] = ()  # instead of each mutant's own


def one_row(text: str) -> str:
    rows = [row.split("  #")[0].split("    #")[0].strip() for row in text.split("\n")]
    return " ".join(row for row in rows if row and not row.startswith("#"))


class Rewriter:
    """One logical line; `text` of a node is its source with all changes within behind guards."""

    def __init__(self, line: Line, parsed: Parsed, place: Place, ledger: Ledger) -> None:
        self.line, self.parsed, self.place, self.ledger = line, parsed, place, ledger

    def source(self, node: ast.expr | ast.stmt) -> str:
        begin, end = self.parsed.span(node)
        return self.line.text[begin:end]

    def text(self, node: ast.expr) -> str:
        """The guarded text of an expression."""
        if isinstance(node, ast.BoolOp) and not self.place.is_c:
            return self._either(node)
        if isinstance(node, (ast.Compare, ast.BoolOp)) or _is_not(node):
            return self.condition(node, True, True)
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        text = self.with_children(node)
        if isinstance(node, ast.BinOp):
            return self._binary(node, text)
        if _is_minus(node):
            assert isinstance(node, ast.UnaryOp)
            return self._int(node, text, self.source(node.operand))
        return text

    def condition(self, node: ast.expr, to_true: bool, to_false: bool) -> str:
        """The guarded text of a truth value that is forced to what is asked for."""
        if _is_not(node):
            assert isinstance(node, ast.UnaryOp)
            inner = self.condition(node.operand, to_true=to_false, to_false=to_true)
            return f"(not {inner})"
        if isinstance(node, ast.BoolOp):
            is_and = isinstance(node.op, ast.And)
            word = " and " if is_and else " or "
            parts = [self.condition(part, is_and, not is_and) for part in node.values]
            text = "(" + word.join(parts) + ")"
            return self._force(node, text, to_true and not is_and, to_false and is_and)
        text = self._compare(node) if isinstance(node, ast.Compare) else self.text(node)
        return self._force(node, text, to_true, to_false)

    def _force(self, node: ast.expr, text: str, to_true: bool, to_false: bool) -> str:
        if to_true and (n := self.mutant(node, "True")):
            text = f"or_true({n}, {text})"
        if to_false and (n := self.mutant(node, "False")):
            text = f"or_false({n}, {text})"
        return text

    def _compare(self, node: ast.Compare) -> str:
        text = self.with_children(node, self._skipped(node))
        operands = [node.left, *node.comparators]
        for k, op in enumerate(node.ops):
            if type(op) not in BOUNDARY:
                continue
            place = self.parsed.span(operands[k])[1], self.parsed.span(operands[k + 1])[0]
            begin, end = self.parsed.span(node)
            between = self.line.text[place[0] : place[1]].replace(
                SYMBOLS[type(op)], BOUNDARY[type(op)], 1
            )
            after = self.line.text[begin : place[0]] + between + self.line.text[place[1] : end]
            if n := self.mutant(node, after):
                if self.is_watched(node):
                    text = f"pick_bool({n}, {text}, {after})"
                else:
                    text = f"(({after}) if is_on({n}) else ({text}))"
        return text

    def _skipped(self, node: ast.Compare) -> dict[ast.expr, int]:
        """Constants of which one neighbour says what the boundary of the comparison says."""
        operands = [node.left, *node.comparators]
        skipped: dict[ast.expr, int] = {}
        for k, op in enumerate(node.ops):
            by = SAME_AS_BOUNDARY.get(type(op), 0)
            skipped[operands[k]] = -by if k == 0 else 0
            skipped[operands[k + 1]] = by
        return {part: by for part, by in skipped.items() if isinstance(part, ast.Constant) and by}

    def _either(self, node: ast.BoolOp) -> str:
        """`a or b` of Python, which is one of its operands: the first or the last alone."""
        text = self.with_children(node)
        for operand in (node.values[0], node.values[-1]):
            text = self._plain(node, text, self.source(operand))
        return text

    def _constant(self, node: ast.Constant, same: int = 0) -> str:
        value, text = node.value, self.source(node)
        if isinstance(value, bool):
            return self._plain(node, text, str(not value))
        if not isinstance(value, int):
            return text
        for by in (1, -1) if value else (1,):
            if by != same:
                text = self._plain(node, text, str(value + by))
        return text

    def _name(self, node: ast.Name) -> str:
        text = self.source(node)
        if isinstance(node.ctx, ast.Load) and text in self.place.uses:
            return f"({text} if is_on({self.place.uses[text]}) else {text})"
        return text

    def _call(self, node: ast.Call) -> str:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "sizeof":
            return self.source(node)
        skipped = {node.args[2]: 0} if name == "range" and len(node.args) == 3 else {}
        text = self.with_children(node, skipped, leave=(node.func,))
        if name in SWAPPED and len(node.args) == 2:
            after = SWAPPED[name] + self.source(node)[len(name) :]
            return self._int(node, text, after)
        return text

    def _binary(self, node: ast.BinOp, text: str) -> str:
        if type(node.op) not in ARITHMETIC:
            return text
        symbol, other = ARITHMETIC[type(node.op)]
        left, right = self.parsed.span(node.left), self.parsed.span(node.right)
        begin, end = self.parsed.span(node)
        between = self.line.text[left[1] : right[0]].replace(symbol, other, 1)
        after = self.line.text[begin : left[1]] + between + self.line.text[right[0] : end]
        return self._int(node, text, after)

    def _int(self, node: ast.expr, text: str, after: str) -> str:
        """Either of two whole numbers; where both may be looked at, note whether they differ."""
        n = self.mutant(node, after)
        if n and self.is_watched(node):
            return f"pick_int({n}, {text}, {after})"
        return f"(({after}) if is_on({n}) else ({text}))" if n else text

    def _plain(self, node: ast.expr, text: str, after: str) -> str:
        n = self.mutant(node, after)
        return f"(({after}) if is_on({n}) else ({text}))" if n else text

    def is_watched(self, node: ast.expr | ast.stmt) -> bool:
        """True where the mutant that was added last is noted only when it makes a difference."""
        is_told = self.ledger.mutants[-1].key in self.ledger.unwatched
        return self.place.is_c and is_pure(node) and not is_told

    def mutant(self, node: ast.expr, after: str) -> int | None:
        begin, end = self.parsed.span(node)
        return self.whole(self.line.text[:begin] + after + self.line.text[end:], begin)

    def whole(self, after: str, at: int = 0) -> int | None:
        row = self.line.row + self.line.text[:at].count("\n")
        before = one_row(self.line.text)
        return self.ledger.add(
            Mutant(
                self.place.module,
                self.place.function,
                row,
                before,
                one_row(after),
                list(self.place.marks),
            )
        )

    def with_children(
        self,
        node: ast.expr | ast.stmt,
        skipped: dict[ast.expr, int] | None = None,
        leave: tuple[ast.expr, ...] = (),
    ) -> str:
        """The source of a node with the guarded text of its parts in their places."""
        skipped = skipped or {}
        begin, end = self.parsed.span(node)
        text, at = "", begin
        for part in sorted(_parts(node), key=self.parsed.span):
            if part in leave:
                continue
            if part in skipped:
                same = skipped[part]
                new = self._constant(part, same) if same else self.source(part)  # type: ignore[arg-type]
            elif _is_deref(node, part):
                new = self.source(part)
            elif _is_test(node, part):
                new = self.condition(part, True, True)
            else:
                new = self.text(part)
            part_begin, part_end = self.parsed.span(part)
            text += self.line.text[at:part_begin] + new
            at = part_end
        return text + self.line.text[at:end]


def _parts(node: ast.AST) -> list[ast.expr]:
    """The expressions directly within a node, also those of comprehensions and keywords."""
    parts: list[ast.expr] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            parts.append(child)
        elif isinstance(child, (ast.comprehension, ast.keyword)):
            parts += _parts(child)
    return parts


def _is_not(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _is_minus(node: ast.expr) -> bool:
    """A minus before anything but a number."""
    if not (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)):
        return False
    return not isinstance(node.operand, ast.Constant)


def _is_deref(node: ast.AST, part: ast.expr) -> bool:
    """The index of `name[0]`, which is what a pointer shows."""
    is_index = isinstance(node, ast.Subscript) and part is node.slice
    if not (is_index and isinstance(part, ast.Constant) and part.value == 0):
        return False
    return isinstance(node.value, ast.Name)  # type: ignore[attr-defined]


def _is_test(node: ast.AST, part: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):
        return part is node.test
    return any(part in c.ifs for c in getattr(node, "generators", ()))


def is_pure(node: ast.AST) -> bool:
    """True where looking at it changes nothing, and nothing in it may fail that is not looked at
    anyway."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            if not (isinstance(part.func, ast.Name) and part.func.id in ("min", "max", "abs")):
                return False
        elif isinstance(part, (ast.Yield, ast.Await, ast.NamedExpr)):
            return False
    return True
