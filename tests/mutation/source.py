"""A Cython module with every change of every function behind a guard.

Constants of a module (and unnamed enums) are worked out when it is imported, before a number is
chosen. Here they become variables and are worked out again at each choice; a use notes that a
change of the constant would make a difference.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.mutation.lines import Line, logical_lines, parse_expression
from tests.mutation.operators import Ledger, Place, Rewriter
from tests.mutation.statements import (
    NO_STATEMENTS,
    initial_values,
    rewrite_declaration,
    rewrite_head,
    rewrite_statement,
)

GUARDS = "is_gone, is_on, or_false, or_true, pick_bool, pick_int"
IMPORTS = ("from", "import", "cimport")


@dataclass(frozen=True)
class Constant:
    name: str
    file: str
    line: Line
    begin: int  # of its value, in the line
    end: int
    use: int  # number under which a use is noted
    value: str = ""  # instead, where the source gives none


@dataclass
class Block:
    """A statement with a suite below it."""

    line: Line
    name: str = ""  # of a function or class
    is_function: bool = False


@dataclass
class Edits:
    source: str
    changes: list[tuple[int, int, str]] = field(default_factory=list)

    def replace(self, line: Line, text: str) -> None:
        if text != line.text:
            self.changes.append((line.begin, line.end, text))

    def result(self) -> str:
        text, at = "", 0
        for begin, end, new in sorted(self.changes):
            text += self.source[at:begin] + new
            at = end
        return text + self.source[at:]


@dataclass(frozen=True)
class Module:
    """The sources of one module, and the constants that other modules take from it."""

    file: str
    source: str
    pxd: str = ""

    @property
    def pxd_file(self) -> str:
        return self.file.removesuffix(".pyx") + ".pxd"


def find_constants(module: Module, ledger: Ledger) -> list[Constant]:
    """Constants of a module in the order in which they are given; those of its `.pxd` first."""
    lines, pxd_lines = logical_lines(module.source), logical_lines(module.pxd)
    sizes = _array_sizes([*lines, *pxd_lines])
    constants = list(_enum_members(module.pxd_file, pxd_lines, ledger, sizes))
    constants += _enum_members(module.file, lines, ledger, sizes)
    for line in lines:
        if line.indent or line.is_head:
            continue
        names = [t.text for t in line.tokens if t.depth == 0 and t.is_name]
        if line.word == "cdef":
            for begin, end in initial_values(line):
                name = [t.text for t in line.tokens if t.is_name and t.end <= begin][-1]
                constants.append(Constant(name, module.file, line, begin, end, ledger.number()))
        elif line.word.startswith("_") and len(line.tokens) > 1 and line.tokens[1].text == "=":
            # A name without the underscore may have been imported by its value.
            begin = line.tokens[1].end + 1
            use = ledger.number()
            constants.append(Constant(names[0], module.file, line, begin, len(line.text), use))
    return constants


def _array_sizes(lines: list[Line]) -> set[str]:
    """Names that say how large an array is, and so have to be known to the compiler."""
    return {
        line.tokens[k].text
        for line in lines
        for k in range(1, len(line.tokens) - 1)
        if line.word == "cdef" and line.tokens[k].is_name and line.tokens[k - 1].text == "["
    }


def _enum_members(
    file: str, lines: list[Line], ledger: Ledger, left_out: set[str]
) -> Iterator[Constant]:
    values = itertools.count()
    for line in _enum_lines(lines):
        names = [t for t in line.tokens if t.is_name and t.depth == 0 and t.text not in left_out]
        if line.is_head:
            values = itertools.count()
        elif len(line.tokens) > 1 and line.tokens[1].text == "=":
            begin, end = line.tokens[1].end + 1, len(line.text)
            for name in names[:1]:
                yield Constant(name.text, file, line, begin, end, ledger.number())
        else:
            for name in names:
                yield Constant(name.text, file, line, 0, 0, ledger.number(), str(next(values)))


def _enum_lines(lines: list[Line]) -> Iterator[Line]:
    """Unnamed enums: their head, then their members."""
    is_in = False
    for line in lines:
        if line.indent == 0:
            is_in = line.text == "cdef enum:"
        if is_in:
            yield line


def mutate_pxd(module: Module, constants: list[Constant]) -> str:
    edits = Edits(module.pxd)
    _replace_enums(edits, logical_lines(module.pxd), module.pxd_file, constants)
    return edits.result()


def mutate(
    module: Module, constants: list[Constant], shared: dict[str, int], ledger: Ledger
) -> str:
    """The guarded source; `shared` are the uses of constants of other modules."""
    edits = Edits(module.source)
    lines = logical_lines(module.source)
    uses = shared | {constant.name: constant.use for constant in constants}
    first = next(line for line in lines if line.word in IMPORTS)
    edits.changes.append((first.begin, first.begin, f"from loadctl.law.mutants cimport {GUARDS}\n"))
    _replace_enums(edits, lines, module.file, constants)
    blocks: list[Block] = []
    for k, line in enumerate(lines):
        while blocks and blocks[-1].line.indent >= line.indent:
            blocks.pop()
        function = next((b for b in reversed(blocks) if b.is_function), None)
        if function is None:
            blocks += _opened(line)
            continue
        place = _place(module.file, blocks, function, uses)
        if line.is_head:
            edits.replace(line, rewrite_head(line, place, ledger))
            blocks.append(Block(line))
        elif line.word == "cdef":
            edits.replace(line, rewrite_declaration(line, place, ledger))
        elif not line.is_text and line.word not in NO_STATEMENTS:
            edits.replace(line, _statement(lines, k, blocks, place, ledger))
    return edits.result() + _worked_out(constants, ledger)


def _opened(line: Line) -> list[Block]:
    if not line.is_head:
        return []
    words = [t.text for t in line.tokens]
    if line.word in ("def", "cdef", "cpdef") and "(" in words and words[1] != "class":
        return [Block(line, words[words.index("(") - 1], is_function=True)]
    return [Block(line, words[-2])]


def _place(file: str, blocks: list[Block], function: Block, uses: dict[str, int]) -> Place:
    words = [t.text for t in function.line.tokens]
    return Place(
        file,
        ".".join(block.name for block in blocks if block.name),
        is_c=words[0] == "cdef" and "nogil" in words,
        returns_zero=words[0] == "cdef",
        uses=uses,
    )


def _statement(lines: list[Line], k: int, blocks: list[Block], place: Place, ledger: Ledger) -> str:
    line, head = lines[k], blocks[-1].line
    after = lines[k + 1] if k + 1 < len(lines) else None
    inner = next(n for n in range(len(blocks), 0, -1) if blocks[n - 1].is_function) - 1
    is_in_loop = any(b.line.word in ("for", "while") for b in blocks[inner:])
    is_last = after is None or after.indent <= blocks[inner].line.indent
    is_only = lines[k - 1] is head and (after is None or after.indent < line.indent)
    has_else = after is not None and after.indent == head.indent and after.word in ("elif", "else")
    is_alone = head.word == "if" and is_only and not has_else and _says_false(head)
    return rewrite_statement(line, place, ledger, is_alone, is_last and not is_in_loop)


def _says_false(head: Line) -> bool:
    """True where the condition as a whole is forced false."""
    _, node = parse_expression(head, head.tokens[1].begin, head.tokens[-1].begin)
    is_positive = True
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node, is_positive = node.operand, not is_positive
    if isinstance(node, ast.BoolOp):
        return isinstance(node.op, ast.And) == is_positive
    return True


def _replace_enums(edits: Edits, lines: list[Line], file: str, constants: list[Constant]) -> None:
    for line in _enum_lines(lines):
        of_line = [c for c in constants if c.file == file and c.line == line]
        text = "cdef long long " + ", ".join(c.name for c in of_line)
        if not of_line:
            text = "" if line.is_head else f"cdef enum:\n    {line.text}"
        edits.changes.append((line.begin - line.indent, line.end, text))


def _worked_out(constants: list[Constant], ledger: Ledger) -> str:
    """The function that works the constants out again, and its first call."""
    rows = []
    for constant in constants:
        value = constant.value or constant.line.text[constant.begin : constant.end]
        # How many ns a second has is nothing that the law decides.
        if not constant.value and "_PER_" not in constant.name:
            place = Place(
                constant.file, "constants", False, False, {}, tuple(_uses_of(constant, constants))
            )
            parsed, node = parse_expression(constant.line, constant.begin, constant.end)
            value = Rewriter(constant.line, parsed, place, ledger).text(node)
        rows.append(f"    {constant.name} = {value}\n")
    names = "".join(f"    global {constant.name}\n" for constant in constants)
    body = names + "".join(rows) + "    return\n"
    return f"\n\ndef work_out_constants():\n{body}\nwork_out_constants()\n"


def _uses_of(constant: Constant, constants: list[Constant]) -> Iterator[int]:
    """Its own use, and those of constants that are made of it."""
    yield constant.use
    for other in constants:
        is_made_of_it = any(t.text == constant.name for t in other.line.tokens[2:])
        if other.name != constant.name and is_made_of_it:
            yield from _uses_of(other, constants)
