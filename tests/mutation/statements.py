"""One logical line of a function with all its changes behind guards."""

from __future__ import annotations

import ast

from tests.mutation.lines import Line, parse_expression, parse_statement
from tests.mutation.operators import AUGMENTED, Ledger, Place, Rewriter

TESTS = ("if", "elif", "while")
NO_STATEMENTS = ("pass", "global", "import", "from", "cimport", "include")
NO_EXPRESSIONS = ("else", "try", "except", "finally", "with", "def", "cdef", "cpdef", "class", "@")


def rewrite_head(line: Line, place: Place, ledger: Ledger) -> str:
    """`if`, `elif`, `while` and `for`; a `while` that never ends says nothing."""
    if line.word in TESTS:
        begin, end = line.tokens[1].begin, line.tokens[-1].begin
        parsed, node = parse_expression(line, begin, end)
        rewriter = Rewriter(line, parsed, place, ledger)
        text = rewriter.condition(node, line.word != "while", True)
    elif line.word == "for":
        begin = next(t for t in line.tokens if t.text == "in" and t.depth == 0).end + 1
        end = line.tokens[-1].begin
        parsed, node = parse_expression(line, begin, end)
        text = Rewriter(line, parsed, place, ledger).text(node)
    else:
        assert line.word in NO_EXPRESSIONS, line.text
        return line.text
    return f"{line.text[:begin]}({text}){line.text[end:]}"


def rewrite_declaration(line: Line, place: Place, ledger: Ledger) -> str:
    """`cdef TYPE a, b = EXPRESSION, ...`: what the variables begin with."""
    text, at = "", 0
    for begin, end in initial_values(line):
        parsed, node = parse_expression(line, begin, end)
        text += line.text[at:begin] + Rewriter(line, parsed, place, ledger).text(node)
        at = end
    return text + line.text[at:]


def initial_values(line: Line) -> list[tuple[int, int]]:
    spans = []
    begin: int | None = None
    for item in line.tokens:
        if item.depth == 0 and item.text == "=":
            begin = item.end + 1
        elif item.depth == 0 and item.text == "," and begin is not None:
            spans.append((begin, item.begin))
            begin = None
    if begin is not None:
        spans.append((begin, len(line.text)))
    return spans


def rewrite_statement(
    line: Line, place: Place, ledger: Ledger, is_alone: bool = False, is_last: bool = False
) -> str:
    """The statement as the last branch of an `if`, with its other forms before it.

    `is_alone` below a condition that is forced false: leaving it out is the same. `is_last` in its
    function: a return of zero is what happens anyway.
    """
    parsed, node = parse_statement(line)
    return _Statement(line, parsed, place, ledger).rewrite(node, is_alone, is_last)


class _Statement(Rewriter):
    def rewrite(self, node: ast.stmt, is_alone: bool, is_last: bool) -> str:
        forms: list[tuple[str, str]] = []  # guard, statement
        if not is_alone and self._may_go(node, is_last) and (n := self.whole("pass")):
            forms.append((self._gone(node, n), "pass"))
        if isinstance(node, ast.AugAssign):
            symbol = next(t for t in self.line.tokens if t.text in AUGMENTED)
            after = self._replaced(symbol.begin, symbol.end, AUGMENTED[symbol.text])
            if n := self.whole(after):
                forms.append((self._guard(n, f"({self.source(node.value)}) != 0", node), after))
        text = self._rest(node)
        if not forms:
            return text
        pad = "\n" + " " * self.line.indent
        branches = [f"if {guard}:{pad}    {form}" for guard, form in forms]
        return f"{pad}el".join(branches) + f"{pad}else:{pad}    {text}"

    def _may_go(self, node: ast.stmt, is_last: bool) -> bool:
        if isinstance(node, ast.Return):
            return not (is_last and self.place.returns_zero and _is_zero(node.value))
        if isinstance(node, ast.Assign):
            return not self._names_a_pointer(node)
        if isinstance(node, ast.Expr):
            return not isinstance(node.value, ast.Constant)
        return isinstance(node, (ast.AugAssign, ast.Raise, ast.Break, ast.Continue))

    def _names_a_pointer(self, node: ast.Assign) -> bool:
        """Without it every use is wild, which says nothing."""
        value = self.source(node.value)
        return value.startswith("&") and isinstance(node.targets[0], ast.Name)

    def _gone(self, node: ast.stmt, n: int) -> str:
        """Leaving out an assignment makes a difference where another value was there."""
        if isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub)):
            return self._guard(n, f"({self.source(node.value)}) != 0", node)
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if any(isinstance(part, ast.Attribute) for part in ast.walk(target)):
                cast = "<bint>" if isinstance(node.value, (ast.BoolOp, ast.Compare)) else ""
                value = f"{cast}({self.source(node.value)})"
                return self._guard(n, f"{self.source(target)} != {value}", node)
        return f"is_on({n})"

    def _guard(self, n: int, differs: str, node: ast.Assign | ast.AugAssign) -> str:
        if self.is_watched(node):
            return f"is_gone({n}, {differs})"
        return f"is_on({n})"

    def _replaced(self, begin: int, end: int, text: str) -> str:
        return self.line.text[:begin] + text + self.line.text[end:]

    def _rest(self, node: ast.stmt) -> str:
        if isinstance(node, ast.Raise):
            return self.line.text
        return self.with_children(node)


def _is_zero(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and not value.value)
