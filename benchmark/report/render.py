"""A table as such, and what it looks like in Markdown, in LaTeX and in a terminal. The page has a template of its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .cells import DASH, Row, one_line

if TYPE_CHECKING:
    from rich.console import Group


# Why a number is not quite like its neighbours; the marks can be told apart without colour.
FLAGS = {
    "†": "run with code that was not committed (+dirty)",
    "‡": "other numbers of steps than most of its column",
    "§": "other images than the rest",
    "¶": "a teacher of other weights than its neighbours': it was trained more than once",
}
BUSY = "*"
LEGEND = {
    "≈": "not separated from the best",
    **FLAGS,
    BUSY: "measured while the machine was busy: benchmark costs measures it again",
}


class Value(NamedTuple):
    """An entry of a table."""

    text: str
    best: bool = False  # of its column
    near: bool = False  # not separated from the best
    flags: str = ""  # of LEGEND
    why: str = ""  # of a dash: its reason
    number: float | None = None  # what it is sorted by, where that is not its text

    @property
    def marks(self) -> str:
        """Marks that stand behind the text."""
        return (" ≈" if self.near else "") + (f" {self.flags}" if self.flags else "")


class Heading(NamedTuple):
    """A column of a table that is laid out."""

    name: str
    numeric: bool = True


class Line(NamedTuple):
    values: tuple[Value, ...]
    role: str = ""  # of cells.ROLES, to filter by
    dim: int | None = None  # the one that the line is about; None where it spans several
    row: Row | None = None  # what it can be reproduced by


@dataclass(frozen=True)
class Table:
    """Columns and lines of one length, with a heading and what a reader must know to read it."""

    key: str  # for links: letters and hyphens
    title: str
    caption: str
    columns: tuple[Heading, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()  # what a terminal shows below it


def text(value: object) -> Value:
    """Something that is not a measurement."""
    return Value(one_line(value))


def dash(why: str = "") -> Value:
    return Value(DASH, why=why)


def markdown(table: Table) -> str:
    """A pipe table, aligned in the source as well. Bold: best; ≈: not separated from it."""

    def shown(value: Value) -> str:
        content = value.text.replace("|", "\\|")
        return (f"**{content}**" if value.best else content) + value.marks

    head = [column.name for column in table.columns]
    body = [[shown(value) for value in line.values] for line in table.lines]
    widths = [max(3, *map(len, column)) for column in zip(head, *body, strict=True)]

    def line(texts: Sequence[str]) -> str:
        aligned = [
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(texts, widths, table.columns, strict=True)
        ]
        return f"| {' | '.join(aligned)} |"

    rule = [
        f"{'-' * (width - 1)}{':' if column.numeric else '-'}"
        for width, column in zip(widths, table.columns, strict=True)
    ]
    return "\n".join([line(head), line(rule), *map(line, body)]) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "–": "--", "≈": r"$\approx$",
    "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "¶": r"\P{}", "×": r"$\times$", "µ": r"\textmu{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "\u200b": "{}",
}  # fmt: skip


def escaped(plain: str) -> str:
    """Text for LaTeX, which prints every character of it; of what its usual fonts lack, the number."""

    def printed(letter: str) -> str:
        if letter in _LATEX:
            return _LATEX[letter]
        accented = "À" <= letter <= "ÿ" and letter not in "ÐðÞþ÷"
        return letter if letter.isascii() or accented else f"[U+{ord(letter):04X}]"

    apart = re.sub("-(?=-)", "-\u200b", plain)  # two hyphens would join to a dash
    return "".join(map(printed, apart))


def latex(table: Table) -> str:
    r"""A `table` with booktabs rules: \usepackage{booktabs}. Bold: best; ≈: not separated from it."""

    def shown(value: Value) -> str:
        content = rf"\textbf{{{escaped(value.text)}}}" if value.best else escaped(value.text)
        return content + (r"\,$\approx$" if value.near else "") + (rf"\,{escaped(value.flags)}" if value.flags else "")

    def line(texts: Sequence[str]) -> str:
        return " & ".join(texts) + r" \\"

    layout = "".join("r" if column.numeric else "l" for column in table.columns)
    body: list[str] = []
    for _, group in itertools.groupby(table.lines, key=lambda entries: entries.role):
        body += [r"\addlinespace"] * bool(body)
        body += [line([shown(value) for value in entries.values]) for entries in group]
    head = rf"""\begin{{table}}
\centering
\caption{{{escaped(table.caption)}}}
\label{{tab:{table.key}}}
\begin{{tabular}}{{{layout}}}
\toprule
{line([escaped(column.name) for column in table.columns])}
\midrule"""
    return "\n".join([head, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def rich(table: Table, title: str, keep: Callable[[int], bool] = lambda column: True) -> Group:
    """For a terminal, with those columns that `keep` says, and below them what the marks mean that occur."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    values = [value for line in table.lines for number, value in enumerate(line.values) if keep(number)]
    marks = "".join(value.marks for value in values)
    legend = ["bold: the best student of its column"] * any(value.best for value in values)
    legend += [f"{mark} {meaning}" for mark, meaning in LEGEND.items() if mark in marks]
    below = [one_line(note) for note in ("; ".join(legend), *table.notes) if note]
    result = RichTable(title=Text(one_line(title)))
    columns = [number for number in range(len(table.columns)) if keep(number)]
    for number in columns:
        # Folded where the terminal is narrow: cut, lines that differ in the end of a name would look alike.
        column = table.columns[number]
        result.add_column(Text(one_line(column.name)), justify="right" if column.numeric else "left", overflow="fold")
    for line in table.lines:
        values = [line.values[number] for number in columns]
        result.add_row(*(Text(value.text + value.marks, style="bold" if value.best else "") for value in values))
    return Group(result, *map(Text, below))
