"""The options of a request for runs, each with its help, and the request that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..data.cards import NOTHING_SAID, OwnImages, Vectors

# Options that other commands have as well.
PresetName = Annotated[
    str | None,
    Parameter(help="a named protocol (benchmark list presets); the default depends on data set and machine"),
]
Data = Annotated[Path | None, Parameter(help="the folder that holds CUB_200_2011/, stanford_cars/, ...")]
Mirror = Annotated[Path | None, Parameter(help="take archives from this folder instead of the network")]
Device = Annotated[str | None, Parameter(help="cpu or cuda; the default is cuda if there is a GPU")]
Subset = Annotated[str, Parameter(help="use only CLASSESxIMAGES of each split, such as 8x6")]


@dataclass(frozen=True)
class Shared:
    """Options that run and tune share; None stands for the default of the preset or the machine."""

    dataset: str | None = None
    """a card (benchmark list datasets), a card's .toml, a folder of images, or a .csv, .tsv or .parquet; or use --features"""
    own: Annotated[OwnImages, Parameter(name="*")] = NOTHING_SAID  # one option per field, as for
    vectors: Annotated[Vectors | None, Parameter(name="*")] = None
    preset: PresetName = None
    methods: str | None = None
    """comma-separated names, or all, or a kind: relational, individual, posthoc, control; A+B is one method, the sum of both losses"""
    set: tuple[str, ...] = ()
    """KEY=VALUE, repeatable: a field of the spec or a hyper-parameter, for all students; teacher.KEY or METHOD.KEY for one of these"""
    data: Data = None
    mirror: Mirror = None
    results: Path = Path("results")
    """the folder for records and tables"""
    device: Device = None
    executor: str | None = None
    """where groups of students train: local (this process), processes (one per core or GPU), ray or slurm; the default is local,
    and processes for heads on features without a GPU"""
    parts: int | None = None
    """split each group into this many parts, which run at once; the default keeps all workers busy"""
    address: str = "auto"
    """with --executor ray: auto (the cluster of this machine), HOST:PORT, or local (a cluster for this command only)"""
    slurm: tuple[str, ...] = ()
    """KEY=VALUE, repeatable: with --executor slurm, parameters of the jobs, such as partition, time (minutes), cpus, gpus,
    array_parallelism; with cluster=local, submitit runs the jobs on this machine"""
    track: str | None = None
    """tensorboard, wandb or mlflow: also log loss, learning rate and results of each student, beside its record"""

    @property
    def on_vectors(self) -> bool:
        """Whether the students read own vectors."""
        return self.vectors is not None and self.vectors.features is not None

    @property
    def taught_by(self) -> Vectors | None:
        """The teacher's vectors, for students that read images."""
        return None if self.on_vectors else self.vectors


@dataclass(frozen=True)
class Request(Shared):
    """All options that define runs."""

    dims: str | None = None
    """comma-separated embedding dimensions of the students"""
    seeds: str | None = None
    """comma-separated seeds of the students"""
    steps: str | None = None
    """training steps of the students; several, comma-separated, are separate runs (for the teacher: --set teacher.steps=...)"""
    backbone: str | None = None
    """backbone of the students, or FILE.py:FACTORY@CHECKPOINT, your own module"""
    teacher: str | None = None
    """network of the teacher: NAME or NAME@DIM, such as resnet50@512, is trained; NAME@pretrained and FILE.py:FACTORY@CHECKPOINT are
    used without training"""
    generations: int = 0
    """train this many students of the teacher's size, each taught by the one before it, and evaluate their ensemble"""
    subset: Subset = ""
