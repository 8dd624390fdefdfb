"""Values of the losses that no published pairs are at hand for: each against loops over its rows, as its docstring has it, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark import methods
from benchmark.methods.base import Batch, Features, Method, Widths
from benchmark.methods.nst import mean_kernel

N, D, WIDE, CLASSES = 9, 4, 6, 3
LABELS = torch.arange(CLASSES).repeat_interleave(3)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


STUDENT, TEACHER = F.normalize(draw(N, D, seed=1)), F.normalize(draw(N, WIDE, seed=2))
GALLERY = draw(N, WIDE, seed=3)  # the teacher's of the training set, in which the batch is not looked for
SEEN = Batch(Features(STUDENT, STUDENT), Features(TEACHER, TEACHER), LABELS, torch.arange(N), 0.0)


def build(name: str, **params: float) -> Method:
    torch.manual_seed(0)
    method = methods.load(name)(Widths(D, D, ()), Widths(WIDE, WIDE, ()), CLASSES, **params).double()
    method.prepare(GALLERY, LABELS)
    return method


def projected(method: Method) -> list[Tensor]:
    rows = method.to_teacher_space(STUDENT)
    assert rows is not None
    return list(rows.detach())


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def softmax(x: list[float]) -> list[float]:
    total = sum(map(math.exp, x))
    return [math.exp(value) / total for value in x]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def regression(method: Method) -> float:
    return mean([float(((s - t) ** 2).sum()) for s, t in zip(projected(method), TEACHER, strict=True)])


def cosine_loss(method: Method) -> float:
    return mean([1 - cosine(s, t) for s, t in zip(projected(method), TEACHER, strict=True)])


def raml(method: Method) -> float:
    mine, pairs = projected(method), [(i, j) for i in range(N) for j in range(N) if i != j]
    first = mean([(1 - cosine(mine[i], TEACHER[i])) ** 2 for i in range(N)])
    cross = mean([(cosine(mine[i], TEACHER[j]) - cosine(TEACHER[i], TEACHER[j])) ** 2 for i, j in pairs])
    own = mean([(cosine(mine[i], mine[j]) - cosine(TEACHER[i], TEACHER[j])) ** 2 for i, j in pairs])
    return first + 0.5 * cross + 0.25 * own


def csd(method: Method) -> float:
    losses = []
    for s, t in zip(projected(method), TEACHER, strict=True):
        near = sorted(GALLERY, key=lambda row: -cosine(t, row))[:5]
        losses.append(kl(softmax([cosine(t, g) / 0.3 for g in near]), softmax([cosine(s, g) / 0.7 for g in near])))
    return mean(losses)


def in_the_teachers_order(method: Method, most: int) -> list[tuple[list[float], list[float]]]:
    """Of each anchor, the student's and the teacher's cosines to the teacher's rows, the nearest first."""
    found = []
    for s, t in zip(projected(method), TEACHER, strict=True):
        near = sorted(TEACHER, key=lambda row: -cosine(t, row))[:most]
        found.append(([cosine(s, row) for row in near], [cosine(t, row) for row in near]))
    return found


def rop(method: Method) -> float:
    losses = []
    for s, t in in_the_teachers_order(method, 5):
        weight, total = softmax([0.2 * value for value in t]), 0.0
        for i in range(5):
            for j in range(5):
                above = 0.5 if i == j else float(t[j] > t[i])
                total += (i + 1) * weight[i] * (above - 1 / (1 + math.exp(-(s[j] - t[i]) / 0.1))) ** 2
        losses.append(total / 5)
    return mean(losses)


def d3still(method: Method) -> float:
    near, agreeing, opposed = 0.0, [], []
    for s, t in in_the_teachers_order(method, 5):
        near += (s[0] - t[0]) ** 2
        both: dict[bool, float] = {True: 0.0, False: 0.0}
        for i in range(1, 5):
            for j in range(1, 5):
                mine, theirs = s[i] - s[j], t[i] - t[j]
                if i != j:
                    both[mine * theirs > 0] += ((mine - theirs) / (0.1 + abs(theirs))) ** 2
        agreeing.append(math.sqrt(both[True]) / 4)
        opposed.append(math.sqrt(both[False]) / 4)
    return 50 * math.sqrt(near) / N + 2 * mean(opposed) + mean(agreeing)


def logits(method: Method) -> tuple[list[list[float]], list[list[float]]]:
    """Scaled cosines to the student's proxies, and to the means of the teacher's unit rows class by class."""
    proxies = dict(method.named_parameters())["proxies"].detach()
    centroids = [sum((row / row.norm() for row in GALLERY[c == LABELS]), torch.zeros(())) for c in range(CLASSES)]
    return (
        [[30 * cosine(row, p) for p in proxies] for row in STUDENT],
        [[30 * cosine(row, c) for c in centroids] for row in TEACHER],
    )


def softened(method: Method, temperature: float) -> float:
    pairs = zip(*logits(method), strict=True)
    both = [[softmax([value / temperature for value in row]) for row in pair] for pair in pairs]
    return temperature**2 * mean([kl(theirs, mine) for mine, theirs in both])


def hinton(method: Method) -> float:
    labels = LABELS.tolist()
    entropy = mean([-math.log(softmax(row)[c]) for row, c in zip(logits(method)[0], labels, strict=True)])
    return entropy + 0.5 * softened(method, 1.0 if method.name == "born-again" else 4.0)


CASES: list[tuple[str, Callable[[Method], float], dict[str, float]]] = [
    ("regression", regression, {}),
    ("cosine", cosine_loss, {}),
    ("raml", raml, {"cross_weight": 0.5, "own_weight": 0.25}),
    ("csd", csd, {"neighbours": 5, "student_temperature": 0.7, "teacher_temperature": 0.3}),
    ("rop", rop, {"neighbours": 5}),
    ("d3still", d3still, {"neighbours": 5}),
    ("hinton", hinton, {"weight": 0.5}),
    ("born-again", hinton, {"weight": 0.5}),
    ("label-refinery", lambda method: softened(method, 1.0), {}),
]


@pytest.mark.parametrize(("name", "expected", "params"), CASES, ids=[name for name, *_ in CASES])
def test_by_loops(name: str, expected: Callable[[Method], float], params: dict[str, float]) -> None:
    method = build(name, **params)
    assert method.loss(SEEN).item() == pytest.approx(expected(method), rel=1e-9)


def absolute(method: Method) -> float:
    return mean([float((s - t).norm()) for s, t in zip(projected(method), TEACHER, strict=True)])


def relative(_: Method) -> float:
    pairs = [(i, j) for i in range(N) for j in range(N) if i != j]
    return mean([float(((STUDENT[i] - STUDENT[j]).norm() - (TEACHER[i] - TEACHER[j]).norm()).abs()) for i, j in pairs])


@pytest.mark.parametrize(("name", "expected"), [("absolute", absolute), ("relative", relative)])
def test_beside_a_triplet_loss(name: str, expected: Callable[[Method], float]) -> None:
    found = []
    for weight in (0.0, 3.0):
        method = build(name, weight=weight)
        torch.manual_seed(0)
        found.append(method.loss(SEEN).item())
    assert found[1] - found[0] == pytest.approx(3 * expected(method), rel=1e-9)
    torch.manual_seed(0)
    assert found[0] == build("triplet")(SEEN).item()


@pytest.mark.parametrize("places", [3, 40])  # fewer and more than channels
def test_a_polynomial_kernel_by_either_kind_of_matrices(places: int) -> None:
    x, y = draw(2, 10, places, seed=4), draw(2, 12, places, seed=5)
    expected = mean([float(x[n, i] @ y[n, j]) ** 2 for n in range(2) for i in range(10) for j in range(12)])
    assert mean_kernel(x, y).item() == pytest.approx(expected, rel=1e-12)
