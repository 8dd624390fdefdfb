"""The driver of a command: what is to do, how long it takes, doing it, and saving what comes. The only writer of records."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import UsageError
from ..methods import edition, entry
from ..protocol.experiment import Experiment, resolve
from ..protocol.presets import choose_preset
from ..protocol.request import Request
from ..spec import Spec, waves
from ..store import Record, Store, read_record

if TYPE_CHECKING:
    import torch

    from ..data.splits import DataSet
    from .executors import Task
    from .group import Failure, Outcome


class Driver:
    """Runs the specs of one plan into one store, and tells a console about it."""

    def __init__(self, plan: Experiment, store: Store, console: Console) -> None:
        self.plan = plan
        self.store = store
        self.console = console
        for _ in store:  # a damaged record is reported now, not after hours of training
            pass

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def announce(self, specs: Sequence[Spec], *, dry: bool = False) -> list[Spec]:
        """Print what is done and what is to do; the latter. Unless `dry`, what another preset's folder has is taken over first."""
        for record in () if dry else self.store.adopt(spec for spec in specs if not self.store.done(spec)):
            recall = f"Recall@1 {100 * record.metrics['recall@1']:.2f} %"
            self.say(f"{record.spec.label}: taken over from another preset, {recall}")
        if not dry:
            self.store.drop_finished_checkpoints()
        missing = self.store.missing(specs)
        again = sum(self.store.done(spec) for spec in missing)
        left = sum(not self.store.done(spec) for spec in specs)
        why = f" ({self.plan.why})" if self.plan.why else ""
        self.say(f"{self.plan.name}, preset {self.plan.preset.name}{why}: {len(specs) - left} done, {left} to run")
        if self.plan.card.vectors is not None:
            self.say(self.plan.card.vectors.rule)
        if self.plan.older is not None:
            self.say(
                f"{self.plan.older} has results of images of these names and sizes, from before contents were read; it is left alone"
            )
        for line in self.plan.left_out:
            self.say(line)
        self._say_tuned(specs)
        self._say_edited(specs)
        if again:
            self.say(f"{again} done before, trained again: a teacher whose weights are not on this machine, or damaged")
        return missing

    def _say_tuned(self, specs: Sequence[Spec]) -> None:
        """Which methods run at tuned settings, and which do not: a table of both is not a fair one."""
        tuned = self.plan.tuned.read()
        teachers = {spec.teacher.id for spec in specs if spec.teacher is not None}
        students = {spec.method for spec in specs if spec.steps and spec.id not in teachers}
        if tuned and specs[-1].evaluation == "test":
            without = sorted(students - set(tuned))
            but = f", but not of {', '.join(without)}: benchmark tune does that" if without else ""
            self.say(f"settings as tuned, from {' and '.join(map(str, self.plan.tuned.there))}{but}")

    def _say_edited(self, specs: Sequence[Spec]) -> None:
        """Which finished runs are not of their method as it is now: a run is known by its settings, and stays as it is."""
        edited: collections.Counter[str] = collections.Counter()
        for record in (read_record(self.store.path(spec)) for spec in specs if self.store.done(spec)):
            method = record.spec.method
            if record.dirty and record.environment.get("method", edition(method)) != edition(method):
                edited[method] += 1
        for method, runs in edited.items():
            files = self.store.records / f"{method}-{'?' * 10}.json"  # no other's whose name begins so
            self.say(f"{method} was edited since {runs} of its runs were done; to run them again, delete {files}")

    def _say_other_images(self, images: DataSet) -> None:
        """Which finished runs are of other images than these, or of images that they are not known to be."""
        records = [record for record in self.store if record.spec.evaluation == "test"]
        others = sum(not record.was_of(images.fingerprint, images.listing) for record in records)
        if others:
            self.say(
                f"{others} of {len(records)} finished runs are of other images than these ({images.fingerprint}), and are marked "
                "in the tables; to compare like with like choose other --results"
            )
        elif images.fingerprint != images.listing and any(not record.listing for record in records):
            self.say(
                "finished runs of an older version are taken to be of these images by names and sizes: they knew no contents"
            )

    def run(self, specs: Sequence[Spec], device: torch.device, *, checkpoint_every: float, yes: bool) -> int:
        """Check, estimate, confirm where it matters, and run; the number of failures.

        Raises:
            BenchmarkError: something is wrong that can be known before the first step; nothing is written then.
        """
        from ..data.vectors import VectorRows
        from .context import Workspace
        from .executors import Task
        from .group import check, decode
        from .progress import Reporter

        images = self.plan.images()
        self._say_other_images(images)
        searched = images.query.images  # absurd rows of what is trained on are an error
        if isinstance(searched, VectorRows):
            for line in filter(None, dict.fromkeys((searched.student.told, searched.teacher.told))):
                self.say(line)
        reporter = Reporter(self.console)
        workspace = Workspace(images, self.plan.data_dir, self.store, device, reporter.preparing)
        check(specs, workspace)
        self._estimate(specs, device, yes=yes)
        _check_weights(specs)
        with reporter:
            decode(specs, workspace)
            with self.store.lock():
                # Threads are not chosen by timing here: weights depend on their number, and so would on the machine's load.
                return self._execute(specs, Task(workspace, checkpoint_every, reporter.group))

    def rehearse(self, specs: Sequence[Spec], device: torch.device) -> None:
        """Meet what `run` would refuse before its first step, as far as that takes neither a download nor training.

        Raises:
            BenchmarkError: as `run`.
        """
        from . import estimate
        from .context import Workspace
        from .group import check

        if self.plan.source.here:
            check(specs, Workspace(self.plan.images(), self.plan.data_dir, self.store, device))
        else:
            self.say("the images are not here yet: what depends on them is checked once they are")
        _check_weights(specs, download=False)
        read = [spec for spec in specs if self.plan.card.vectors is None and entry(spec.method).kind != "posthoc"]
        for spec in {((spec.trunk or spec).backbone, spec.image): spec for spec in read}.values():
            changes = {"image": spec.image, "resize": spec.resize, "batch": 2, "per_class": 2}
            estimate.check_size((spec.trunk or spec).replace(**changes), device)

    def _execute(self, specs: Sequence[Spec], task: Task) -> int:
        from .group import Failure

        messages: list[str] = []
        failed: set[str] = set()
        for wave in waves(list(specs)):
            ready, orphans = self._parted(wave, failed)
            for outcome in itertools.chain(orphans, _outcomes(task, ready)):
                if isinstance(outcome, Failure):
                    failed.add(outcome.spec.id)
                    self.store.fail(outcome.spec, outcome.message, outcome.details)
                    if outcome.message not in messages:
                        messages.append(outcome.message)
                        self.say(f"failed: {outcome.message}")
                else:
                    self._save(outcome)
        if failed:
            self.say(f"{len(failed)} of {len(specs)} runs failed; details in {self.store.failures}")
        return len(failed)

    def _parted(
        self, wave: Sequence[Sequence[Spec]], failed: Collection[str]
    ) -> tuple[list[list[Spec]], list[Failure]]:
        """The groups without those runs that build on one which did not finish, and what is said of these."""
        from .group import Failure

        ready: list[list[Spec]] = []
        orphans: list[Failure] = []
        for group in wave:
            ready.append([])
            for spec in group:
                missing = (one for one in spec.parents if one.id in failed or not self.store.weights(one).exists())
                if (parent := next(missing, None)) is None:
                    ready[-1].append(spec)
                else:
                    why = f"{spec.label} was not run: {parent.label}, which it builds on, did not finish"
                    orphans.append(Failure(spec, why))
        return [group for group in ready if group], orphans

    def _save(self, record: Record) -> None:
        recall = 100 * record.metrics["recall@1"]
        self.say(f"{record.spec.label}: Recall@1 {recall:.2f} %")
        if self.store.done(record.spec):  # trained again for its weights
            before = read_record(self.store.path(record.spec))
            if before.weights == record.weights:
                return
            self.say(
                f"its weights differ from those of its record, Recall@1 {100 * before.metrics['recall@1']:.2f} %: "
                "another machine rounds differently"
            )
            if any(other.teacher == before.weights for other in self.store):
                self.say(
                    "that record stays, for the students that it has; the tables mark students of different teachers"
                )
                return
        self.store.save(record)

    def _estimate(self, specs: Sequence[Spec], device: torch.device, *, yes: bool) -> None:
        """Print how long it will take; have a preset confirmed that wants a GPU where there is none."""
        from ..data.cache import cache_dir
        from ..data.splits import holdout
        from ..machine import SHARE, share
        from . import estimate

        images = self.plan.images()
        validation = specs[-1].evaluation == "validation"
        split = holdout(images) if validation else images
        sizes = f"{split.train.described('training')}, {split.query.described('validation' if validation else 'query')}"
        took = estimate.readable(estimate.seconds(specs, split, device))
        self.say(f"{sizes}; about {took} of computing on {device.type}, by a few measured steps")
        if device.type == "cpu" and (free := share()) < SHARE:
            advice = "wait for it" if "OMP_NUM_THREADS" in os.environ else "wait for it, or set OMP_NUM_THREADS=1"
            self.say(f"other work holds {1 - free:.0%} of the cores, which can make this many times slower: {advice}")
        if any(spec.views for spec in specs) and self.plan.card.vectors is None:
            took = estimate.readable(estimate.feature_seconds(specs, split, device))
            self.say(
                f"and up to {took} for features of frozen trunks that are not cached yet, in {cache_dir(self.plan.data_dir)}"
            )
        preset = self.plan.preset
        if not preset.wants_gpu or device.type == "cuda":
            return
        smaller, _ = choose_preset(None, self.plan.card, "cpu")
        plan = resolve(dataclasses.replace(self.plan, request=Request(), preset=smaller))
        took = estimate.readable(estimate.seconds(plan.specs, images, device))
        self.say(f"the preset {preset.name} is made for a GPU; --preset {smaller.name} would take about {took} here")
        if yes:
            return
        if not sys.stdin.isatty():
            raise UsageError(
                f"--preset {preset.name} on a CPU wants to be confirmed: add --yes, or take --preset {smaller.name}"
            )
        if self.console.input(f"go on with {preset.name}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise UsageError("not confirmed; nothing was run")


def _outcomes(task: Task, wave: Sequence[Sequence[Spec]]) -> Iterator[Outcome]:
    """Groups that train whole networks use all cores, one after the other; those that train heads on features share them out."""
    from .executors import local, processes

    on_features = [group for group in wave if group[0].views]
    yield from local(task, [group for group in wave if not group[0].views])
    if on_features:
        execute = processes if task.workspace.device.type == "cpu" else local
        yield from execute(task, on_features)


def _check_weights(specs: Sequence[Spec], *, download: bool = True) -> None:
    """Build each pretrained trunk once, so that weights that cannot be had stop the command before it has written anything.

    Without `download` only those whose weights are in a package, or nowhere.
    """
    from ..networks.encoder import trunk
    from ..networks.names import RESNETS

    read = (spec for spec in specs if spec.pretrained and spec.trunk is None and entry(spec.method).kind != "posthoc")
    for name in sorted({spec.backbone for spec in read}):
        if download or not (name in RESNETS or name.startswith("timm:")):
            trunk(name, pretrained=True)
