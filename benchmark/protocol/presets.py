"""Presets: named protocols, as TOML files in the folder of that name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .. import methods, tuned
from ..data.cards import Card, read_toml
from ..errors import UsageError, unknown, wrong_field
from ..spec import ENSEMBLE, MATRYOSHKA, Frozen, Scalar, Spec, Width
from ..tuned import Settings

OWN = {"folder": "own folders", "vectors": "own vectors"}  # layouts of data that may have any name


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


class Tuning(Frozen):
    """How settings are chosen, where a command does not say."""

    trials: Annotated[int, Field(ge=1)] = 20
    grid: tuple[str, ...] = Field(("lr=1e-4,3e-4,1e-3,3e-3",), description="KEY=VALUE,VALUE,..., where no search is")
    folds: Annotated[int, Field(ge=2, le=9999)] | None = Field(
        None, description="each part of the training classes is held out once; None: the last fifth is"
    )
    dims: tuple[Width, ...] | None = Field(None, description="of the students; None: the preset's middle one")
    by: tuple[str, ...] = Field((), description="fields of a run; each of their combinations has a choice of its own")

    @property
    def parts(self) -> tuple[str, ...]:
        """The folds, as a run names its own."""
        return tuple(f"{part}/{self.folds}" for part in range(1, self.folds + 1)) if self.folds else ("",)


class Overrides(BaseModel):
    """The changes of a preset for one data set."""

    model_config = ConfigDict(extra="forbid")
    base: str | None = None
    dims: tuple[Width, ...] | None = None
    shared: Settings = {}
    teacher: Settings = {}
    teachers: tuple[Settings, ...] | None = None
    student: Settings = {}
    trunk: Settings = {}
    grid: tuple[str, ...] = ()


class Preset(BaseModel):
    """A protocol: `shared` settings, then those of the `teacher` and of every `student`, then those of a `method`.

    A list in a method's settings stands for one run a value (RKD with and without l2). `dataset` changes settings by a card's name or
    layout. `teachers` are changes of the teacher's settings, each a teacher of its own: in turn, by a student's seed, they teach all
    methods. `base` is a preset that this one builds on: its teacher is this one's, the same run, and its other settings lie below
    these. `tuned` is a preset whose tuned settings are used, instead of one's own. `trunk` changes the teacher's settings to those
    of a run whose trunk is frozen under all students. `search` is what `tune --trials` draws from: a Range or a list of values by
    field of Spec; a method's own ranges are in its file; `tuning` says how many, and on which classes. `default_for` names cards or
    layouts that this preset is taken for where none is asked for; one that `wants_gpu` only where there is a GPU.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    title: str
    datasets: tuple[str, ...]  # names or layouts of cards
    default_for: tuple[str, ...] = ()
    wants_gpu: bool = False
    methods: tuple[str, ...]
    dims: tuple[Width, ...]
    seeds: tuple[Annotated[int, Field(ge=0)], ...]
    shared: Settings = {}
    base: str = ""
    tuned: str = ""
    teacher: Settings = {}
    teachers: tuple[Settings, ...] = ()
    student: Settings
    method: dict[str, Settings] = {}
    dataset: dict[str, Overrides] = {}
    search: dict[str, Axis] = {}
    tuning: Tuning = Tuning()

    @field_validator("search")
    @classmethod
    def _search(cls, search: dict[str, Axis]) -> dict[str, Axis]:
        for key, axis in search.items():
            if key not in Spec.model_fields:
                raise ValueError(f"{key} is no field of a run; a method's own ranges are in its file")
            if isinstance(axis, Range) and Spec.model_fields[key].annotation is not float:
                raise ValueError(f"{key} takes no fractions; give a list of values")
        return search

    def suits(self, card: Card) -> bool:
        return card.layout in self.datasets or (card.vectors is None and card.name in self.datasets)

    def overrides(self, card: Card) -> Overrides:
        return self.dataset.get(card.name) or self.dataset.get(card.layout) or Overrides()

    def dims_of(self, card: Card) -> tuple[int, ...]:
        """The students' dimensions for a data set."""
        return self.overrides(card).dims or self.dims

    def grid_of(self, card: Card) -> tuple[str, ...]:
        """The values that `tune` tries for a data set where it is not told."""
        return self.overrides(card).grid or self.tuning.grid


def preset_names() -> list[str]:
    return sorted(path.stem for path in tuned.PRESETS.glob("*.toml"))


def read_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UsageError: there is none (the message has the nearest name), or its file is not a preset.
    """
    if name not in preset_names():
        raise unknown("preset", name, preset_names())
    path = tuned.PRESETS / f"{name}.toml"
    try:
        return Preset.model_validate({"name": name, **read_toml(path, "a preset")})
    except ValidationError as error:
        raise UsageError(f"{path} is not a preset: {wrong_field(error)}") from None


def defaults(card: Card) -> tuple[Preset | None, Preset | None]:
    """The presets that are taken for a data set where none is asked for: of any machine, and of one with a GPU."""
    known = [read_preset(name) for name in preset_names()]
    keys = [card.layout] if card.layout in OWN else [card.name, card.layout]
    chosen = next(filter(None, ([preset for preset in known if key in preset.default_for] for key in keys)), [])
    smaller, larger = ([preset for preset in chosen if preset.wants_gpu == gpu] for gpu in (False, True))
    return next(iter(smaller), None), next(iter(larger), None)


def choose_preset(name: str | None, card: Card, device: str | None) -> tuple[Preset, str]:
    """The preset of that name, or the default for a data set on this machine; and why it is that one, where none was named.

    Raises:
        UsageError: as `read_preset`, or it is for other data, or none is the default for these.
    """
    if name is not None and (preset := read_preset(name)).suits(card):
        return preset, ""
    fitting = ", ".join(each for each in preset_names() if read_preset(each).suits(card))
    advice = f"these are: {fitting or 'none'}; add {card.name!r}, or its layout {card.layout!r}, to a preset in {tuned.PRESETS}"
    if name is not None:
        raise UsageError(f"preset {name!r} is not for {card.name!r}; {advice}")
    default, larger = defaults(card)
    if default is None or larger is None:
        if (only := default or larger) is None:
            raise UsageError(f"no preset is the default for {card.name!r}: name one by --preset; {advice}")
        return only, f"the preset for {OWN.get(card.layout, card.name)}"
    if device is not None and not device.startswith("cuda"):
        return default, f"--device {device}; --preset {larger.name} is made for a GPU"
    import torch  # which what lists presets does without

    if torch.cuda.is_available():
        return larger, "there is a GPU"
    return default, f"there is no GPU; --preset {larger.name} is made for one"


class Layers(NamedTuple):
    """The settings of a preset for one data set."""

    shared: Settings
    teachers: tuple[Settings, ...]  # `shared` included; the first of most presets is the only one
    student: Settings
    # Of the run whose trunk is frozen under the students; None where weights are pretrained or train.
    trunk: Settings | None


def layers(preset: Preset, card: Card) -> Layers:
    """A preset's settings for a data set, over those of its base."""
    override = preset.overrides(card)
    own = {**preset.shared, **override.shared}
    name = override.base or preset.base
    below = layers(read_preset(name), card) if name else Layers({}, (own,), {}, None)
    changes = preset.teachers if override.teachers is None else override.teachers
    teachers = [
        {**lower, **preset.teacher, **override.teacher, **changed}
        for lower in (below.teachers[:1] if changes else below.teachers)
        for changed in changes or ({},)
    ]
    return Layers(
        shared={**below.shared, **own},
        teachers=tuple(teachers),
        student={**below.student, **preset.student, **override.student},
        trunk={**teachers[0], **override.trunk} if override.trunk else below.trunk,
    )


def select(words: Sequence[str], preset: Preset) -> list[str]:
    """Methods by name or by group (all, relational, individual, posthoc, control); the preset's losses of labels alone and controls stay
    with a group."""
    known = methods.catalogue()
    groups: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in ("individual", "relational", "posthoc", "control")}
    groups["all"] = tuple(groups)
    result: list[str] = []
    for word in words:
        if word in groups:
            single = (name for name in preset.methods if name not in groups)
            result += [name for name in single if methods.entry(name).kind in ("none", "control")]
            result += [name for name, entry in known.items() if entry.kind in groups[word] and name != ENSEMBLE]
        elif "+" in word or word.startswith(MATRYOSHKA) or word in known:
            result.append(methods.entry(word).name)
        else:
            raise unknown("method", word, [*known, *groups])
    return list(dict.fromkeys(result))
