"""The options by which a user asks for runs, each with its help, and a request that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..data.cards import NOTHING_SAID, OwnImages, Vectors

# Options that other commands have as well.
PresetName = Annotated[
    str | None,
    Parameter(help="a protocol (benchmark list presets); the default depends on data set and machine, and is printed"),
]
Data = Annotated[Path | None, Parameter(help="the folder that holds CUB_200_2011/, stanford_cars/, ...")]
Mirror = Annotated[Path | None, Parameter(help="a folder to take archives from instead of the network")]
Device = Annotated[str | None, Parameter(help="cpu or cuda; the default is cuda where there is one")]
Subset = Annotated[str, Parameter(help="CLASSESxIMAGES of each split, such as 8x6")]


@dataclass(frozen=True)
class Shared:
    """Words that runs and what is tried for them have in common; None is the preset's or the machine's default."""

    dataset: str | None = None
    """a card (benchmark list datasets), a card's .toml, a folder of images, or a .csv, .tsv or .parquet; or else --features"""
    own: Annotated[OwnImages, Parameter(name="*")] = NOTHING_SAID  # an option a field, as are those of
    vectors: Annotated[Vectors | None, Parameter(name="*")] = None
    preset: PresetName = None
    methods: str | None = None
    """comma-separated names, or all, relational, individual, posthoc, control; names joined by + are one method, the sum of their losses"""
    set: tuple[str, ...] = ()
    """KEY=VALUE, repeatable: a field of the spec or a hyper-parameter, for all students, or as teacher.KEY or METHOD.KEY"""
    data: Data = None
    mirror: Mirror = None
    results: Path = Path("results")
    """where records and tables go"""
    device: Device = None
    executor: str | None = None
    """where groups of students train: local (this process), processes (one a core or GPU), ray or slurm; the default is what the
    machine has: local, and processes for heads on features without a GPU"""
    parts: int | None = None
    """split each group into so many parts, which run at once; the default is as many as keep all workers busy"""
    address: str = "auto"
    """of --executor ray: auto (the cluster of this machine), HOST:PORT, or local (one that this command begins and ends)"""
    slurm: tuple[str, ...] = ()
    """KEY=VALUE, repeatable: of --executor slurm, what its jobs ask for, such as partition, time (minutes), cpus, gpus,
    array_parallelism; cluster=local has submitit run them on this machine"""
    track: str | None = None
    """tensorboard, wandb or mlflow: as well tell loss, learning rate and results of each student, to files beside its record"""

    @property
    def on_vectors(self) -> bool:
        """Whether the students read own vectors."""
        return self.vectors is not None and self.vectors.features is not None

    @property
    def taught_by(self) -> Vectors | None:
        """Vectors that teach students which read images."""
        return None if self.on_vectors else self.vectors


@dataclass(frozen=True)
class Request(Shared):
    """All words that name runs."""

    dims: str | None = None
    """comma-separated embedding dimensions of the students"""
    seeds: str | None = None
    """comma-separated seeds of the students"""
    steps: str | None = None
    """training steps of the students; of several, comma-separated, each is a run of its own (of the teacher: --set teacher.steps=...)"""
    backbone: str | None = None
    """network of the students, or FILE.py:FACTORY@CHECKPOINT, a module of your own"""
    teacher: str | None = None
    """network of the teacher: NAME or NAME@DIM, such as resnet50@512, is trained; NAME@pretrained and FILE.py:FACTORY@CHECKPOINT are
    taken as they are"""
    generations: int = 0
    """students of the teacher's size, each of which teaches the next one; this many, and their ensemble"""
    subset: Subset = ""
