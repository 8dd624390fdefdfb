"""Make the site's pages that nobody writes, as a hook of mkdocs: the reference, from the code; and lead the repository's links."""

from __future__ import annotations

import ast
import json
import posixpath
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import benchmark
from benchmark import methods
from benchmark.cli import app
from benchmark.methods.entries import Entry
from benchmark.protocol.presets import preset_names, read_preset
from benchmark.record import ByClass, Evaluation, Geometry, Point, Record
from benchmark.spec import Spec
from benchmark.tuned import PRESETS

ROOT = Path(__file__).parent.parent
# Pages of the repository that are not in docs/, and the folders whose pages and figures they lead to.
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "datasets/README.md", "results/README.md", "results/LOG.md")
FORMULA = re.compile(r"(?<!\\)\\\[(.+?)\\\]|(?<!\\)\\\((.+?)\\\)", re.DOTALL)
# Commands that the converter does not know, and those for the same signs that it does.
SIGNS = {r"\Vert": "‖", r"\lvert": "|", r"\rvert": "|"}
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
KINDS = {
    "individual": "A student's output is held against the teacher's of the same image",
    "relational": "Relations among the images of a batch are held against the teacher's",
    "posthoc": "The teacher's embedding made smaller, without a student",
    "control": "A head in closed form on the student's frozen features",
    "none": "No teacher",
}


def on_config(config: MkDocsConfig) -> None:
    """Name the methods in the navigation, kind by kind."""
    entries = methods.catalogue().values()
    by_kind: list[Any] = ["reference/methods/index.md"]
    for kind in KINDS:
        by_kind.append({kind: [{e.name: f"reference/methods/{e.name}.md"} for e in entries if e.kind == kind]})
    for section in config.nav or ():
        for name, pages in section.items():
            if name == "Reference":
                section[name] = [{"Methods": by_kind} if "Methods" in page else page for page in pages]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add what is generated, and what of the repository is read as a page."""
    for place, content in generated():
        files.append(File.generated(config, place, content=content))
    waiting, known = [name for name in PAGES if (ROOT / name).exists()], set[str]()
    waiting += [name for page in sorted((ROOT / "docs").glob("*.md")) for name in linked(page)]
    while waiting:
        if (name := waiting.pop()) in known or name.startswith("docs/"):
            continue
        known.add(name)
        files.append(File.generated(config, place_of(name), abs_src_path=str(ROOT / name)))
        waiting += linked(ROOT / name) if name.endswith(".md") else ()


def linked(page: Path) -> list[str]:
    """The pages and figures of the repository that a page leads to, from its root."""
    links = (match[1] for match in LINK.finditer(page.read_text(encoding="utf-8")))
    paths = (resolved(page.parent.relative_to(ROOT).as_posix(), link) for link in links if "://" not in link)
    return [path for path in paths if path.endswith((".md", ".svg"))]


def resolved(folder: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(folder, link))


def place_of(name: str) -> str:
    """Where a page of the repository lies in the site: what is in docs/ at the top, as is the README."""
    return "index.md" if name == "README.md" else name.removeprefix("docs/")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links that are right in the repository to where their pages are here; one to code becomes the name of that."""
    place = page.file.src_uri
    if place.startswith("reference/"):
        return markdown
    home = {place_of(name): name for name in PAGES}.get(place)
    if home is None:
        home = f"docs/{place}" if (ROOT / "docs" / place).exists() else place

    def led(match: re.Match[str]) -> str:
        if "://" in match[1]:
            return match[0]
        target = place_of(name := resolved(posixpath.dirname(home), match[1]))
        if files.get_file_from_path(target) is None:
            return f"] (`{name}`)"
        return f"]({posixpath.relpath(target, posixpath.dirname(place) or '.')}{match[2] or ''})"

    markdown = LINK.sub(led, markdown)
    return re.sub(r"\[([^][]*)\] (\(`[^`]+`\))", r"\1 \2", markdown)


def generated() -> Iterator[tuple[str, str]]:
    """All pages of the reference, by their place."""
    yield "reference/command-line.md", command_line()
    yield "reference/python.md", python()
    yield "reference/records.md", records()
    yield "reference/record.schema.json", json.dumps(Record.model_json_schema(), indent=1)
    yield "reference/presets.md", presets()
    formulas = tomllib.loads((ROOT / "docs" / "formulas.toml").read_text(encoding="utf-8"))
    entries = methods.catalogue()
    yield "reference/methods/index.md", overview(entries)
    for name, entry in entries.items():
        yield f"reference/methods/{name}.md", with_formulas(method(entry, formulas))


def command_line() -> str:
    text = app.generate_docs(heading_level=1)
    # A list of links to commands that the sidebar has as well, and the parent's name before each command's.
    text = re.sub(r"## Table of Contents\n\n(- .*\n)+\n", "", text)
    return re.sub(r"^# benchmark$", "# Command line", text, flags=re.MULTILINE)


def python() -> str:
    lines = [
        "# Python",
        "",
        str(benchmark.__doc__),
        "",
        "All of it is imported when it is asked for: `import benchmark`.",
    ]
    for name in benchmark.__all__:
        lines += ["", f"::: benchmark.{benchmark._MODULES[name]}.{name}"]
    return "\n".join(lines) + "\n"


def cell(text: object) -> str:
    """A value as it can stand in a table of Markdown."""
    return re.sub(r"([|<\\*])", r"\\\1", " ".join(str(text).split()))


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(map(cell, row))} |" for row in rows), "",
    ]  # fmt: skip


def fields(model: type[BaseModel]) -> list[str]:
    """A model's name, what it is, and its fields as a table."""
    rows: list[tuple[object, ...]] = []
    schema = model.model_json_schema(ref_template="{model}")
    properties = {**schema, **schema.get("$defs", {}).get(model.__name__, {})}["properties"]
    for name, field in model.model_fields.items():
        default = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
        given = (
            "required"
            if default is PydanticUndefined
            else f"`{json.dumps(default)}`"
            if default is not None
            else "null"
        )
        rows.append((f"`{name}`", kind_of(properties[name]), given, field.description or ""))
    return [
        f"## {model.__name__}",
        "",
        str(model.__doc__),
        "",
        *table(("field", "type", "default", "what it is"), rows),
    ]


def kind_of(schema: dict[str, Any]) -> str:
    """A type of JSON Schema in words."""
    if "$ref" in schema:
        return str(schema["$ref"])
    if "enum" in schema or "const" in schema:
        return ", ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(kind_of(part) for part in schema["anyOf"])
    kind = str(schema.get("type", "any"))
    low, high = (schema.get(bound, "") for bound in ("minimum", "maximum"))
    high = "" if high == 2**62 else high  # of all whole numbers
    if kind == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if kind == "object":
        return f"object of {kind_of(schema.get('additionalProperties', {}))}"
    above = f" above {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else ""
    return kind + above + (f" {low} to {high}" if high != "" else f", {low} or more" if low != "" else "")


def records() -> str:
    text = (
        "A finished run is a file `runs/<method>-<id>.json` of `results/<dataset>/<preset>`. Its `id` is a hash of its `spec`, "
        "and `digest` is that of all its other fields. Fields that came later have defaults, so that older records are read. "
        "As JSON Schema: [record.schema.json](record.schema.json)."
    )
    models = (Record, Spec, Evaluation, ByClass, Geometry, Point)
    return "\n".join(["# Records", "", text, "", *(line for model in models for line in fields(model))])


def presets() -> str:
    lines = [
        "# Presets",
        "",
        "A preset is a protocol. `--preset NAME` takes it, `--set` changes what it says, `--dry-run` shows what it comes to.",
        "",
    ]
    for name in preset_names():
        content = (PRESETS / f"{name}.toml").read_text(encoding="utf-8").strip()
        lines += [f"## {name}", "", f"{read_preset(name).title}.", "", "```toml", content, "```", ""]
    return "\n".join(lines)


def overview(entries: dict[str, Entry]) -> str:
    lines = [
        "# Methods",
        "",
        "Each has a page with its formula, as the code computes it, and with what it does otherwise than its paper.",
        "",
    ]
    for kind, what in KINDS.items():
        rows = [(f"[{e.name}]({e.name}.md)", e.reference) for e in entries.values() if e.kind == kind]
        lines += [f"## {kind}", "", f"{what}.", "", *table(("method", "reference"), list(rows))]
    return "\n".join(lines)


def with_formulas(text: str) -> str:
    """Markdown with its formulas as MathML, which browsers show without a script and without a network."""

    def shown(match: re.Match[str]) -> str:
        formula = " ".join((match[1] or match[2]).split())
        for sign, known in SIGNS.items():
            formula = re.sub(re.escape(sign) + r"(?![a-zA-Z])", lambda _, known=known: known, formula)
        written = convert(formula, display="block" if match[1] else "inline")
        written = written.replace("*", "&#42;").replace("_", "&#95;")  # which Markdown would take for its own
        # A line that begins with <math> would be a paragraph.
        return written if match[1] else f"<span>{written}</span>"

    return FORMULA.sub(shown, text)


def described(entry: Entry) -> str:
    """The docstring of a method's class, from its source."""
    path = ROOT / "benchmark" / "methods" / f"{entry.module}.py"
    (node,) = (
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == entry.cls
    )
    return re.sub(r"([<*\\])", r"\\\1", ast.get_docstring(node) or "")


def method(entry: Entry, formulas: dict[str, Any]) -> str:
    lines = [f"# {entry.name}", "", described(entry), ""]
    if known := formulas.get(entry.name):
        title = "Loss" if entry.trains else "Embedding"
        lines += [
            f"## {title}",
            "",
            "\\[",
            known["formula"].strip(),
            "\\]",
            "",
            known.get("where", ""),
            "",
            formulas["symbols"],
        ]
    facts: list[tuple[object, ...]] = [
        ("kind", f"{entry.kind}: {KINDS[entry.kind][0].lower()}{KINDS[entry.kind][1:]}"),
        ("reference", entry.reference),
        ("reads", ", ".join(entry.needs) + (f"; if there: {', '.join(entry.optional)}" if entry.optional else "")),
        ("adds the loss", entry.task or "none"),
        ("its embedding", "l2-normalised" if entry.normalize else "not normalised"),
        ("uses labels", "yes" if entry.uses_labels else "no"),
        ("code", f"`benchmark/methods/{entry.module}.py`, class `{entry.cls}`"),
    ]
    lines += ["## Facts", "", *table(("fact", "of this method"), facts)]
    if entry.defaults:
        spans = {name: " to ".join(f"{bound:g}" for bound in span) for name, span in entry.ranges.items()}
        rows = [(f"`{entry.name}.{key}`", f"`{value}`", spans.get(key, "")) for key, value in entry.defaults.items()]
        lines += [
            "## Hyper-parameters",
            "",
            *table(("for `--set`", "default", "`tune --trials` draws from"), list(rows)),
        ]
    return "\n".join(lines)
