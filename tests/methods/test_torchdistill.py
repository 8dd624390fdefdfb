"""Losses agree with torchdistill's, an independent implementation, where the definitions do.

Where they do not, the test says by what: its KD leaves out the squared temperature when there are no labels; its CC takes the norm of
the difference and not its square, of rows that are not normalised; its SP brings rows to sum 1, where the paper brings them to length
1; its CRD samples negatives, of which ours is the expectation.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchdistill.losses import mid_level
from torchdistill.models.wrapper import Regressor4VID

from benchmark import methods
from benchmark.methods.attention import attention_loss
from benchmark.methods.base import Batch, Features, Widths
from benchmark.methods.hinton import softened_kl
from benchmark.methods.hints import Gaussian, convolution
from benchmark.methods.similarity import affinities, gaussian_kernel, pkt_loss, unit_gram

N = 12


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


STUDENT, TEACHER = draw(N, 8, seed=1), draw(N, 20, seed=2)


def theirs(loss: nn.Module, student: Any, teacher: Any) -> float:
    return float(loss({"m": {"output": student}}, {"m": {"output": teacher}}))


def test_rkd() -> None:
    loss = mid_level.RKDLoss("m", "m", dist_factor=1.0, angle_factor=2.0, reduction="mean")
    method = methods.load("rkd-da")(Widths(8, 8, ()), Widths(20, 20, ()), 3)
    labels = torch.zeros(N, dtype=torch.int64)
    ours = method.loss(Batch(Features(STUDENT, STUDENT), Features(TEACHER, TEACHER), labels, labels, 0.0))
    assert ours.item() == pytest.approx(theirs(loss, STUDENT, TEACHER), rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd(temperature: float) -> None:
    loss = mid_level.KDLoss("m", "output", "m", "output", temperature=temperature, alpha=0.0)
    student, teacher = 5 * draw(N, 10, seed=3), 5 * draw(N, 10, seed=4)
    expected = temperature**2 * theirs(loss, student, teacher)
    assert softened_kl(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_attention() -> None:
    pairs = {"pair": {side: {"io": "output", "path": "m"} for side in ("student", "teacher")}}
    student, teacher = draw(N, 4, 5, 5, seed=5), draw(N, 7, 5, 5, seed=6)
    expected = theirs(mid_level.ATLoss(pairs), student, teacher)
    assert attention_loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)


def test_pkt() -> None:
    expected = theirs(mid_level.PKTLoss("m", "output", "m", "output"), STUDENT.clone(), TEACHER.clone())
    assert pkt_loss(STUDENT, affinities(TEACHER)).item() == pytest.approx(expected, rel=1e-4)  # another epsilon


def test_sp() -> None:
    expected = theirs(mid_level.SPKDLoss("m", "m", reduction="batchmean"), STUDENT, TEACHER)
    student, teacher = (F.normalize(unit_gram(x), p=1) for x in (STUDENT, TEACHER))
    assert (student - teacher).square().mean().item() == pytest.approx(expected, rel=1e-9)


def test_cc() -> None:
    loss = mid_level.CCKDLoss("m", "m", {"type": "gaussian", "gamma": 0.4, "max_p": 2}, reduction="sum")
    norm = theirs(loss, F.normalize(STUDENT), F.normalize(TEACHER))
    difference = gaussian_kernel(STUDENT, 0.4, 2) - gaussian_kernel(TEACHER, 0.4, 2)
    assert difference.square().mean().item() == pytest.approx(norm**2 / N**2, rel=1e-9)


def test_vid() -> None:
    mine = Gaussian(convolution, 4, 7).double()
    their = Regressor4VID(4, 7, 7, eps=1e-5, init_pred_var=5.0).double()
    layers = [layer for layer in mine.mean if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for layer, other in zip(layers, (their.regressor[0], their.regressor[2], their.regressor[4]), strict=True):
            other.weight.copy_(layer.weight)
            layer.bias.zero_()  # theirs has none
    student, teacher = draw(N, 4, 5, 5, seed=5), draw(N, 7, 5, 5, seed=6)
    pairs = {"pair": {side: {"io": "output", "path": "m"} for side in ("student", "teacher")}}
    expected = float(mid_level.VIDLoss(pairs)({"m": {"output": their(student)}}, {"m": {"output": teacher}}).detach())
    assert mine(student, teacher).item() == pytest.approx(expected, rel=1e-6)


def test_crd() -> None:
    """With all rows of other classes as the negatives, and equally many of them for each anchor."""
    n, width, labels = 24, 16, torch.arange(6).repeat_interleave(4)
    method = methods.load("crd")(Widths(8, 8, ()), Widths(20, 20, ()), 6, negatives=20, width=width).double()
    method.prepare(draw(n, 20), labels)
    method.double()
    method.normalisers.copy_(torch.tensor([50.0, 70.0]))
    index = torch.tensor([0, 5, 9, 14, 18, 23])
    student, teacher = draw(6, 8, seed=1), draw(6, 20, seed=2)
    batch = Batch(Features(student, student), Features(teacher, teacher), labels[index], index, 0.0)

    loss = mid_level.CRDLoss("m", "pos", "m", width, n, num_negative_samples=20, num_samples=n)
    loss.double()
    loss.memory_v1.copy_(method.banks[0])
    loss.memory_v2.copy_(method.banks[1])
    loss.params.copy_(torch.tensor([20, 0.07, 50.0, 70.0, 0.5], dtype=torch.float64))
    others = torch.stack([torch.cat([row[None], torch.where(labels != labels[row])[0]]) for row in index])
    mine, their = method._projected(batch)
    side = {"m": {"output": mine}, "pos": {"input": {"pos_idx": index, "contrast_idx": others}}}
    expected = float(loss(side, {"m": {"output": their}}).detach())
    ours = method._contrast(mine, 0, batch) + method._contrast(their, 1, batch)
    assert ours.item() == pytest.approx(expected, rel=1e-6)
    method.update(batch)
    assert torch.allclose(method.banks[0], loss.memory_v1) and torch.allclose(method.banks[1], loss.memory_v2)
