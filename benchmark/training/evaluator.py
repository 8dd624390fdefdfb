"""Retrieval by the networks of a group: what a record says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from ..data.splits import DataSet, Split
from ..data.vectors import VectorRows
from ..networks.encoder import Network
from ..queries import Queries
from ..record import ByClass, Evaluation, Geometry
from ..retrieval.approximate import FORMS, as_stored
from ..retrieval.geometry import Space, geometry
from ..retrieval.metrics import NEAREST, Retrieval, agreement, evaluate
from ..retrieval.search import Floats, Ints, neighbours
from ..spec import TEACHER_VECTORS, Spec
from .context import RunContext
from .streams import Inputs, open_inputs
from .student import Student, embed


class Measured(NamedTuple):
    """The part of a record that is about retrieval, by its fields' names."""

    evaluation: Evaluation
    asymmetric: Evaluation | None = None
    geometry: Geometry | None = None
    by_class: ByClass | None = None
    queries: Queries | None = None
    storage: Mapping[str, float] = {}


@dataclass
class Evaluator:
    """Retrieval among the data set's query (and gallery) images, by the networks of a group."""

    inputs: Inputs
    dataset: DataSet
    context: RunContext
    teachers: Mapping[str, Network]  # by id: frozen
    _spaces: dict[str, Space] = field(default_factory=dict)  # of teachers
    _sought: dict[str, Ints] = field(default_factory=dict)  # `_targets` by the teacher's id

    @classmethod
    def open(cls, group: Sequence[Spec], context: RunContext) -> Evaluator:
        """Open the data and the teachers of a group of one stream. Raises a BenchmarkError where its data or a teacher are not usable."""
        dataset = context.of(group[0].stream)
        inputs = open_inputs(dataset, group, context)
        members = dict.fromkeys(member for spec in group for member in spec.members)
        return cls(inputs, dataset, context, {member.id: inputs.frozen(member) for member in members})

    def __call__(self, student: Student) -> Evaluation:
        """Student against student."""
        return self._evaluate(student.spec, self.space(student.spec, student.encoder)).evaluation

    def measure(self, student: Student, *, mapped: bool = True) -> Measured:
        """All that a record says of retrieval; `mapped`: the student's queries in the teacher's gallery too, where it maps into it."""
        spec, space = student.spec, self.space(student.spec, student.encoder)
        retrieval = self._evaluate(spec, space)
        if spec.evaluation == "validation":
            return Measured(retrieval.evaluation)
        teacher = None
        if spec.teacher is not None:
            if spec.teacher.id not in self._spaces:
                self._spaces[spec.teacher.id] = self.space(spec.teacher, self.teachers[spec.teacher.id])
            teacher = self._spaces[spec.teacher.id]
        asymmetric = None
        if mapped and teacher is not None and student.method.aligns:
            student.method.eval()
            with torch.no_grad():
                query = student.method.to_teacher_space(torch.from_numpy(space.query).to(self.context.device))
            assert query is not None
            mapped_space = Space(query.cpu().numpy(), teacher.gallery, teacher.metric, teacher.same)
            asymmetric = self._evaluate(spec, mapped_space).evaluation
        queries = getattr(retrieval, space.metric)
        if self.dataset.labelled:
            queries = queries._replace(label=self.dataset.query.labels[queries.row].astype(np.int32))
        likeness, storage = geometry(space, teacher), self._storage(space, queries.row)
        return Measured(retrieval.evaluation, asymmetric, likeness, queries.by_class(), queries, storage)

    def _storage(self, space: Space, rows: Ints) -> dict[str, float]:
        """Recall@1 of the scored queries by the form in which the gallery is stored; none without labels, and of what are codes already."""
        if not self.dataset.labelled or (self.dataset.gallery is None and space.gallery is not space.query):
            return {}
        result = {}
        for form in FORMS:
            gallery = as_stored(space.gallery, form, space.metric)
            nearest = neighbours(space.query, gallery, 1, space.metric, same=space.same)[rows, 0]
            hits = self._searched.labels[nearest] == self.dataset.query.labels[rows]
            result[form] = round(float(hits.mean()), 6)
        return result

    def space(self, spec: Spec, network: Network) -> Space:
        """A network's embeddings of what is searched, and of what it is searched in."""
        query = self._embed(spec, network, self.dataset.query)
        same = self.dataset.gallery is None
        stored = network.as_gallery()
        gallery = query if same and stored is network else self._embed(spec, stored, self._searched)
        return Space(query, gallery, "cosine" if spec.normalize else "l2", same)

    @property
    def _searched(self) -> Split:
        return self.dataset.query if self.dataset.gallery is None else self.dataset.gallery

    def _embed(self, spec: Spec, network: Network, split: Split) -> Floats:
        return embed(spec, network, self.inputs.plain(spec, split), self.context.device)

    def _targets(self, spec: Spec, query: Floats) -> Ints:
        """The rows that each query of a run is to find where there are no labels: the teacher's nearest [n, NEAREST] by cosine."""
        images, root = self.dataset.query.images, spec.taught_by
        if root.id not in self._sought:
            if isinstance(images, VectorRows):
                query = images.of(TEACHER_VECTORS)[:]
            elif root is not spec:
                network = self.teachers.get(root.id) or self.inputs.frozen(root)
                query = self._embed(root, network, self.dataset.query)
            self._sought[root.id] = neighbours(query, None, NEAREST, "cosine")
        return self._sought[root.id]

    def _evaluate(self, spec: Spec, space: Space) -> Retrieval:
        data, at = self.dataset, self.dataset.card.recall_at
        gallery = None if space.gallery is space.query else space.gallery
        if not data.labelled:
            return agreement(space.query, self._targets(spec, space.query), at, gallery)
        labels = None if gallery is None else self._searched.labels
        return evaluate(space.query, data.query.labels, gallery, labels, at, same=space.same)
