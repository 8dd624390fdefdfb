"""The contract that every registered method keeps. A new method is tested here without a line being written for it."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning import miners
from pytorch_metric_learning.utils.loss_and_miner_utils import get_random_triplet_indices
from torch import Tensor

from benchmark import methods
from benchmark.errors import UsageError
from benchmark.methods import darkrank, rkd
from benchmark.methods.base import Batch, Features, Method, Widths, distances
from benchmark.methods.entries import TYPES
from benchmark.methods.rkd import angles, over_mean
from benchmark.methods.s2sd import S2SD
from benchmark.methods.task import AuthorsMiner, DistanceWeightedMiner, draw_triplets, log_inverse_density

CLASSES, PER_CLASS = 6, 4
STUDENT = Widths(embedding=8, pooled=16, maps=(4, 6, 8, 16))
TEACHER = Widths(embedding=12, pooled=20, maps=(5, 7, 9, 20))
TRAINED = [name for name, entry in methods.catalogue().items() if entry.trains]
# Each method as it is built for streams of images, and, if it can do without maps, as for streams of features.
CASES = [(name, maps) for name in TRAINED for maps in (True, False) if maps or "maps" not in methods.entry(name).needs]
each_case = pytest.mark.parametrize(
    ("name", "maps"), CASES, ids=[f"{n}-{'images' if m else 'features'}" for n, m in CASES]
)


def features(widths: Widths, seed: int, size: int, grad: bool) -> Features:
    generator = torch.Generator().manual_seed(seed)
    n = CLASSES * PER_CLASS

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    embedding = torch.nn.functional.normalize(draw(n, widths.embedding))
    maps = tuple(draw(n, channels, size >> i, size >> i) for i, channels in enumerate(widths.maps))
    result = Features(embedding, draw(n, widths.pooled), maps)
    for tensor in (result.embedding, result.pooled, *result.maps):
        tensor.requires_grad_(grad)
    return result


def widths(maps: bool) -> tuple[Widths, Widths]:
    return (STUDENT, TEACHER) if maps else (STUDENT._replace(maps=()), TEACHER._replace(maps=()))


def batch(progress: float = 0.0, maps: bool = True, seed: int = 1) -> Batch:
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    mine, theirs = widths(maps)
    student, teacher = features(mine, seed, 16, True), features(theirs, 2, 32, False)
    return Batch(student, teacher, labels, torch.arange(len(labels)), progress)


def build(name: str, maps: bool = True) -> Method:
    torch.manual_seed(0)
    method = methods.load(name)(*widths(maps), CLASSES)
    seen = batch()
    assert seen.teacher is not None
    method.prepare(seen.teacher.embedding, seen.labels)
    return method


def tensors(of: Features) -> tuple[Tensor, ...]:
    return (of.embedding, of.pooled, *of.maps)


def test_catalogue_is_what_the_classes_say() -> None:
    """It is read from the source, with what bases declare; here the classes themselves are asked."""
    declared = methods.Entry.model_fields.keys() - {"defaults", "module", "cls", "parts"}
    for name, entry in methods.catalogue().items():
        cls = methods.load(name)
        task = methods.entry(cls.task) if cls.task else None
        for field in declared:
            expected = getattr(cls, field)
            if task is not None and field == "needs":
                expected = (*expected, *(need for need in task.needs if need not in expected))
            if task is not None and field == "is_random":
                expected = expected or task.is_random
            assert getattr(entry, field) == expected, (name, field)
        annotated = {
            key: getattr(kind, "__name__", kind)
            for base in reversed(cls.__mro__)
            if issubclass(base, Method)
            for key, kind in vars(base).get("__annotations__", {}).items()
        }
        own = {key: getattr(cls, key) for key, kind in annotated.items() if kind in TYPES and hasattr(cls, key)}
        assert entry.defaults == own, name
        assert all(type(value).__name__ == annotated[key] for key, value in own.items())
        assert {*entry.later} <= {*entry.defaults}
        assert (
            entry.reference
            and cls.__doc__
            and {*entry.needs, *entry.optional} <= {*Features._fields, "labels", "teacher"}
        )


@pytest.mark.parametrize("name", methods.catalogue())
def test_what_is_searched_lies_around_the_published_value(name: str) -> None:
    entry = methods.entry(name)
    for key, (low, high) in entry.ranges.items():
        assert key in entry.defaults, f"{key} is no hyper-parameter"
        assert isinstance(entry.defaults[key], float), f"{key}: only numbers with fractions have ranges"
        assert 0 < low <= entry.defaults[key] <= high and low < high, key


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'rkd-da'"):
        methods.load("rkd-daa")


def test_unknown_hyper_parameter_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"hyper-parameter of rkd-da 'angle_wait'; did you mean 'angle_weight'"):
        methods.load("rkd-da")(STUDENT, TEACHER, CLASSES, angle_wait=1.0)


@each_case
def test_scalar_finite_and_gradients_where_they_belong(name: str, maps: bool) -> None:
    method = build(name, maps)
    reached = [torch.zeros((), dtype=torch.bool) for _ in method.parameters()]
    student_reached = False
    for progress in (0.0, 0.3, 0.6, 0.99):  # a recipe may have stages
        seen = batch(progress, maps=maps)
        torch.manual_seed(0)
        loss = method.loss(seen)
        assert loss.shape == () and loss.dtype == torch.float32 and torch.isfinite(loss)
        method.zero_grad()
        loss.backward()
        gradients = [tensor.grad for tensor in tensors(seen.student)]
        assert all(g is None or torch.isfinite(g).all() for g in gradients)
        student_reached |= any(g is not None and g.abs().sum() > 0 for g in gradients)
        reached = [
            old | (p.grad is not None and bool(p.grad.abs().sum() > 0))
            for old, p in zip(reached, method.parameters(), strict=True)
        ]
    assert student_reached
    assert all(reached), "a parameter of the method is never trained"


@each_case
def test_reads_only_what_it_declares(name: str, maps: bool) -> None:
    method = build(name, maps)
    entry = methods.entry(name)
    declared = {*entry.needs, *entry.optional}
    for progress in (0.0, 0.99):
        full = batch(progress, maps=maps)
        assert full.teacher is not None
        hidden = torch.empty(0)
        bare = replace(
            full,
            student=Features(
                *(
                    getattr(full.student, f) if f in declared else (() if f == "maps" else hidden)
                    for f in Features._fields
                )
            ),
            teacher=Features(
                *(
                    getattr(full.teacher, f) if f in declared else (() if f == "maps" else hidden)
                    for f in Features._fields
                )
            )
            if entry.needs_teacher
            else None,
            labels=full.labels if "labels" in declared else torch.full_like(full.labels, -1),
        )
        torch.manual_seed(0)
        expected = method.loss(full)
        torch.manual_seed(0)
        assert method.loss(bare).item() == expected.item()


PLACES = [("cpu", torch.float64), *([("cuda", torch.float32)] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize(("device", "dtype"), PLACES, ids=[f"{device}-{dtype}" for device, dtype in PLACES])
@each_case
def test_devices_and_precisions_agree(name: str, maps: bool, device: str, dtype: torch.dtype) -> None:
    def moved(found: Features | None) -> Features | None:
        return found and Features(
            *(found[i].detach().to(device, dtype) for i in (0, 1)),
            tuple(m.detach().to(device, dtype) for m in found.maps),
        )

    method, seen = build(name, maps), batch(maps=maps)
    there = Batch(moved(seen.student), moved(seen.teacher), seen.labels.to(device), seen.index.to(device), 0.0)  # type: ignore[arg-type]
    torch.manual_seed(0)
    expected = method.loss(seen).item()
    torch.manual_seed(0)
    # What is drawn differs from device to device.
    assert method.to(device, dtype).loss(there).item() == pytest.approx(
        expected, rel=0.5 if methods.entry(name).is_random else 1e-3
    )


@each_case
def test_duplicate_rows_give_finite_gradients(name: str, maps: bool) -> None:
    method = build(name, maps)
    for progress in (0.0, 0.99):
        seen = batch(progress, maps=maps)
        with torch.no_grad():
            for tensor in tensors(seen.student):
                tensor[1] = tensor[0]
                tensor[5] = tensor[0]  # also across classes
        torch.manual_seed(0)
        loss = method.loss(seen)
        loss.backward()
        for tensor in tensors(seen.student):
            if tensor.grad is not None:
                assert torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() < 1e4


@pytest.mark.parametrize("whose", ["student", "teacher"])
@each_case
def test_a_collapsed_network_is_no_nan(name: str, maps: bool, whose: str) -> None:
    method = build(name, maps)
    seen = batch(0.99, maps=maps)
    rows = seen.student.embedding if whose == "student" else seen.teacher.embedding if seen.teacher else None
    assert rows is not None
    with torch.no_grad():
        rows[:] = rows[0].clone()
    torch.manual_seed(0)
    loss = method.loss(seen)
    loss.backward()
    assert torch.isfinite(loss)
    for tensor in tensors(seen.student):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()


@each_case
def test_row_order_does_not_matter(name: str, maps: bool) -> None:
    """Random choices (mining) are averaged out; what is left must not depend on the order of the rows."""
    method = build(name, maps)
    order = torch.randperm(CLASSES * PER_CLASS, generator=torch.Generator().manual_seed(3))

    def mean(seen: Batch) -> float:
        values = []
        for seed in range(200 if methods.entry(name).is_random else 1):
            torch.manual_seed(seed)
            values.append(method.loss(seen).item())
        return sum(values) / len(values)

    seen = batch(0.99, maps=maps)
    assert seen.teacher is not None
    shuffled = Batch(
        *(
            Features(f.embedding[order], f.pooled[order], tuple(m[order] for m in f.maps))
            for f in (seen.student, seen.teacher)
        ),
        labels=seen.labels[order],
        index=seen.index[order],
        progress=seen.progress,
    )
    assert mean(shuffled) == pytest.approx(mean(seen), rel=0.05 if methods.entry(name).is_random else 1e-4)


@each_case
def test_deterministic_and_state_round_trip(name: str, maps: bool) -> None:
    method = build(name, maps)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    torch.manual_seed(9)
    other = methods.load(name)(*widths(maps), CLASSES)
    other.load_state_dict(torch.load(file, weights_only=True))
    for progress in (0.0, 0.99):
        losses = []
        for each in (method, method, other):
            torch.manual_seed(4)
            losses.append(each.loss(batch(progress, maps=maps)).item())
        assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("name", [n for n in TRAINED if methods.entry(n).needs_teacher])
def test_a_method_with_a_teacher_listens_to_it(name: str) -> None:
    method = build(name)
    seen = batch()
    torch.manual_seed(0)
    here = method.loss(seen).item()
    torch.manual_seed(0)
    assert method.loss(replace(seen, teacher=features(TEACHER, 5, 32, False), shared={})).item() != here


@pytest.mark.parametrize("name", [n for n in TRAINED if methods.entry(n).needs_teacher])
def test_what_students_share_of_a_step_is_the_same_for_all(name: str) -> None:
    """What the first student of a step computes of the teacher's side serves the next one, whatever the first one was."""
    method = build(name)
    first, second = batch(seed=1), batch(seed=8)
    torch.manual_seed(0)
    alone = method.loss(second).item()
    method.loss(first)
    torch.manual_seed(0)
    assert method.loss(replace(second, shared=first.shared)).item() == alone


def spread(d: int, apart: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit rows of 16 classes of four; those of the first two are around one direction, `apart` from each other."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(64) // 4
    centres = torch.randn(16, d, generator=generator)
    centres[1] = centres[0]
    noise = torch.nn.functional.normalize(torch.randn(64, d, generator=generator))
    return torch.nn.functional.normalize(torch.nn.functional.normalize(centres)[labels] + apart * noise), labels


@pytest.mark.parametrize("d", [4, 16, 64, 128])
def test_negatives_are_drawn_as_by_pytorch_metric_learning(d: int) -> None:
    for seed in range(20):
        rows, labels = spread(d, 1.0, seed)
        drawn = []
        for miner in (DistanceWeightedMiner(), miners.DistanceWeightedMiner()):
            torch.manual_seed(seed)
            drawn.append(torch.stack(miner(rows, labels)))
        assert torch.equal(*drawn)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_triplets_are_drawn_as_by_pytorch_metric_learning(classes: list[int], seed: int) -> None:
    """Of classes of any size, of one row too; some anchors have no negative that may be drawn."""
    labels = torch.tensor(classes)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(len(labels), len(labels), generator=generator) * (labels[:, None] != labels)
    weights *= torch.rand(len(labels), 1, generator=generator) > 0.2
    weights *= torch.rand(weights.shape, generator=generator) > 0.5
    drawn = []
    for draw in (draw_triplets, get_random_triplet_indices):
        torch.manual_seed(seed)
        drawn.append(torch.stack(draw(labels, weights=weights)))
    assert torch.equal(*drawn)


@pytest.mark.parametrize("d", [256, 512, 2048])
def test_no_anchor_of_a_wide_embedding_loses_its_triplets(d: int) -> None:
    """Two classes that lie close must not take the weight from all others."""
    rows, labels = spread(d, 0.3)
    theirs, *_ = miners.DistanceWeightedMiner()(rows, labels)
    assert len(theirs.unique()) == 8  # what the one of pytorch-metric-learning leaves
    within = (torch.cdist(rows, rows) < 1.4) & (labels[:, None] != labels)
    anchors, positives, negatives = DistanceWeightedMiner()(rows, labels)
    assert torch.equal(anchors.unique(), within.any(1).nonzero().flatten()) and len(anchors) > 200
    assert within[anchors, negatives].all() and (labels[anchors] == labels[positives]).all()


def test_negatives_are_drawn_by_the_inverse_of_their_density() -> None:
    """Two negatives: how often each is drawn, against 1 / q of Wu et al. 2017, section 4."""
    d = 6
    rows = torch.zeros(4, d)
    rows[:2, 0] = 1
    for row, angle in ((2, 0.7), (3, 1.2)):
        rows[row, :2] = torch.tensor([math.cos(angle), math.sin(angle)])
    labels = torch.tensor([0, 0, 1, 2])
    torch.manual_seed(0)
    negatives = torch.cat([DistanceWeightedMiner()(rows, labels)[2] for _ in range(1500)])
    near, far = (2 * math.sin(angle / 2) for angle in (0.7, 1.2))
    weight = [1 / (x ** (d - 2) * (1 - x * x / 4) ** ((d - 3) / 2)) for x in (near, far)]
    share = (negatives == 2).float().mean().item()
    assert share == pytest.approx(weight[0] / sum(weight), abs=0.02)


def test_the_authors_weights_are_scaled_by_the_largest_of_the_row() -> None:
    """An anchor, its near positive, and three negatives: at 0.7, at 1.2, and beyond the cutoff of 1.4."""
    d, apart = 6, (0.1, 0.7, 1.2, 1.9)
    rows = torch.zeros(5, d)
    rows[0, 0] = 1
    for row, distance in enumerate(apart, 1):
        cosine = 1 - distance**2 / 2
        rows[row, [0, row]] = torch.tensor([cosine, math.sqrt(1 - cosine**2)])
    labels = torch.tensor([0, 0, 1, 2, 3])

    def drawn(miner: DistanceWeightedMiner, x: Tensor) -> list[float]:
        torch.manual_seed(0)
        triplets = [torch.stack(miner(x, labels)) for _ in range(1500)]
        first = torch.cat([each[2, each[0] == 0] for each in triplets])
        return [(first == row).float().mean().item() for row in (2, 3, 4)]

    weight = [1 / (x ** (d - 2) * (1 - x * x / 4) ** ((d - 3) / 2)) for x in (0.7, 1.2)]
    expected = [weight[0] / sum(weight), weight[1] / sum(weight), 0.0]
    assert drawn(AuthorsMiner(), rows) == pytest.approx(expected, abs=0.02)
    # In 512 dimensions the positive, which counts as 0.5 apart, weighs e^155 times the nearer negative, and float32 ends at e^103.
    wide = torch.nn.functional.pad(rows, (0, 506))
    log_weights = log_inverse_density(torch.tensor([0.5, 0.7]), 512)
    assert (log_weights[0] - log_weights[1]).item() == pytest.approx(
        510 * math.log(0.7 / 0.5) - 254.5 * math.log(0.9375 / 0.8775), rel=1e-4
    )
    assert drawn(AuthorsMiner(), wide) == pytest.approx([1 / 3] * 3, abs=0.04)
    assert drawn(DistanceWeightedMiner(), wide) == [1.0, 0.0, 0.0]


def test_the_authors_triplets_are_each_pair_once() -> None:
    rows, labels = spread(16, 1.0)
    anchors, positives, negatives = AuthorsMiner()(rows, labels)
    pairs = {(a, p) for a in range(64) for p in range(64) if a != p and labels[a] == labels[p]}
    assert len(anchors) == len(pairs) and set(zip(anchors.tolist(), positives.tolist(), strict=True)) == pairs
    assert (labels[negatives] != labels[anchors]).all()
    alone = torch.arange(64)
    assert all(len(index) == 0 for labels in (alone, alone * 0) for index in AuthorsMiner()(rows, labels))


@pytest.mark.parametrize("name", [n for n in TRAINED if "miner" in methods.entry(n).defaults])
def test_a_recipe_hands_its_miner_to_its_task_loss(name: str) -> None:
    method = methods.load(name)(*widths(True), CLASSES, miner="authors")
    triplet = method if method.task_loss is None else method.task_loss
    assert type(triplet.mined) is AuthorsMiner
    assert type((build(name).task_loss or build(name)).mined) is DistanceWeightedMiner
    with pytest.raises(UsageError, match="is ours or authors, not 'their'"):
        methods.load(name)(*widths(True), CLASSES, miner="their")


def test_s2sd_by_hand() -> None:
    """The wide heads teach from the first step, the pooled features after an eighth of the run."""
    method = build("s2sd")
    assert isinstance(method, S2SD)
    losses = []
    for progress in (0.0, 0.124, 0.125):
        torch.manual_seed(0)
        losses.append(method.loss(batch(progress)).item())
    assert losses[0] == losses[1] < losses[2]
    student = batch().student

    def likeness(x: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(x)
        return unit @ unit.T

    mine, pooled = likeness(student.embedding), likeness(student.pooled)
    kl = (pooled.softmax(1) * (pooled.log_softmax(1) - mine.log_softmax(1))).sum(1).mean().item()
    assert losses[2] - losses[1] == pytest.approx(50 * kl, rel=1e-4)
    heads = [
        method.triplet.of(torch.nn.functional.normalize(head(student.pooled)), batch().labels) for head in method.wide
    ]
    assert len(heads) == 4
    method.weight = 0.0
    torch.manual_seed(0)
    without = method.loss(batch()).item()
    kls = []
    for head in method.wide:
        wide = likeness(head(student.pooled))
        kls.append((wide.softmax(1) * (wide.log_softmax(1) - mine.log_softmax(1))).sum(1).mean().item())
    assert losses[0] - without == pytest.approx(50 * sum(kls) / 4, rel=1e-4)


def test_distances_by_hand() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    d = distances(x)
    assert torch.allclose(d, torch.tensor([[0, 5, 1e-6], [5, 0, 5], [1e-6, 5, 0]]), atol=1e-5)
    d.sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_scaled_distances_have_unit_mean_over_pairs() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0]])
    mean = (1 + 3 + 2) / 3
    assert torch.allclose(over_mean(distances(x)), torch.tensor([[0.0, 1, 3], [1, 0, 2], [3, 2, 0]]) / mean)


def test_angles_at_named_points() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    found = angles(x)
    assert found[0, 1, 2].item() == pytest.approx(0.0, abs=1e-6)  # right angle at the origin
    assert found[0, 1, 3].item() == pytest.approx(math.cos(math.pi / 4))
    assert found[1, 0, 3].item() == pytest.approx(0.0, abs=1e-6)
    assert found[0, 0].abs().sum() == 0 and found[0, :, 0].abs().sum() == 0  # no direction from a point to itself
    assert found[0, 2, 2].item() == pytest.approx(1.0)


def test_rkd_ignores_scale_rotation_and_shift() -> None:
    method = methods.load("rkd-da")(STUDENT, TEACHER, CLASSES)
    teacher = features(TEACHER, 2, 32, False)
    rotation, _ = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(0)))
    moved = Features(3 * teacher.embedding @ rotation + 5, teacher.pooled)
    labels = torch.zeros(len(teacher.embedding), dtype=torch.int64)
    loss = method(Batch(moved, teacher, labels, labels, 0.0))
    assert loss.item() < 1e-6


def test_fitnet_has_two_stages() -> None:
    method = build("fitnet")
    seen = batch(0.99)
    torch.manual_seed(0)
    second = method.loss(seen).item()
    torch.manual_seed(0)
    assert second == build("triplet").loss(seen).item()
    assert method.loss(batch(0.0)).item() != second


def angle_loss_by_definition(student: Tensor, teacher: Tensor) -> Tensor:
    def directions(x: Tensor) -> Tensor:
        difference = x[None] - x[:, None]
        return torch.nn.functional.normalize(difference, dim=2)

    s, t = (torch.bmm(e, e.transpose(1, 2)) for e in map(directions, (student, teacher)))
    return torch.nn.functional.smooth_l1_loss(s, t)


@pytest.mark.parametrize("most", [2**20, 24 * 24 * 5, 1])  # all at once, in blocks of 5 anchors, one by one
def test_angle_loss_in_blocks_is_the_plain_one(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rkd, "BLOCK", most)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(24, 12, generator=generator, dtype=torch.float64)
    loss = rkd.angle_loss(distances(x), distances(teacher))
    assert rkd.angle_loss(distances(x), distances(teacher), angles(teacher)).item() == loss.item()
    expected = angle_loss_by_definition(x, teacher)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    (ours,), (theirs,) = torch.autograd.grad(loss, x), torch.autograd.grad(expected, x)
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_sampled_angles_are_the_loss_in_expectation() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (distances(torch.randn(24, d, generator=generator)) for d in (8, 12))
    torch.manual_seed(0)
    sampled = rkd.sampled_angle_loss(student, teacher, 400_000).item()
    assert sampled == pytest.approx(rkd.angle_loss(student, teacher).item(), rel=0.02)
    method = methods.load("rkd-a")(STUDENT, TEACHER, CLASSES, angle_triplets=1000)
    assert method.loss(batch()).item() != methods.load("rkd-a")(STUDENT, TEACHER, CLASSES)(batch()).item()


def test_darkrank_soft_by_hand() -> None:
    """Two neighbours: the distribution over their two orders is a softmax of two scores."""
    student, teacher = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [2.0], [5.0]])
    ranking = darkrank.nearest(teacher)
    assert ranking.tolist() == [[1, 2], [0, 2], [1, 0]]

    def first(x: Tensor, anchor: int) -> float:  # probability that the first of the two neighbours comes first
        scores = [-abs((x[other] - x[anchor]).item()) for other in ranking[anchor].tolist()]
        return 1 / (1 + math.exp(scores[1] - scores[0]))

    expected = 0.0
    for anchor in range(3):
        p, q = first(teacher, anchor), first(student, anchor)
        expected += (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))) / 3
    mine, theirs = (darkrank.order_likelihoods(x, ranking, 1.0, 1.0) for x in (student, teacher))
    assert darkrank.soft_loss(mine, theirs).item() == pytest.approx(expected, rel=1e-6)


def test_a_combination_is_the_sum_of_its_parts() -> None:
    entry = methods.entry("fitnet+rkd-da")
    assert entry.kind == "mixed" and entry.normalize and entry.defaults["rkd-da.angle_weight"] == 2.0
    assert methods.entry("triplet+rkd-d").kind == "relational"
    tasks, own = methods.entry("triplet+contrastive"), methods.entry("s2sd+triplet")
    assert tasks.kind == "none" and not tasks.self_taught and own.self_taught and not own.needs_teacher
    seen = batch()
    method = methods.load("fitnet+rkd-da")(STUDENT, TEACHER, CLASSES, **{"rkd-da.angle_weight": 0.5})
    first, second = method.parts
    assert method.loss(seen).item() == pytest.approx(first(seen).item() + second(seen).item())
    alone = methods.load("rkd-da")(STUDENT, TEACHER, CLASSES, angle_weight=0.5)
    assert second(seen).item() == alone(seen).item()


def test_a_task_loss_that_several_recipes_have_is_in_a_sum_once() -> None:
    seen = batch(0.99)
    method = methods.load("darkrank+fitnet")(STUDENT, TEACHER, CLASSES)

    def of(name: str, whole: bool) -> float:
        torch.manual_seed(0)
        alone = methods.load(name)(STUDENT, TEACHER, CLASSES)
        return (alone.loss if whole else alone)(seen).item()

    torch.manual_seed(0)
    assert method.loss(seen).item() == pytest.approx(of("triplet", True) + of("darkrank", False))
    assert of("darkrank", True) == pytest.approx(of("triplet", True) + of("darkrank", False))
    with pytest.raises(
        UsageError, match="darkrank and fitnet have one triplet loss in a sum, and set margin differently"
    ):
        methods.load("darkrank+fitnet")(STUDENT, TEACHER, CLASSES, **{"fitnet.margin": 0.5})


def test_the_hyper_parameters_of_a_task_loss_reach_it() -> None:
    seen = batch()
    losses = []
    for margin in (0.2, 0.6):
        torch.manual_seed(0)
        losses.append(methods.load("relative")(STUDENT, TEACHER, CLASSES, margin=margin).loss(seen).item())
    assert losses[0] < losses[1]


def test_what_is_computed_of_a_teacher_is_known_by_function_and_arguments() -> None:
    """Two methods that choose one word for two things get two things; one thing is computed once for all students."""
    calls: list[float] = []

    def nearest(teacher: Tensor, scale: float = 1.0) -> Tensor:
        calls.append(scale)
        return scale * teacher

    def another(teacher: Tensor, scale: float = 1.0) -> Tensor:
        return -scale * teacher

    another.__name__ = another.__qualname__ = nearest.__qualname__
    first = batch()
    second = replace(first, student=features(STUDENT, 9, 16, True))
    assert first.of_teacher(nearest) is second.of_teacher(nearest) and calls == [1.0]
    assert torch.equal(first.of_teacher(another), -second.of_teacher(nearest)) and calls == [1.0]
    assert torch.equal(second.of_teacher(nearest, scale=2.0), 2 * first.of_teacher(nearest)) and calls == [1.0, 2.0]
    values = [first.of_teacher(torch.mul, other=torch.full((12,), value)) for value in (2.0, 5.0)]
    assert torch.equal(2.5 * values[0], values[1])  # neither is taken for the other, though the first tensor is gone
    other = torch.ones(12)
    assert first.of_teacher(torch.mul, other=other) is second.of_teacher(torch.mul, other=other)
    assert first.of_teacher(torch.mul, other=other) is not first.of_teacher(torch.mul, other=torch.ones(12))


def test_what_a_combination_learns_has_the_rates_of_its_parts() -> None:
    method = methods.load("hinton+regression+rkd-d")(STUDENT, TEACHER, CLASSES)
    assert [rate for _, rate in method.learned()] == [100.0, 10.0, 1.0]
    assert sum(len(own) for own, _ in method.learned()) == len(list(method.parameters()))


@pytest.mark.parametrize(
    ("name", "message"), [("rkd-d+rkd-d", "each once"), ("rkd-d+pca", "train"), ("rkd-d+x", "unknown")]
)
def test_what_cannot_be_combined(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        methods.entry(name)


@pytest.mark.parametrize(
    "name", [n for n in TRAINED if methods.load(n).to_teacher_space is not Method.to_teacher_space]
)
def test_the_teachers_space_has_the_teachers_width(name: str) -> None:
    mapped = build(name).to_teacher_space(batch().student.embedding)
    assert mapped is not None and mapped.shape == (CLASSES * PER_CLASS, TEACHER.embedding)


def test_crd_remembers_after_the_step_only() -> None:
    method = build("crd")
    seen = batch()
    before = method.banks.clone()
    method.loss(seen).backward()
    assert torch.equal(method.banks, before) and method.normalisers.tolist() == [0, 0]
    with torch.no_grad():
        method.update(seen)
    assert not torch.equal(method.banks, before) and (method.normalisers > 0).all()
    assert torch.allclose(method.banks.norm(dim=2), torch.ones(before.shape[:2]))


@pytest.mark.parametrize("maps", [True, False], ids=["images", "features"])
def test_students_of_all_methods_share_one_step(maps: bool) -> None:
    """What one method keeps of the teacher's side under a name is not what another takes by the same name."""
    shared: dict[str, object] = {}
    for name in (name for name, has_maps in CASES if has_maps == maps):
        method = build(name, maps)
        losses = []
        for seen in (
            batch(maps=maps),
            replace(batch(maps=maps), shared=shared),
            replace(batch(maps=maps), shared=shared),
        ):
            torch.manual_seed(0)
            losses.append(method.loss(seen).item())
        assert losses[0] == losses[1] == losses[2], name


def test_the_edition_of_a_method_is_of_the_files_that_its_loss_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Path.read_bytes
    before = {name: methods.edition(name) for name in TRAINED}
    methods.edition.cache_clear()
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"# edited" if path.name == "task.py" else b""))
    changed = {name for name in TRAINED if methods.edition(name) != before[name]}
    methods.edition.cache_clear()
    assert {"triplet", "darkrank", "fitnet", "crd"} <= changed and not {"rkd-d", "pkt", "cosine"} & changed
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path.name == "combination.py" else b""))
    alone, together = methods.edition("pkt"), methods.edition("pkt+sp")
    methods.edition.cache_clear()
    monkeypatch.undo()
    assert alone == before["pkt"] and together != methods.edition("pkt+sp")


def test_angles_have_the_same_gradient_by_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are summed in their order, whoever was first; what torch has for others is as before, also after a failure."""
    monkeypatch.setattr(rkd, "BLOCK", 3 * 24**2)
    before = torch.get_num_threads()
    teacher = distances(torch.randn(24, 6))
    student = torch.randn(24, 4)

    def gradient(threads: int) -> torch.Tensor:
        torch.set_num_threads(threads)
        mine = student.clone().requires_grad_()
        rkd.angle_loss(distances(mine), teacher).backward()
        assert torch.get_num_threads() == threads and mine.grad is not None
        return mine.grad

    try:
        alone = gradient(1)
        assert all(torch.equal(gradient(threads), alone) for threads in (2, 3, 5))
        with pytest.raises(ZeroDivisionError):
            list(rkd._spread(lambda item: 1 // item, range(4), 4))
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)
