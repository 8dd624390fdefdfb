"""Runs at step 0: networks with their initial weights, methods that have seen the teacher's embeddings, heads in closed form."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from .. import methods
from ..data.splits import DataSet
from ..methods.closed import ClosedForm
from ..methods.posthoc import PostHoc
from ..networks.encoder import Compressed, Encoder, Network
from ..spec import Spec, derive
from .evaluator import Evaluator
from .streams import Inputs
from .student import Student, embed, optimizer, seeded

CALIBRATION = 256  # training images that set the scale of a head's input


def make_student(
    spec: Spec, teachers: Mapping[str, Network], inputs: Inputs, dataset: DataSet, device: torch.device
) -> Student:
    """A student at step 0. Its initial weights depend on seed, network, dimension and generation alone: equal for all methods.

    What a method itself learns begins alike in all generations.
    """
    members = [teachers[member.id] for member in spec.members]
    teacher = members[0].widths if members else None
    kind, classes = methods.load(spec.method), len(dataset.train.names)
    make = functools.partial(kind, teacher=teacher, classes=classes, **spec.params)
    network: Network
    if methods.entry(spec.method).is_posthoc:
        assert teacher is not None
        widths = teacher._replace(embedding=spec.dim)
    else:
        shape = (spec.backbone, spec.dim, *((spec.hidden,) if spec.hidden else ()))
        if spec.generation:  # each generation starts anew, and none where the teacher did
            shape = (*shape, "generation", spec.generation)
        with seeded(derive(spec.seed, "init", *shape)):
            network = inputs.encoder(spec).to(device)
        calibrate(network, spec, inputs, dataset, device)
        widths = network.widths if teacher is None or teacher.maps else network.widths._replace(maps=())
    with seeded(derive(spec.seed, "method init", spec.method, spec.dim)):
        method = make(widths).to(device)
    if isinstance(method, PostHoc):
        network = Compressed(members, method, spec.dim, normalize=spec.normalize)
    return Student(spec, network, method, optimizer(spec, network, method))


def calibrate(encoder: Network, spec: Spec, inputs: Inputs, dataset: DataSet, device: torch.device) -> None:
    """Set the scale of the head's input from a fixed sample of training images."""
    rows = np.random.default_rng(derive(spec.seed, "calibrate")).permutation(len(dataset.train))[:CALIBRATION]
    sample = torch.from_numpy(inputs.plain(spec, dataset.train)[np.sort(rows)]).to(device)
    encoder.train(spec.steps > 0)  # as it will be used next: an untrained network is only evaluated
    with seeded(derive(spec.seed, "calibrate", spec.backbone)):
        encoder.calibrate(sample)


def prepare_methods(students: Sequence[Student], evaluator: Evaluator) -> dict[str, Exception]:
    """Show the teacher's embeddings of the training images to the methods that want them (not to those with a checkpoint), and solve for
    heads in closed form. Returns the students whose methods failed at it, by id.
    """
    device, train = evaluator.context.device, evaluator.dataset.train
    labels = torch.from_numpy(train.labels).to(device)

    @functools.cache
    def shown(teacher: Spec) -> torch.Tensor:
        plain = evaluator.inputs.plain(teacher, train)
        return torch.from_numpy(embed(teacher, evaluator.teachers[teacher.id], plain, device)).to(device)

    failed: dict[str, Exception] = {}
    for student in students:
        spec, method = student.spec, student.method
        if not (
            isinstance(method, ClosedForm) or (method.prepares and not evaluator.context.checkpoint(spec).exists())
        ):
            continue
        teacher = None if spec.teacher is None else shown(spec.teacher)
        try:
            if isinstance(method, ClosedForm):
                assert isinstance(student.encoder, Encoder)
                features = evaluator.inputs.plain(spec, train)[np.arange(len(train))]
                student.encoder.solve(method, torch.from_numpy(features).to(device), labels, teacher)
            elif teacher is not None:
                method.prepare(teacher, labels)
        except Exception as error:
            failed[spec.id] = error
    return failed
