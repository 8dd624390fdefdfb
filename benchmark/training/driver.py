"""The driver of a command: what is to do, where it runs and in which order, and what is told of it."""

from __future__ import annotations

import collections
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import UsageError
from ..methods import edition, is_outside
from ..protocol.experiment import Experiment
from ..protocol.presets import defaults
from ..protocol.request import Shared
from ..record import Record, read_record
from ..spec import Spec, waves
from ..store import Store
from .executors import Executor, Task, assigned, load_executor, parted
from .tracking import check_tracker

if TYPE_CHECKING:
    import torch

    from ..data.splits import DataSet
    from .context import RunContext
    from .group import Failure, Outcome

POLL = 1.0  # seconds between two looks at what another command has in hand


class Driver:
    """Runs the specs of one plan into one store, and tells a console about it."""

    def __init__(self, plan: Experiment, store: Store, console: Console) -> None:
        self.plan = plan
        self.store = store
        self.console = console
        self._check_request()
        for _ in store:  # a damaged record is reported now, not after hours of training
            pass

    def _check_request(self) -> None:
        """Raise a UsageError where the machines that are asked for cannot be had, or none is told what to do."""
        request = self.plan.request
        if request.executor is not None:
            load_executor(request.executor)
        if request.parts == 0:
            raise UsageError("--parts wants 1 or more")
        check_tracker(request.track)
        for name, given in (("ray", request.address != Shared.address), ("slurm", bool(request.slurm))):
            if given and request.executor != name:
                raise UsageError(f"--{'address' if name == 'ray' else name} is for --executor {name}")

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def announce(self, specs: Sequence[Spec], *, dry: bool = False, weights: bool = False) -> list[Spec]:
        """Print what is done and what is to do; the latter.

        Args:
            dry: leave everything as it is; else what another preset's folder has is taken over first, and litter goes.
            weights: train again those that are done and whose weights are gone or damaged, too.
        """
        if not dry:
            elsewhere = sorted(path.parent for path in self.store.folder.parent.glob("*/checkpoints"))
            for record in self.store.bring((spec for spec in specs if not self.store.done(spec)), elsewhere):
                recall = f"Recall@1 {100 * record.metrics['recall@1']:.2f} %"
                self.say(f"{record.spec.label}: taken over from another preset, {recall}")
            self.store.clear_litter()
        missing = self.store.missing(specs, weights=weights)
        again = sum(self.store.done(spec) for spec in missing)
        left = sum(not self.store.done(spec) for spec in specs)
        why = f" ({self.plan.why})" if self.plan.why else ""
        self.say(f"{self.plan.name}, preset {self.plan.preset.name}{why}: {len(specs) - left} done, {left} to run")
        if again:
            self.say(
                f"{again} of those done, teachers included, to train again: their weights are not on this machine, or damaged"
            )
        if self.plan.card.vectors is not None:
            self.say(self.plan.card.vectors.rule)
        if self.plan.request.taught_by is not None and (teacher := self.plan.images().teacher) is not None:
            self.say(teacher.said)
        for line in self.plan.left_out:
            self.say(line)
        self._say_tuned(specs)
        self._say_edited(specs)
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
        elif self.plan.preset.tuning.by and specs[-1:] and specs[-1].evaluation == "test":
            self.say("settings are the preset's own: nothing was tuned for these data yet; benchmark tune does that")

    def _say_edited(self, specs: Sequence[Spec]) -> None:
        """Which finished runs are not of their method as it is now: a run is known by its settings, and stays as it is."""
        edited: dict[str, list[str]] = collections.defaultdict(list)
        for record in (read_record(self.store.path(spec)) for spec in specs if self.store.done(spec)):
            method = record.spec.method
            # Committed code tells itself apart; a plugin's is nobody's commit.
            known = record.dirty or is_outside(method)
            if known and record.environment.get("method", edition(method)) != edition(method):
                edited[method].append(record.id)
        for method, ids in edited.items():
            which = ids[0] if len(ids) == 1 else f"{{{','.join(ids)}}}"
            files = self.store.records / f"{method}-{which}.json"
            self.say(f"{method} was edited since {len(ids)} of its runs were done; to run them again, delete {files}")

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

    def run(
        self,
        specs: Sequence[Spec],
        device: torch.device,
        *,
        checkpoint_every: float,
        yes: bool,
        counts: Mapping[str, int] | None = None,
    ) -> int:
        """Check, confirm where it matters, and run; the number of failures.

        Args:
            counts: of threads, by id of runs that are to have as many as before.

        Raises:
            BenchmarkError: something is wrong that can be known before the first step; nothing is written then.
        """
        from ..data.vectors import VectorRows
        from ..machine import Threads
        from ..networks.own import write_places
        from .context import RunContext
        from .progress import Reporter
        from .trial import check_runs, decode

        images = self.plan.images()
        self._say_other_images(images)
        searched = images.query.images  # absurd rows of what is trained on are an error
        if isinstance(searched, VectorRows):
            for line in filter(None, dict.fromkeys((searched.student.told, searched.teacher.told))):
                self.say(line)
        reporter = Reporter(self.console, sum(map(len, images.splits[1:])))
        context = RunContext(
            images, self.plan.data_dir, self.store, device, reporter.preparing, track=self.plan.request.track
        )
        check_runs(specs, context)
        collections.deque(self._placed(specs, device), maxlen=0)  # whether there are such machines is known now
        self._say_size(specs, context)
        if self.plan.preset.wants_gpu and device.type != "cuda":
            self._confirm(yes)
        with reporter:
            decode(specs, context)
            self.store.checkpoints.mkdir(parents=True, exist_ok=True)
            write_places({each.backbone for spec in specs for each in (spec, *spec.parents)})
            threads, request = Threads(self.say), self.plan.request
            return self._execute(specs, Task(context, checkpoint_every, reporter.group, threads, counts or {}, request))

    def _say_size(self, specs: Sequence[Spec], context: RunContext) -> None:
        from ..machine import SHARE, share

        split, searched = context.of(specs[-1]), "validation" if specs[-1].evaluation == "validation" else "query"
        self.say(f"{split.train.described('training')}, {split.query.described(searched)}; on {context.device.type}")
        if context.device.type == "cpu" and (free := share()) < SHARE:
            held = f"other work holds {1 - free:.0%} of the cores, which can make this many times slower"
            fixed = "OMP_NUM_THREADS" in os.environ
            self.say(f"{held}: wait for it" if fixed else f"{held}; threads are chosen by timing")

    def _confirm(self, yes: bool) -> None:
        name, (smaller, _) = self.plan.preset.name, defaults(self.plan.card)
        other = smaller and f"--preset {smaller.name}"
        fits = f"; {other} is made for this machine" if other else ""
        self.say(f"the preset {name} is made for a GPU, and may take weeks here{fits}")
        if yes:
            return
        if not sys.stdin.isatty():
            raise UsageError(
                f"--preset {name} on a CPU wants to be confirmed: add --yes{f', or take {other}' if other else ''}"
            )
        if self.console.input(f"go on with {name}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise UsageError("not confirmed; nothing was run")

    def _execute(self, specs: Sequence[Spec], task: Task) -> int:
        """Run wave by wave; what another command has in hand is waited for, and taken over when that one ends without it."""
        failures: dict[str, Failure] = {}
        for wave in waves(list(specs)):
            left, told = [spec for group in wave for spec in group], False
            while left:
                with self.store.claimed(left) as free:
                    pass  # held by whoever runs them, which may be a child
                settled = set()
                for outcome in self._outcomes(task, free, failures):
                    settled.add(outcome.spec.id)
                    if isinstance(outcome, Record):
                        self.say(f"{outcome.spec.label}: Recall@1 {100 * outcome.metrics['recall@1']:.2f} %")
                        continue
                    if outcome.message not in {failure.message for failure in failures.values()}:
                        self.say(f"failed: {outcome.message}")
                    failures[outcome.spec.id] = outcome
                    self.store.fail(outcome.spec, outcome.message, outcome.details)
                left = [spec for spec in left if spec.id not in settled and not self.store.finished(spec)]
                if left and not free:
                    if not told:
                        told = True
                        self.say(
                            f"{len(left)} of these runs are in another command's hands: waiting, to go on with what it leaves"
                        )
                    time.sleep(POLL)
        if failures:
            self.say(f"{len(failures)} of {len(specs)} runs failed; details in {self.store.failures}")
        return len(failures)

    def _outcomes(self, task: Task, specs: Sequence[Spec], failed: Collection[str]) -> Iterator[Outcome]:
        """Run specs of one wave, but those that build on a run which did not finish."""
        from .group import Failure

        ready: list[Spec] = []
        for spec in specs:
            lost = (parent for parent in spec.parents if parent.id in failed or not self.store.weights(parent).exists())
            if (parent := next(lost, None)) is None:
                ready.append(spec)
            else:
                yield Failure(spec, f"{spec.label} was not run: {parent.label}, which it builds on, did not finish")
        for _, _, executor, parts in self._placed(ready, task.context.device):
            yield from executor.run(task, parts)

    def _placed(
        self, specs: Sequence[Spec], device: torch.device
    ) -> Iterator[tuple[str, int, Executor, list[Sequence[Spec]]]]:
        """Where specs of one wave run, and in which parts: the executor's name and workers, the executor, the parts."""
        request, groups = self.plan.request, [group for wave in waves(list(specs)) for group in wave]
        for name, share in assigned(request.executor, device, groups).items():
            executor = load_executor(name)
            workers = executor.workers(request, device, share)
            yield name, workers, executor, parted(share, workers, request.parts)

    def show_places(self, specs: Sequence[Spec], device: torch.device) -> None:
        """Say where each wave would run, by how many workers and in how many parts."""
        for number, wave in enumerate(waves(list(specs)), 1):
            runs = [spec for group in wave for spec in group]
            for name, workers, executor, parts in self._placed(runs, device):
                most = max(map(len, parts))
                self.say(
                    f"wave {number}: {name}, workers: {workers}, parts: {len(parts)}, runs in a part: up to {most}"
                )
                if preview := executor.preview(self.plan.request, device, parts):
                    self.say(preview)

    def rehearse(self, specs: Sequence[Spec], device: torch.device) -> None:
        """Meet what `run` would refuse before its first step, as far as that takes neither a download nor training.

        Raises:
            BenchmarkError: as `run`.
        """
        from .context import RunContext
        from .trial import check_networks, check_runs

        if self.plan.source.here:
            check_runs(specs, RunContext(self.plan.images(), self.plan.data_dir, self.store, device), download=False)
            return
        self.say("the images are not here yet: what depends on them is checked once they are")
        if self.plan.card.vectors is None:
            check_networks(specs, device, download=False)
