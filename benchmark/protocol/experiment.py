"""The experiment that a request stands for: data, preset, runs, and where their results go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..data import cards
from ..data.cards import Card
from ..data.source import Source
from ..data.splits import DataSet
from ..data.vectors import VectorRows
from ..errors import UsageError
from ..methods import entry
from ..record import Record
from ..spec import ENSEMBLE, Spec
from ..store import Store
from ..tuned import Settings, TunedFiles
from . import given, grid
from .grid import Variants, split_key
from .presets import Layers, Preset, choose_preset, layers, select
from .request import Request

MOST_GENERATIONS = 50  # each is within the spec of the next: nesting costs time, and Python and JSON have limits


@dataclass(frozen=True)
class Experiment:
    """The data, the preset and the runs of a request; there are none before `resolve` or `repeat` says which."""

    request: Request
    source: Source
    preset: Preset
    why: str  # that preset, where none was asked for
    specs: tuple[Spec, ...] = ()
    left_out: tuple[str, ...] = ()  # of the methods asked for, those that do not apply, and why

    @property
    def card(self) -> Card:
        return self.source.card

    @property
    def data_dir(self) -> Path:
        return self.source.folder

    def images(self) -> DataSet:
        """The data set, fetched when it is not there."""
        return self.source.images

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def folder(self) -> Path:
        return self.request.results / self.name / self.preset.name

    @property
    def store(self) -> Store:
        return Store(self.folder)

    @property
    def data_options(self) -> dict[str, object]:
        """The options that name the data, for the record: without what is true of one machine only."""
        options: dict[str, object] = {} if self.request.on_vectors else {"--dataset": self.card.name}
        for name, value in self.request.vectors or ():
            options[f"--{name.replace('_', '-')}"] = value.name if isinstance(value, Path) else value
        return options

    @property
    def tuned(self) -> TunedFiles:
        return TunedFiles.of(self.preset.name, None if self.source.own else self.card.name, self.folder.parent)


def gather(request: Request, *, dry: bool = False) -> Experiment:
    """Find the data and the preset of a request, and fetch what its runs are known by: own data, and what a mirror holds.

    Args:
        dry: leave a mirror alone.

    Raises:
        UsageError: a name is unknown, or options exclude each other.
        DataError: own data are missing or damaged.
    """
    if request.results.exists() and not request.results.is_dir():
        raise UsageError(f"--results {request.results} is a file; name a folder")
    if (request.dataset is None) == (not request.on_vectors):
        raise UsageError(f"give --dataset or --features{', not both' if request.dataset else ''}")
    folder = request.data or cards.default_data_dir()
    if request.on_vectors and request.vectors is not None:
        card = cards.of_vectors(request.vectors)
    else:
        card = cards.load_card(str(request.dataset), folder, request.own)
    source = Source(card, folder, request.mirror, request.subset, request.taught_by)
    preset, why = choose_preset(request.preset, card, request.device)
    if request.mirror is not None and not dry:
        source = source.fetched()
    if request.taught_by is not None and dry and not source.here:
        raise UsageError(
            f"the images of {card.name} are not here yet, to which vectors are joined: benchmark fetch gets them"
        )
    if cards.is_own(source.card) or request.taught_by is not None:
        _ = source.images
    return Experiment(request, source, preset, why)


def repeat(experiment: Experiment, record: Record) -> Experiment:
    """The experiment that does the run of a record again; with seeds in the request, the runs that differ from it in that alone.

    Raises:
        UsageError: the data are not those of the record, or other seeds cannot be had.
    """
    spec, source, seeds = record.spec, experiment.source, experiment.request.seeds
    if spec.dataset != source.card.name:
        raise UsageError(f"{spec.label} is of the data set {spec.dataset!r}, and {source.card.name!r} is another")
    if spec.data and spec.data != source.own:
        raise UsageError(f"{spec.label} is of other images ({spec.data}) than these ({source.own or source.card.name})")
    if spec.builds_on_vectors:
        source.images.taught_by(spec)
    elif experiment.request.taught_by is not None:
        raise UsageError(f"--teacher-features: {spec.label} is not taught by vectors")
    if seeds is not None and spec.fixed_seed:
        raise UsageError(f"--seeds: {spec.label} builds on generations of its seed; leave it out")
    chosen = [spec.seed] if seeds is None else integers("--seeds", seeds)
    return replace(experiment, specs=tuple(spec.replace(seed=seed) for seed in chosen))


def resolve(experiment: Experiment, variants: Variants | None = None) -> Experiment:
    """The experiment with the runs that its request stands for; the same for the same request and data.

    Args:
        variants: what is tried of each method, one student a variant, on held-out training classes; where no dimension is asked for,
            the students have those at which the preset tunes.

    Raises:
        UsageError: a name is unknown, a value impossible, or what is set would be without effect.
    """
    request, card, preset = experiment.request, experiment.card, experiment.preset
    if not 0 <= request.generations <= MOST_GENERATIONS:
        raise UsageError(f"--generations wants 1 to {MOST_GENERATIONS}, not {request.generations}")
    values = _assigned(request)
    below = layers(preset, card)
    students = {**below.shared, **below.student, **values}
    asked = select(preset.methods if request.methods is None else words("--methods", request.methods), preset)
    reasons = {name: _lacking(name, experiment, students, below) for name in asked}
    left_out = tuple(f"{name} does not apply: it {reason}" for name, reason in reasons.items() if reason)
    if not (chosen := [name for name in asked if not reasons[name]]):
        raise UsageError("; ".join(left_out))
    given.check_keys(values, chosen, card, request)
    tried = {
        name: {key for variant in variants(entry(name)) for key in variant}
        for name in chosen
        if variants and entry(name).trains
    }
    given.check_keys([f"{name}.{key}" for name, keys in tried.items() for key in keys], chosen, card, request)
    for key in values:
        target, field = split_key(key)
        if any(field in tried.get(method, ()) for method in ([target] if target else chosen)):
            raise UsageError(f"{key} is both set and tuned; leave out one")
    stream: Settings = {"dataset": card.name, "data": experiment.source.own, "subset": request.subset}
    stream["evaluation"] = "validation" if variants else "test"
    if card.vectors is not None:
        rows = experiment.images().train.images
        assert isinstance(rows, VectorRows)
        stream["views"] = rows.student.views
        values |= {"teacher.dim": rows.teacher.width, "features.dim": rows.student.width}
    else:
        values |= given.as_students_see(values, students, below, chosen)
    if request.taught_by is not None:
        values |= _vectors_as_teacher(experiment)
    dims = sorted(preset.dims_of(card))
    if request.dims is not None:
        dims = integers("--dims", request.dims)
    elif variants:
        dims = list(preset.tuning.dims or [dims[(len(dims) - 1) // 2]])
    held_out = cards.is_own(card) and experiment.images().validation is not None
    specs = [
        spec
        for fold in (preset.tuning.parts if variants and not held_out else ("",))
        for spec in grid.specs(
            preset,
            card,
            chosen=chosen,
            dims=dims,
            seeds=preset.seeds if request.seeds is None else integers("--seeds", request.seeds),
            assignments=values,
            stream={**stream, "fold": fold},
            tuned={} if variants else experiment.tuned.for_runs(),
            variants=variants,
            generations=request.generations,
        )
    ]
    if card.unlabelled:
        given.check_untrained(specs)
    return replace(experiment, specs=tuple(specs), left_out=left_out)


def _vectors_as_teacher(experiment: Experiment) -> Settings:
    """The settings of a teacher that is vectors of the images."""
    vectors = experiment.images().teacher
    assert vectors is not None
    if experiment.request.generations:
        raise UsageError("--generations: they have the teacher's network, and the teacher is vectors")
    fields = {"method": given.AS_IS, "backbone": vectors.backbone, "dim": vectors.file.width}
    return {f"teacher.{name}": value for name, value in {**fields, "seed": 0, "views": 0, "fit": "squash"}.items()}


def _assigned(request: Request) -> Settings:
    """Settings by key: those of --set, and of the options that stand for one. Raises a UsageError where no backbone is called that."""
    values: Settings = {**grid.parse_assignments(request.set)}
    if request.steps is not None:
        values["steps"] = integers("--steps", request.steps)
    if request.backbone is not None:
        values["backbone"] = request.backbone
    if request.teacher is not None:
        values |= given.settings_of_teacher(request.teacher, values)
    return given.with_own_names(values)


def _lacking(name: str, experiment: Experiment, students: Settings, below: Layers) -> str:
    """Why a method does not apply to students of these settings, or nothing."""
    method, vectors = entry(name), experiment.card.vectors is not None
    on_features = vectors or bool(students.get("views"))
    if not on_features and method.kind == "control":
        return "trains no head: it is for features of frozen trunks (--set views=8) and own vectors (--features)"
    by_vectors = experiment.request.taught_by is not None
    reads_maps = "maps" in method.needs and not on_features and not by_vectors
    if reads_maps and (without := given.without_maps(name, students, below)):
        return f"needs feature maps, and {without} has none"
    if name == ENSEMBLE:
        return "is made of generations: --generations 2 or more adds it by itself"
    if on_features and method.same_size:
        return "needs a network of the teacher's size, and heads on frozen features are not"
    if by_vectors and method.same_size:
        return "needs a teacher's network, to be of its size, and the teacher is vectors"
    lacking = {"maps"} if on_features or by_vectors else set()
    unlabelled = experiment.card.unlabelled
    if unlabelled and not method.needs_teacher:
        return "has no teacher, whose neighbours are to be found where there are no labels"
    if unlabelled or (vectors and not experiment.images().labelled):
        lacking.add("labels")
    missing = sorted(lacking & {*method.needs})
    why = ", and the teacher is vectors" if by_vectors else ""
    return f"needs {' and '.join(missing)}{why}" if missing else ""


def words(option: str, text: str) -> list[str]:
    """The comma-separated words of an option. Raises a UsageError where there is none."""
    result = [word.strip() for word in text.split(",") if word.strip()]
    if not result:
        raise UsageError(f"{option} is empty")
    return result


def integers(option: str, text: str) -> list[int]:
    """The comma-separated whole numbers of an option. Raises a UsageError where they are none."""
    try:
        return [int(word) for word in words(option, text)]
    except ValueError:
        raise UsageError(f"{option} wants whole numbers with commas, such as 1,2,4, not {text!r}") from None
