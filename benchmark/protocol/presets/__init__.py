"""Presets: named protocols as TOML, and the grid of specs that one stands for."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ... import methods
from ...data.cards import Card, read_toml
from ...errors import UsageError, unknown, wrong_field
from ...files import digest
from ...spec import ENSEMBLE, Frozen, Scalar, Spec, Width

FOLDER = Path(__file__).parent
TUNED = FOLDER / "tuned"
SEALED = "digest of what follows: "  # ends the first line of what `tune` writes
OF_TEACHER = ("backbone", "pretrained", "batchnorm", "precision")  # of what is made of its embeddings
# Of what is not trained.
OF_UNTRAINED = (
    "method", "dataset", "data", "subset", "evaluation", "seed", "backbone", "pretrained", "dim", "normalize", "batchnorm",
    "resize", "image", "precision", "views",
)  # fmt: skip
Settings = dict[str, Any]
Variants = Callable[[methods.Entry], Sequence[Settings]]


class Range(Frozen):
    """Numbers from `low` to `high`, all orders of magnitude alike (log-uniform)."""

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _order(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) is not below high ({self.high:g})")
        return self


Choices = Annotated[tuple[Scalar, ...], Field(min_length=1)]
Axis = Range | Choices


class Overrides(BaseModel):
    """What a preset changes for one data set."""

    model_config = ConfigDict(extra="forbid")
    base: str | None = None
    dims: tuple[Width, ...] | None = None
    shared: Settings = {}
    teacher: Settings = {}
    student: Settings = {}
    trunk: Settings = {}


class Preset(BaseModel):
    """A protocol: `shared` settings, then those of the `teacher` and of every `student`, then those of a `method`.

    A list in a method's settings stands for one run a value (RKD with and without l2). `dataset` changes settings by a card's name or
    layout. `base` is a preset that this one builds on: its teacher is this one's, the same run, and its other settings lie below
    these. `tuned` is a preset whose tuned settings are used, instead of one's own. `trunk` changes the teacher's settings to those
    of a run whose trunk is frozen under all students. `search` is what `tune --trials` draws from: a Range or a list of values by
    field of Spec; a method's own ranges are in its file.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    title: str
    datasets: tuple[str, ...]  # names or layouts of cards
    methods: tuple[str, ...]
    dims: tuple[Width, ...]
    seeds: tuple[Annotated[int, Field(ge=0)], ...]
    shared: Settings = {}
    base: str = ""
    tuned: str = ""
    teacher: Settings = {}
    student: Settings
    method: dict[str, Settings] = {}
    dataset: dict[str, Overrides] = {}
    search: dict[str, Axis] = {}

    @field_validator("search")
    @classmethod
    def _search(cls, search: dict[str, Axis]) -> dict[str, Axis]:
        for key, axis in search.items():
            if key not in Spec.model_fields:
                raise ValueError(f"{key} is no field of a run; a method's own ranges are in its file")
            if isinstance(axis, Range) and Spec.model_fields[key].annotation is not float:
                raise ValueError(f"{key} takes no fractions; give a list of values")
        return search


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UsageError: there is none (the message has the nearest name), or its file is not a preset.
    """
    if name not in names():
        raise unknown("preset", name, names())
    path = FOLDER / f"{name}.toml"
    try:
        return Preset.model_validate({"name": name, **read_toml(path, "a preset")})
    except ValidationError as error:
        raise UsageError(f"{path} is not a preset: {wrong_field(error)}") from None


class TunedFiles(NamedTuple):
    """Where what was tuned for a preset and data set is kept; the later one has the last word on a method."""

    published: Path | None  # in the package, for all; None of own data
    own: Path  # among the results that the choice came from

    @classmethod
    def of(cls, preset: Preset, card: Card | None, results: Path) -> TunedFiles:
        """Those of a card of the suite, or of own data, which have none; `results` is the data set's folder among the results."""
        name = preset.tuned or preset.name
        published = None if card is None else TUNED / f"{name}-{card.name}.toml"
        return cls(published, results / name / "tuned.toml")

    @property
    def there(self) -> list[Path]:
        return [path for path in self if path is not None and path.exists()]

    def read(self) -> dict[str, Settings]:
        """By method, what `benchmark tune` chose; empty where it has not been run. Raises as `read_tuned`."""
        return {method: settings for path in self.there for method, settings in read_tuned(path).items()}


def read_tuned(path: Path) -> dict[str, Settings]:
    """By method, what one file of `benchmark tune` says.

    Raises:
        UsageError: it is none, or was changed since it was written.
    """
    methods = read_toml(path, "tuned settings").get("method")
    if not isinstance(methods, dict) or not all(isinstance(settings, dict) for settings in methods.values()):
        raise UsageError(f"{path} has no [method.NAME] tables; delete it, and tune again")
    head, _, settings = path.read_text(encoding="utf-8").partition("\n")
    if SEALED in head and head.partition(SEALED)[2] != digest(settings.encode()):
        raise UsageError(
            f"{path} was changed since `benchmark tune` wrote it; tune again, or delete its first line to use it"
        )
    return methods


class Layers(NamedTuple):
    """The settings of a preset for one data set."""

    shared: Settings
    teacher: Settings  # `shared` included
    student: Settings
    trunk: (
        Settings | None
    )  # of the run whose trunk is frozen under the students; None where weights are pretrained or train


def layers(preset: Preset, card: Card) -> Layers:
    """A preset's settings for a data set, over those of its base."""
    override = preset.dataset.get(card.name) or preset.dataset.get(card.layout) or Overrides()
    own = {**preset.shared, **override.shared}
    name = override.base or preset.base
    below = layers(load(name), card) if name else Layers({}, own, {}, None)
    teacher = {**below.teacher, **preset.teacher, **override.teacher}
    return Layers(
        shared={**below.shared, **own},
        teacher=teacher,
        student={**below.student, **preset.student, **override.student},
        trunk={**teacher, **override.trunk} if override.trunk else below.trunk,
    )


def suits(preset: Preset, card: Card) -> bool:
    return card.layout in preset.datasets or (card.vectors is None and card.name in preset.datasets)


def select(words: Sequence[str], preset: Preset) -> list[str]:
    """Methods by name or by group (all, relational, individual, posthoc); `untrained` and the preset's task losses stay with a group."""
    known = methods.catalogue()
    groups: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in ("individual", "relational", "posthoc")}
    groups["all"] = ("individual", "relational", "posthoc")
    result: list[str] = []
    for word in words:
        if word in groups:
            result += [name for name in preset.methods if methods.entry(name).kind == "none"]
            result += [name for name, found in known.items() if found.kind in groups[word] and name != ENSEMBLE]
        elif "+" in word or word in known:
            result.append(methods.entry(word).name)
        else:
            raise unknown("method", word, [*known, *groups])
    return list(dict.fromkeys(result))


def parse_assignments(words: Sequence[str]) -> dict[str, Scalar]:
    """`["lr=3e-4", "rkd-da.angle_weight=1"]` -> values by key, typed as TOML would (true, 3, 1e-3, else text)."""
    result: dict[str, Scalar] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key or not value:
            raise UsageError(f"--set wants KEY=VALUE, such as lr=3e-4, not {word!r}")
        result[key.strip()] = parse_scalar(value.strip())
    return result


def split_key(key: str) -> tuple[str, str]:
    """`rkd-da.angle_weight` -> target and name; a key without a target has the empty one. The name may have a dot of its own: what is
    set of fitnet+rkd-da is its part's, `fitnet+rkd-da.rkd-da.angle_weight`. A sum has no order, and its name has one."""
    target, dot, name = key.partition(".")
    return ("+".join(sorted(target.split("+"))), name) if dot else ("", key)


def parse_scalar(text: str) -> Scalar:
    """As TOML would: true, 3, 1e-3, else text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            value = kind(text)
            if not abs(value) <= sys.float_info.max:  # NaN is not
                raise UsageError(f"{text} is no value that can be trained with")
            return value
    return text


def grid(
    preset: Preset,
    card: Card,
    *,
    chosen: Sequence[str],
    dims: Sequence[int],
    seeds: Sequence[int],
    assignments: Settings,
    stream: Settings,
    tuned: Mapping[str, Settings],
    variants: Variants | None = None,
    generations: int = 0,
) -> list[Spec]:
    """All runs that the words of a command line stand for: the teacher, and every method x dimension x seed (x variant).

    Args:
        assignments: `FIELD`, `teacher.FIELD` or `METHOD.FIELD`, where FIELD is a field of Spec or a hyper-parameter of the method;
            a list stands for one run a value.
        stream: fields that hold for every run, the teacher's too: dataset, data, subset, evaluation, views of own vectors.
        tuned: settings by method (`read_tuned`).
        variants: what is tried of a trained method: settings over all others, one student each (`tuning.Grid`, `tuning.Search`).
        generations: students have the teacher's size and teach the next generation, this many in all, with an ensemble of them, and so have
            the baselines beside them; 0: only methods that are between networks of one size do, for one generation.
    """
    found = layers(preset, card)
    by_target = _targets(assignments)
    # A teacher is one run for all students and seeds: seed 0 unless teacher.seed says otherwise.
    taught = {**found.teacher, **by_target.get("teacher", {}), **stream}
    if methods.entry(taught["method"]).kind != "none":
        raise UsageError(
            f"teacher.method={taught['method']}: a teacher is trained by a task loss, and {taught['method']} is none"
        )
    teacher = _spec(taught if methods.entry(taught["method"]).trains else _untrained(taught), {})
    trunk = {"trunk": _spec({**found.trunk, **stream}, {})} if found.trunk else {}
    specs = [teacher] if any(methods.entry(name).needs_teacher for name in chosen) else []
    for name in chosen:
        entry = methods.entry(name)
        base: Settings = {
            "normalize": entry.normalize,
            **found.shared,
            **found.student,
            **tuned.get(name, {}),
            **preset.method.get(name, {}),
            **by_target.get("", {}),
            **by_target.get(name, {}),
            **stream,
        }
        tried = variants(entry) if variants and entry.trains else [{}]
        for form, variant, dim, seed in itertools.product(_expand(base), tried, dims, seeds):
            # The dimension of what has no head is assigned: it is the features', not the students'.
            settings = {"dim": dim, "seed": seed, **form, **variant, "method": name}
            if settings.get("views") and "maps" in entry.needs:
                raise UsageError(f"{name} reads feature maps, and features of a frozen trunk have none")
            check_settings(settings, entry)
            if entry.is_posthoc:
                specs += _posthoc(settings, teacher, entry)
            elif generations or entry.same_size:
                specs += _of_teachers_size(settings, teacher, entry, max(1, generations))
            elif not entry.trains:
                specs.append(_spec(_untrained({**settings, **_seed(entry)}), trunk))
            else:
                specs.append(_spec(settings, {**trunk, **({"teacher": teacher} if entry.needs_teacher else {})}))
        if not any(spec.method == name for spec in specs):
            raise UsageError(f"{name}: the teacher's embedding has {teacher.dim} numbers, fewer than {min(dims)}")
    return list({spec.id: spec for spec in specs}.values())


def _posthoc(settings: Settings, teacher: Spec, entry: methods.Entry) -> list[Spec]:
    """A run without a student: it reads what the teacher reads, and only a random one has a seed. None of more numbers than the teacher."""
    if settings["dim"] > teacher.dim:
        return []
    own = {name: getattr(teacher, name) for name in OF_TEACHER}
    return [_spec(_untrained({**settings, **own, **_seed(entry)}), {"teacher": teacher})]


def _seed(entry: methods.Entry) -> Settings:
    """What neither trains nor draws is one run, whatever the seeds of the others."""
    return {} if entry.is_random else {"seed": 0}


def _of_teachers_size(settings: Settings, teacher: Spec, entry: methods.Entry, generations: int) -> list[Spec]:
    """Networks of the teacher's size, each taught by the one before it, and of several their ensemble; without a teacher, one."""
    if settings.get("views"):
        raise UsageError(f"{entry.name}: heads on frozen features are not of the teacher's size")
    settings = {**settings, **{name: getattr(teacher, name) for name in ("backbone", "pretrained", "dim", "hidden")}}
    if not entry.trains:
        return [_spec(_untrained({**settings, **_seed(entry)}), {})]
    if not entry.needs_teacher:
        return [_spec(settings, {})]
    specs: list[Spec] = []
    for _ in range(generations):
        specs.append(_spec(settings, {"teacher": specs[-1] if specs else teacher}))
    if generations > 1:
        last, made = specs[-1], methods.entry(ENSEMBLE)
        fields = {key: value for key, value in settings.items() if key in Spec.model_fields}
        whole = {**fields, "method": made.name, "dim": generations * last.dim, "normalize": made.normalize}
        specs.append(_spec(_untrained(whole), {"teacher": last}))
    return specs


def _targets(assignments: Settings) -> dict[str, Settings]:
    """Assignments by target: '' for all students, 'teacher', or a method's name."""
    result: dict[str, Settings] = {}
    for key, value in assignments.items():
        target, name = split_key(key)
        if target not in ("", "teacher"):
            methods.entry(target)
        result.setdefault(target, {})[name] = value
    return result


def _expand(settings: Settings) -> list[Settings]:
    """One setting a combination of the values that are lists (milestones are a list by nature)."""
    lists = {key: value for key, value in settings.items() if isinstance(value, list) and key != "milestones"}
    return [{**settings, **dict(zip(lists, values, strict=True))} for values in itertools.product(*lists.values())]


def _untrained(settings: Settings) -> Settings:
    """Without what only training reads: an untrained network is one run, whatever the budget of the others."""
    kept = of_untrained(methods.entry(settings["method"]))
    return {key: value for key, value in settings.items() if key in kept} | {"steps": 0}


def of_untrained(entry: methods.Entry) -> tuple[str, ...]:
    """The fields that a network has which is evaluated as it is."""
    return (*OF_UNTRAINED, "hidden") if entry.kind == "none" and entry.has_head else OF_UNTRAINED


def check_settings(settings: Settings, entry: methods.Entry) -> None:
    """Raise a UsageError where a setting is neither a field of Spec nor a hyper-parameter of the method."""
    for key in settings:
        if key not in Spec.model_fields and key not in entry.defaults:
            raise unknown(f"setting (for {entry.name})", key, [*entry.defaults, *Spec.model_fields])


def _spec(settings: Settings, more: Settings) -> Spec:
    """A spec from flat settings: what is no field of Spec is a hyper-parameter of the method, and unknown otherwise."""
    entry = methods.entry(settings["method"])
    check_settings(settings, entry)
    fields = {key: value for key, value in settings.items() if key in Spec.model_fields}
    rest = {key: value for key, value in settings.items() if key not in Spec.model_fields}
    if isinstance(fields.get("milestones"), str | float):  # from the command line: 0.5,0.75
        fields["milestones"] = str(fields["milestones"]).split(",")
    try:
        params = methods.typed(entry.name, {**entry.defaults, **rest})
        named = {key: value for key, value in params.items() if key not in entry.later or value != entry.defaults[key]}
        return Spec(**fields, **more, params=named)
    except ValidationError as error:
        first = error.errors()[0]
        # What is wrong with several fields together names their values itself.
        given = f" (given: {_short(first['input'])})" if first["loc"] else ""
        raise UsageError(f"{wrong_field(error)}{given}") from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
