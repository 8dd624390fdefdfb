"""From the words of a command line to the runs that they stand for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import cards
from ..data.cards import Card, Vectors
from ..errors import UsageError, unknown
from ..methods import entry
from ..networks import names as zoo
from ..spec import ENSEMBLE, Spec
from ..store import Record, Store
from . import presets

if TYPE_CHECKING:
    from ..data.splits import DataSet

# What --set cannot change, and which option does.
RESERVED = {
    "method": "--methods",
    "dim": "--dims",
    "seed": "--seeds",
    "dataset": "--dataset",
    "subset": "--subset",
    "teacher": "--teacher, or teacher.KEY=VALUE",
    "evaluation": "benchmark tune",
    "data": "--dataset",
    "trunk": "--preset",
    "params": "METHOD.KEY=VALUE",
}
MOST_GENERATIONS = 50  # each is within the spec of the next: nesting costs time, and Python and JSON have limits
TEACHER_MAY = ("method", "dim", "seed")
# What own vectors have none of, or what their files say.
NOT_OF_VECTORS = ("backbone", "pretrained", "trunk", "batchnorm", "resize", "image", "flip", "precision", "views")


class Plan:
    """What the words of a command name: for the data (`--dataset`, or `--features` and its like), the preset, folders, the device."""

    def __init__(
        self,
        dataset: str | None,
        preset: str | None,
        *,
        vectors: Vectors | None = None,
        data: Path | None,
        mirror: Path | None,
        results: Path,
        device: str | None,
        subset: str = "",
        dry: bool = False,
    ) -> None:
        self.data_dir = data or cards.default_data_dir()
        self.mirror = mirror
        self.device = device
        self.subset = subset
        self.results = results
        if results.exists() and not results.is_dir():
            raise UsageError(f"--results {results} is a file; name a folder")
        if (dataset is None) == (vectors is None):
            raise UsageError(f"give --dataset or --features{', not both' if dataset else ''}")
        self.card = cards.of_vectors(vectors) if vectors else cards.load(str(dataset), self.data_dir)
        self.source = _source(self.card, vectors)
        name, self.why = (preset, "") if preset else _default_preset(self.card, device)
        self.preset = presets.load(name)
        if not presets.suits(self.preset, self.card):
            fitting = [name for name in presets.names() if presets.suits(presets.load(name), self.card)]
            raise UsageError(f"preset {name!r} is not for {self.card.name!r}; these are: {', '.join(fitting)}")
        if mirror is not None and not dry:  # it may hold a reduced copy, with a card of its own
            from ..data.fetch import fetch

            fetch(self.card, self.data_dir, mirror)
            self.card = cards.load(str(dataset), self.data_dir) if dataset else self.card
        override = self.preset.dataset.get(self.card.name) or self.preset.dataset.get(self.card.layout)
        self.dims = (override.dims if override and override.dims else None) or self.preset.dims
        self._images: DataSet | None = None
        self._known_as = ""  # to older versions, of which a run is done again
        self.left_out: list[str] = []  # of the methods asked for, those that do not apply, and why

    @property
    def own(self) -> str:
        """The fingerprint of own data (a folder, a card, a reduced copy), which their name does not tell; else empty."""
        return (self._known_as or self.images().fingerprint) if cards.is_own(self.card) else ""

    @property
    def name(self) -> str:
        """The data set's name in `results/`: own data have their fingerprint in it, so that no two are mixed up."""
        return "-".join(filter(None, (self.card.name, self.own[:6], self.subset)))

    @property
    def older(self) -> Path | None:
        """The folder of an older version's results of own images of these names and sizes, whose contents it did not know."""
        listing = self.images().listing if self.own else ""
        name = "-".join(filter(None, (self.card.name, listing[:6], self.subset)))
        return self.results / name if listing != self.own and (self.results / name).is_dir() else None

    @property
    def folder(self) -> Path:
        return self.results / self.name / self.preset.name

    @property
    def store(self) -> Store:
        return Store(self.folder)

    @property
    def tuned(self) -> presets.TunedFiles:
        """Where what was tuned is."""
        return presets.TunedFiles.of(self.preset, None if self.own else self.card, self.folder.parent)

    def images_here(self) -> DataSet | None:
        """The data set; None where it is of the suite and would have to be fetched first."""
        folder = self.data_dir / self.card.folder
        own = self.card.vectors is not None or not (self.card.archives or self.card.layout == "glyphs")
        return self.images() if own or (folder.is_dir() and any(folder.iterdir())) else None

    def images(self) -> DataSet:
        """The data set, fetched when it is not there."""
        if self._images is None:
            from ..data.fetch import fetch
            from ..data.layouts import load

            fetch(self.card, self.data_dir, self.mirror)
            self._images = load(self.card, self.data_dir, self.subset)
        return self._images

    def specs(
        self,
        *,
        methods: str | None,
        dims: str | None,
        seeds: str | None,
        steps: str | None,
        backbone: str | None,
        teacher: str | None,
        assignments: Sequence[str],
        variants: presets.Variants | None = None,
        generations: int = 0,
    ) -> list[Spec]:
        """The runs; with `variants`, on held-out training classes, one student a variant.

        Raises:
            UsageError: a name is unknown, or a value impossible.
        """
        if not 0 <= generations <= MOST_GENERATIONS:
            raise UsageError(f"--generations wants 1 to {MOST_GENERATIONS}, not {generations}")
        values: dict[str, Any] = {**presets.parse_assignments(assignments)}
        if steps is not None:
            values["steps"] = integers("--steps", steps)
        if backbone is not None:
            values["backbone"] = backbone
        if teacher is not None:
            name, _, dim = teacher.partition("@")
            values["teacher.backbone"] = name
            if dim:
                (values["teacher.dim"],) = integers("--teacher NAME@DIM", dim, most=1)
        given = None if methods is None else words("--methods", methods)
        chosen = list(self.preset.methods) if given is None else presets.select(given, self.preset)
        chosen = self._applicable(chosen, values)
        check = functools.partial(_check_targets, chosen=chosen, vectors=self.card.vectors is not None)
        check(values)
        if variants is not None:
            _check_variants(variants, values, chosen, check)
        for key, value in values.items():
            if presets.split_key(key)[1] == "backbone":
                zoo.check_name(str(value))
        stream: presets.Settings = {
            "dataset": self.card.name,
            "data": self.own,
            "subset": self.subset,
            "evaluation": "validation" if variants else "test",
        }
        if self.card.vectors is not None:
            from ..data.vectors import VectorRows

            rows = self.images().train.images
            assert isinstance(rows, VectorRows)
            stream["views"] = rows.student.views
            values |= {"teacher.dim": rows.teacher.width, "features.dim": rows.student.width}
        elif "features" in chosen:
            values |= {"features.dim": zoo.pooled(self._student("backbone", values))}
        return presets.grid(
            self.preset,
            self.card,
            chosen=chosen,
            dims=integers("--dims", dims) if dims is not None else self.dims,
            seeds=integers("--seeds", seeds) if seeds is not None else self.preset.seeds,
            assignments=values,
            stream=stream,
            tuned={} if variants else self.tuned.read(),
            variants=variants,
            generations=generations,
        )

    def like(self, record: Record, seeds: str | None) -> list[Spec]:
        """The run of a record again; with `seeds`, comma-separated, the runs that differ from it in that alone.

        Raises:
            UsageError: the data are not those of the record, or other seeds cannot be had.
        """
        spec = record.spec
        if spec.dataset != self.card.name:
            raise UsageError(f"{spec.label} is of the data set {spec.dataset!r}, and {self.card.name!r} is another")
        if spec.data and spec.data == self.images().listing == record.data:
            self._known_as = spec.data
        if spec.data and spec.data != self.own:
            raise UsageError(f"{spec.label} is of other images ({spec.data}) than these ({self.own or self.card.name})")
        if seeds is None:
            return [spec]
        if spec.fixed_seed:
            raise UsageError(f"--seeds: {spec.label} builds on generations of its seed; leave it out")
        return [spec.replace(seed=seed) for seed in integers("--seeds", seeds)]

    def _student(self, field: str, values: Mapping[str, Any]) -> Any:
        """What a field of the students is, by the preset and what is set."""
        found = presets.layers(self.preset, self.card)
        return values.get(field, found.student.get(field, found.shared.get(field)))

    def _applicable(self, chosen: Sequence[str], values: Mapping[str, Any]) -> list[str]:
        """Those methods that have what they need; the others are noted in `left_out`.

        Raises:
            UsageError: none has.
        """
        on_features = self.card.vectors is not None or bool(self._student("views", values))
        lacking = {"maps"} if on_features else set()
        if self.card.vectors is not None and not self.images().labelled:
            lacking.add("labels")

        def why(name: str) -> str:
            if not entry(name).has_head and not on_features:
                return "has no head to train: it is for features of frozen trunks (--set views=8) and own vectors (--features)"
            if not entry(name).has_head and not self.card.vectors and not zoo.pooled(self._student("backbone", values)):
                return "needs to know how many features the backbone has"
            if name == ENSEMBLE:
                return "is made of generations: --generations 2 or more adds it by itself"
            if on_features and entry(name).same_size:
                return "needs a network of the teacher's size, and heads on frozen features are not"
            missing = lacking & {*entry(name).needs}
            return f"needs {' and '.join(sorted(missing))}" if missing else ""

        reasons = {name: why(name) for name in chosen}
        self.left_out = [f"{name} does not apply: it {reason}" for name, reason in reasons.items() if reason]
        if len(self.left_out) == len(chosen):
            raise UsageError("; ".join(self.left_out))
        return [name for name in chosen if not reasons[name]]


def _source(card: Card, vectors: Vectors | None) -> dict[str, object]:
    """The options that name the data, for the record: without what is true of one machine only."""
    if vectors is None:
        return {"--dataset": card.name}
    given = {f"--{name.replace('_', '-')}": value for name, value in vectors if value is not None}
    return {option: value.name if isinstance(value, Path) else value for option, value in given.items()}


def _check_targets(keys: Iterable[str], chosen: Sequence[str], vectors: bool) -> None:
    """Nothing that is set may be without effect: no key of another option, no method that does not run."""
    for key in keys:
        target, name = presets.split_key(key)
        if target and target != "teacher" and target not in chosen:
            raise unknown("method (of those chosen)", target, ["teacher", *chosen])
        if name in RESERVED and not (target == "teacher" and name in TEACHER_MAY):
            raise UsageError(f"{key} cannot be set; use {RESERVED[name]}")
        if target in chosen and entry(target).is_posthoc and name in presets.OF_TEACHER:
            raise UsageError(f"{key} cannot be set: {target} is made of the teacher's embeddings; set teacher.{name}")
        untrained = target in chosen and not entry(target).trains
        if untrained and name in Spec.model_fields and name not in presets.of_untrained(entry(target)):
            raise UsageError(f"{key} cannot be set: {target} is not trained, and {name} would have no effect")
        if vectors and name in NOT_OF_VECTORS:
            raise UsageError(f"{key} cannot be set: own vectors are as their files have them")
        if vectors and target in ("teacher", "features") and name != "normalize":
            raise UsageError(f"{key} cannot be set: own vectors are not trained; teacher.normalize can be")


def _check_variants(
    variants: presets.Variants, assigned: Iterable[str], chosen: Sequence[str], check: Callable[[Iterable[str]], None]
) -> None:
    """What is tried may be set, and is not set by another option as well."""
    tried = {
        name: {key: None for variant in variants(entry(name)) for key in variant}
        for name in chosen
        if entry(name).trains
    }
    for name, keys in tried.items():
        check(f"{name}.{key}" for key in keys)
    for key in assigned:
        target, name = presets.split_key(key)
        if any(name in tried.get(method, ()) for method in ([target] if target else chosen)):
            raise UsageError(f"{key} is both set and tuned; leave out one")


def _default_preset(card: Card, device: str | None) -> tuple[str, str]:
    """The preset for a data set on this machine, and why."""
    if card.layout == "glyphs":
        return ("smoke", "the preset for tiny sets") if card.name == "tiny" else ("quick", "the preset for glyphs")
    if card.layout == "folder":
        return "quick", "the preset for own folders"
    if card.layout == "vectors":
        return "vectors", "the preset for own vectors"
    if not presets.suits(presets.load("paper"), card):
        return "cpu", "the paper has no protocol for this set"
    if device is not None and not device.startswith("cuda"):
        return "cpu", f"--device {device}; --preset paper is the published protocol"
    import torch

    if torch.cuda.is_available():
        return "paper", "there is a GPU"
    return "cpu", "there is no GPU; --preset paper is the published protocol"


def words(option: str, text: str) -> list[str]:
    """The comma-separated words of an option."""
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise UsageError(f"{option} is empty")
    return found


def integers(option: str, text: str, most: int | None = None) -> list[int]:
    """The comma-separated whole numbers of an option."""
    try:
        values = [int(word) for word in words(option, text)]
    except ValueError:
        values = []
    if not values or (most is not None and len(values) > most):
        raise UsageError(
            f"{option} wants {'a whole number' if most == 1 else 'whole numbers, such as 16,64'}, not {text!r}"
        )
    return values
