"""From the words of a command line to the runs that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cards, presets, zoo
from .cards import Card
from .errors import UsageError
from .spec import Spec
from .store import Store

if TYPE_CHECKING:
    from .data import DataSet


class Plan:
    """What the words `--dataset`, `--preset`, `--data`, `--mirror`, `--subset` and `--results` name."""

    def __init__(
        self, dataset: str, preset: str | None, data: Path | None, mirror: Path | None, subset: str, results: Path
    ) -> None:
        self.data_dir = data or cards.default_data_dir()
        self.mirror = mirror
        self.card = cards.load(dataset, self.data_dir)
        if mirror is not None:  # it may hold a reduced copy, with a card of its own
            from .data import fetch

            fetch(self.card, self.data_dir, mirror)
            self.card = cards.load(dataset, self.data_dir)
        self.subset = subset
        name, why = (preset, "") if preset else _default_preset(self.card)
        self.preset = presets.load(name)
        self.why = why
        if not presets.suits(self.preset, self.card):
            fitting = [name for name in presets.names() if presets.suits(presets.load(name), self.card)]
            raise UsageError(f"preset {name!r} is not for {self.card.name!r}; these are: {', '.join(fitting)}")
        self.folder = results / (f"{self.card.name}-{subset}" if subset else self.card.name) / self.preset.name
        self.store = Store(self.folder)
        override = self.preset.dataset.get(self.card.name) or self.preset.dataset.get(self.card.layout)
        self.preset_dims = (override.dims if override and override.dims else None) or self.preset.dims
        self._images: DataSet | None = None

    def specs(
        self,
        methods: str | None,
        dims: str | None,
        seeds: str | None,
        steps: int | None,
        backbone: str | None,
        teacher: str | None,
        assignments: Sequence[str],
        tune: dict[str, list[Any]] | None = None,
        evaluation: str = "test",
    ) -> list[Spec]:
        values = presets.parse_assignments(assignments)
        if steps is not None:
            values["steps"] = steps
        if backbone is not None:
            values["backbone"] = backbone
        if teacher is not None:
            name, _, dim = teacher.partition("@")
            values["teacher.backbone"] = name
            if dim:
                values["teacher.dim"] = integers("--teacher NAME@DIM", dim)[0]
        check_backbones(values)
        stream = {"dataset": self.card.name, "subset": self.subset, "evaluation": evaluation}
        if cards.is_own(self.card):  # an own folder, or a reduced copy: what it holds is known by its listing only
            stream["data"] = self.images().fingerprint
        return presets.grid(
            self.preset,
            self.card,
            chosen=presets.select(words(methods), self.preset) if methods else self.preset.methods,
            dims=integers("--dims", dims) if dims else self.preset_dims,
            seeds=integers("--seeds", seeds) if seeds else self.preset.seeds,
            assignments=values,
            stream=stream,
            tune=tune,
        )

    def images(self) -> DataSet:
        """The data set, fetched when it is not there."""
        if self._images is None:
            from .data import fetch, load

            fetch(self.card, self.data_dir, self.mirror)
            self._images = load(self.card, self.data_dir, self.subset)
        return self._images


def _default_preset(card: Card) -> tuple[str, str]:
    """The preset for a data set on this machine, and why."""
    if card.layout == "glyphs":
        return ("smoke", "the preset for tiny sets") if card.name == "tiny" else ("quick", "the preset for glyphs")
    if card.layout == "folder":
        return "quick", "the preset for own folders"
    import torch

    if card.name != "inshop" and torch.cuda.is_available():
        return "paper", "there is a GPU"
    return (
        "cpu",
        "there is no GPU; --preset paper is the published protocol"
        if card.name != "inshop"
        else "the paper has no protocol for it",
    )


def check_backbones(values: dict[str, Any]) -> None:
    for key, value in values.items():
        if key.rpartition(".")[2] == "backbone":
            zoo.check_name(str(value))


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def integers(option: str, text: str) -> list[int]:
    try:
        values = [int(word) for word in words(text)]
    except ValueError:
        values = []
    if not values:
        raise UsageError(f"{option} wants whole numbers, such as 16,64, not {text!r}")
    return values
