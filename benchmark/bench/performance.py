"""What was measured last, as one JSON, and the page and figure that are made from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from ..data.stored import cannot_write
from ..errors import BenchmarkError, wrong_field
from ..files import read_regular, sealed, unsealed, write_atomically
from ..report.render import Column, Line, Table, dash, markdown, text
from ..report.style import COLOURS, MARKERS, canvas

Row = Mapping[str, str | float]
FILE = "performance.json"
FIGURE = Path("figures") / "growth.svg"


class Environment(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    device: str
    threads: str
    torch: str
    code: str  # the commit, "+dirty" where there were changes


class Section(BaseModel):
    """One part of `benchmark bench`, and where it was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: Environment
    rows: list[dict[str, str | float]]


class Performance(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sections: dict[str, Section]


class Gain(NamedTuple):
    """Something that was tried for speed: what it is, what was expected of it, and the number that says what came."""

    what: str
    predicted: str
    section: str
    row: Mapping[str, str]  # the first row whose columns match these patterns
    column: str
    said: str  # with {} for the number


TITLES = {
    "training": "Training a grid of students",
    "formats": "Memory format, precision, threads, compiler",
    "data": "Images",
    "loss": "RKD's angle loss",
    "retrieval": "Retrieval",
    "report": "Start and report",
    "growth": "Growth",
}
GAINS = (
    Gain(
        "Students in lockstep, channels last, bfloat16, memory kept by the allocator, one teacher pass for all",
        "at least 5 times less than the plain loop",
        "training", {"what": "lockstep*"}, "plain / this", "{:.2f} times less",
    ),
    Gain(
        "Everything around the networks' own passes: data, losses, optimisers, the lines of progress",
        "within 1.25 times the bare passes",
        "training", {"what": "lockstep*"}, "this / bare", "{:.2f} times the bare passes",
    ),
    Gain(
        "bfloat16 and channels last for a residual network",
        "about 2 times, where the processor has bfloat16 products",
        "formats", {"network": "resnet18", "way": "channels last, bf16"}, "times faster", "{:.2f} times faster",
    ),
    Gain(
        "bfloat16 for a network of depthwise convolutions",
        "none: they move memory rather than multiply, and are slower than in float32, channels last",
        "formats", {"network": "efficientnet_lite0", "way": "channels last, bf16"}, "times faster",
        "{:.2f} times faster than NCHW in float32",
    ),
    Gain(
        "The same network in float32, channels last",
        "somewhat faster than NCHW",
        "formats", {"network": "efficientnet_lite0", "way": "channels last, fp32"}, "times faster", "{:.2f} times faster",
    ),
    Gain(
        "torch.compile",
        "fused normalisation and activations, a tenth of the step",
        "formats", {"way": "*torch.compile*"}, "times faster",
        "{:.2f} times the uncompiled speed, so it is not used",
    ),
    Gain(
        "A process a core instead of threads, for whole networks",
        "nothing: the products of a batch are large enough to be shared out",
        "formats", {"way": "*processes*"}, "times faster",
        "{:.2f} times: not worth the memory of a second teacher; heads, whose steps are too small to be shared out, have it",
    ),
    Gain(
        "A batch cropped from the memory-mapped cache, in the training process",
        "under 5 % of a step",
        "data", {"what": "batch of*"}, "share of the step", "{:.2%} of a step",
    ),
    Gain(
        "JPEG files decoded by a thread a core and resized by torch instead of Pillow",
        "at the speed of decoding alone",
        "data", {"what": "JPEG*the suite*"}, "times decoding alone",
        "{:.2f} times decoding alone at 640 x 480: the rest is resizing, writing, and waiting for the disk",
    ),
    Gain(
        "Angles by the law of cosines, a block of anchors at a time, gradients in the same pass",
        "at least 3 times faster at a batch of 512",
        "loss", {"batch": "512*"}, "times faster", "{:.1f} times faster",
    ),
    Gain(
        "The same, for memory",
        "a tenth",
        "loss", {"batch": "512*"}, "times less memory", "{:.0f} times less",
    ),
    Gain(
        "faiss's search, once for all metrics and both distances of unit vectors",
        "within 1.3 times the bare search",
        "retrieval", {"way": "ours"}, "times the bare search",
        "{:.2f} times for Recall@K up to 1,000: 100 neighbours for all queries, 1,000 only for those that have found nothing among them",
    ),
    Gain(
        "Against pytorch-metric-learning's AccuracyCalculator, as far as Recall@1,000 looks",
        "at least 2.5 times faster",
        "retrieval", {"way": "AccuracyCalculator", "Recall@": "1 *"}, "times ours",
        "{:.2f} times: it searches by faiss as well, and what both need for all pairs is most of what is left",
    ),
    Gain(
        "The same where both look at the R nearest alone, for Recall@1, MAP@R and R-precision",
        "no faster: two searches of a few neighbours",
        "retrieval", {"way": "AccuracyCalculator", "Recall@": "1"}, "times ours", "{:.2f} times",
    ),
    Gain(
        "Commands that train nothing import no torch",
        "a start under 0.6 s",
        "report", {"command": "benchmark list methods"}, "seconds", "{:.2f} s",
    ),
)  # fmt: skip


def read(path: Path) -> Performance:
    """Raises a BenchmarkError where it is none."""
    try:
        return Performance.model_validate(unsealed(read_regular(path)) if path.exists() else {"sections": {}})
    except ValueError as error:
        why = wrong_field(error) if isinstance(error, ValidationError) else error
        raise BenchmarkError(f"{path} is no record of a benchmark ({why}); delete it") from None


def check_folder(folder: Path) -> None:
    """Raises a DataError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error


def write(folder: Path, found: Mapping[str, Section]) -> list[Path]:
    """Put sections in the place of earlier ones of their names, and write the JSON, the page and the figure."""
    file = folder / FILE
    known = read(file).sections | dict(found)
    performance = Performance(sections={name: known[name] for name in TITLES if name in known})
    contents = {
        file: sealed(performance.model_dump(mode="json"), sort=False),
        file.with_suffix(".md"): page(performance),
    }
    if "growth" in performance.sections:
        contents[folder / FIGURE] = figure(performance.sections["growth"].rows)
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.encode())
    return list(contents)


def page(performance: Performance) -> str:
    """Markdown: what was hoped for and what came, then every section's rows."""
    parts = [
        "# Performance",
        "Made by `python -m benchmark bench --to results` from measurements on one machine, all ways of a section in one run. Seconds are"
        " medians of two to five repetitions (five, where these take less than 20 s), after one that does not count; `spread` is"
        " (slowest - fastest) / median.",
        _gains(performance).rstrip(),
    ]
    for name, section in performance.sections.items():
        where = section.environment
        parts += [
            f"## {TITLES[name]}",
            f"`python -m benchmark bench {name}`; {where.device}, {where.threads} threads, torch {where.torch}, code {where.code}.",
            as_markdown(section.rows).rstrip(),
        ]
        if name == "growth":
            parts += [f"![Time against size]({FIGURE.as_posix()})", *_bends(section.rows)]
    return "\n\n".join(parts) + "\n"


def _gains(performance: Performance) -> str:
    lines = []
    for gain in GAINS:
        section = performance.sections.get(gain.section)
        for row in section.rows if section else ():
            if gain.column in row and all(fnmatchcase(str(row.get(key)), pattern) for key, pattern in gain.row.items()):
                measured = gain.said.format(row[gain.column])
                lines.append(Line((text(gain.what), text(gain.predicted), text(measured))))
                break
    columns = tuple(Column(name, numeric=False) for name in ("what", "predicted", "measured"))
    return markdown(Table("gains", "", "", columns, tuple(lines)))


def as_markdown(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = tuple(Column(name, numeric=not any(isinstance(row.get(name), str) for row in rows)) for name in names)
    lines = tuple(Line(tuple(text(shown(row[name])) if name in row else dash() for name in names)) for row in rows)
    return markdown(Table("rows", "", "", columns, lines))


def shown(value: str | float) -> str:
    """Text as it is; of a number three digits that count."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _bends(rows: Sequence[Row]) -> list[str]:
    """Why the exponents are what they are."""
    why = {
        "students": "the teacher's pass and the batch are paid once, however many students there are, which keeps it below 1; memory is"
        " that of all students' weights and moments, and of one student's gradients and activations",
        "batch": "a pass is proportional to the batch; RKD's angles grow with its cube, and are a small part of a step until it is many"
        " hundreds, in blocks of bounded memory",
        "dimension": "a head is next to nothing beside its trunk, and angles are computed from distances: no time depends on it",
        "gallery": "every query is held against every item, which is the square; finding the nearest and counting them is proportional,"
        " and still felt; memory is that of the embeddings and of blocks of queries",
    }
    found = []
    for what, reason in why.items():
        series = [row for row in rows if row["grows"] == what]
        exponents = ", ".join(f"{row['exponent of time']:.2f}" for row in series if "exponent of time" in row)
        if exponents:
            whole = exponent(*(float(series[end][key]) for end in (0, -1) for key in ("size", "seconds")))
            found.append(f"**{what.capitalize()}**, exponent {whole:.2f} ({exponents} from size to size): {reason}.")
    return found


def exponent(size: float, value: float, later: float, other: float) -> float:
    """The e of a growth from `value` at `size` to `other` at `later`: twice the size has 2^e times as much."""
    return math.log(other / value) / math.log(later / size)


def figure(rows: Sequence[Row]) -> str:
    """Time against size, both in units of the smallest, with slopes 1 and 2 to hold it against; SVG."""
    with canvas(6.4, 4.0) as (drawing, svg):
        axes = drawing.add_subplot()
        longest = 1.0
        for number, what in enumerate(dict.fromkeys(row["grows"] for row in rows)):
            chosen = [row for row in rows if row["grows"] == what]
            x, y = ([float(row[key]) / float(chosen[0][key]) for row in chosen] for key in ("size", "seconds"))
            longest = max(longest, *x)
            label = f"{what}, from {shown(chosen[0]['size'])}"
            axes.plot(x, y, marker=MARKERS[number], color=COLOURS[number], label=label, markersize=4, linewidth=1.4)
        for slope in (1, 2):
            axes.plot([1, longest], [1, longest**slope], color="0.6", linewidth=0.8, linestyle=":", zorder=1)
            axes.annotate(
                f"exponent {slope}", (longest, longest**slope), fontsize=7, color="0.4", ha="right", va="bottom"
            )
        axes.set(
            xscale="log", yscale="log", xlabel="size, in units of the smallest", ylabel="time, in units of the first"
        )
        axes.legend(frameon=False, fontsize=8)
    return svg()
