"""A table as such, and what it looks like in Markdown, in LaTeX and in a terminal; and the templates of all other text."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from ..record import Record
from .cells import AGREEMENT, DASH, fixed, listed, one_line, signed
from .stats import FEW_SEEDS

if TYPE_CHECKING:
    import jinja2
    from rich.console import Group

WORDS: dict[str, Any] = tomllib.loads(resources.files(__package__).joinpath("words.toml").read_text("utf-8"))
LEGEND: dict[str, str] = WORDS["legend"]
# Why a number is not quite like its neighbours; the marks can be told apart without colour.
FLAGS = {mark: LEGEND[mark] for mark in "†‡§¶‖"}
BUSY = "*"


class Value(NamedTuple):
    """An entry of a table."""

    text: str
    best: bool = False  # of those that nothing is better than
    flags: str = ""  # of LEGEND
    why: str = ""  # of a dash: its reason
    number: float | None = None  # what it is sorted by, where that is not its text

    @property
    def marks(self) -> str:
        """Marks that stand behind the text."""
        return f" {self.flags}" if self.flags else ""


class Heading(NamedTuple):
    """A column of a table that is laid out."""

    name: str
    numeric: bool = True


class Line(NamedTuple):
    values: tuple[Value, ...]
    role: str = ""  # of cells.ROLES, to filter by
    dim: int | None = None  # the one that the line is about; None where it spans several
    records: tuple[Record, ...] = ()  # what it can be reproduced by


@dataclass(frozen=True)
class Table:
    """Columns and lines of one length, with a heading and what a reader must know to read it."""

    key: str  # for links: letters and hyphens
    title: str
    caption: str
    columns: tuple[Heading, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()  # what a terminal shows below it
    dim: int | None = None  # the one that all of it is about


def captioned(
    kind: str,
    columns: Iterable[Heading],
    lines: Iterable[Line],
    notes: tuple[str, ...] = (),
    dim: int | None = None,
    **filled: object,
) -> Table:
    """A table with the title and caption that `words.toml` has for its kind."""
    title, caption = (
        " ".join(WORDS["tables"][kind][name].split()).format(dim=dim, **filled) for name in ("title", "caption")
    )
    return Table(f"d-{dim}" if dim is not None else kind, title, caption, tuple(columns), tuple(lines), notes, dim)


def text(value: object) -> Value:
    """Something that is not a measurement."""
    return Value(one_line(value))


def dash(why: str = "") -> Value:
    return Value(DASH, why=why)


def markdown(table: Table) -> str:
    """A pipe table, aligned in the source as well. Bold: nothing is better."""

    def shown(value: Value) -> str:
        content = value.text.replace("|", "\\|")
        return (f"**{content}**" if value.best else content) + value.marks

    body = [[shown(value) for value in line.values] for line in table.lines]
    columns = []
    for (name, numeric), *texts in zip(table.columns, *body, strict=True):
        width = max(3, *map(len, (name, *texts)))
        rule = "-" * (width - 1) + (":" if numeric else "-")
        columns.append([text.rjust(width) if numeric else text.ljust(width) for text in (name, rule, *texts)])
    return "".join(f"| {' | '.join(texts)} |\n" for texts in zip(*columns, strict=True))


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "–": "--", "≈": r"$\approx$",
    "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "¶": r"\P{}", "‖": r"$\parallel$", "×": r"$\times$", "µ": r"\textmu{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "\u200b": "{}",
}  # fmt: skip


def escaped(plain: str) -> str:
    """Text for LaTeX, which prints every character of it; of what its usual fonts lack, the number."""

    def printed(letter: str) -> str:
        accented = "À" <= letter <= "ÿ" and letter not in "ÐðÞþ÷"
        return _LATEX.get(letter, letter if letter.isascii() or accented else f"[U+{ord(letter):04X}]")

    # Two hyphens would join to a dash.
    return "".join(map(printed, re.sub("-(?=-)", "-\u200b", plain)))


@functools.cache
def templates(html: bool = False, package: str = __package__) -> jinja2.Environment:
    """The files `*.jinja` of a package; what is filled into a text is one line."""
    import jinja2
    from markupsafe import Markup, escape

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: resources.files(package).joinpath(name).read_text("utf-8")),
        autoescape=html,
        finalize=None if html else one_line,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= {"legend": LEGEND, "flags": FLAGS, "busy": BUSY, "dash": DASH}
    environment.globals |= {"agreement": AGREEMENT, "few_seeds": FEW_SEEDS}
    environment.filters |= {
        "tex": escaped,
        "fixed": fixed,
        "listed": listed,
        "signed": lambda summary: signed(summary.mean, summary.half),
        "code": lambda markdown: Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(markdown)))),
    }
    return environment


def latex(tables: Sequence[Table]) -> str:
    r"""Each a `table` with booktabs rules: \usepackage{booktabs}. Bold: nothing is better."""
    return templates().get_template("comparison.tex.jinja").render(tables=tables)


def phrases(name: str, **values: Any) -> tuple[str, ...]:
    """The paragraphs of a macro of `words.jinja`, each in one line."""
    written = str(getattr(templates().get_template("words.jinja").module, name)(**values))
    return tuple(" ".join(paragraph.split()) for paragraph in written.split("\n\n") if paragraph.strip())


def rich(table: Table, title: str, keep: Callable[[int], bool] = lambda column: True) -> Group:
    """For a terminal, with those columns that `keep` says, and below them what the marks mean that occur."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    columns = [number for number in range(len(table.columns)) if keep(number)]
    shown = [[line.values[number] for number in columns] for line in table.lines]
    result = RichTable(title=Text(one_line(title)), box=SIMPLE_HEAD, pad_edge=False)
    for name, numeric in (table.columns[number] for number in columns):
        # Folded where the terminal is narrow: cut, lines that differ in the end of a name would look alike.
        result.add_column(Text(one_line(name)), justify="right" if numeric else "left", overflow="fold")
    for line in shown:
        result.add_row(*(Text(value.text + value.marks, style="bold" if value.best else "") for value in line))
    values = list(chain.from_iterable(shown))
    legend = ["bold: no student of its head and column is better"] * any(value.best for value in values)
    marks = {mark for value in values for mark in value.flags}
    legend += [f"{mark} {meaning}" for mark, meaning in LEGEND.items() if mark in marks]
    return Group(result, *(Text(one_line(note)) for note in ("; ".join(legend), *table.notes) if note))
