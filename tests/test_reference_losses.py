"""Losses agree with the published implementations: values and gradients in float64 (tests/reference/losses.npz, see its README)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.methods.attention import attention_loss
from benchmark.methods.base import distances
from benchmark.methods.darkrank import hard_loss, nearest
from benchmark.methods.hinton import softened_kl
from benchmark.methods.nst import nst_loss
from benchmark.methods.relaxed import attraction, relaxed_contrastive_loss
from benchmark.methods.rkd import angle_loss, distance_loss
from benchmark.methods.similarity import affinities, pkt_loss, sp_loss, unit_gram

REFERENCE = np.load(Path(__file__).parent / "reference" / "losses.npz")
Loss = Callable[[Tensor, Tensor], Tensor]
EMBEDDINGS: dict[str, Loss] = {
    "rkd_distance": lambda s, t: distance_loss(distances(s), distances(t)),
    "rkd_angle": lambda s, t: angle_loss(distances(s), distances(t)),
    "darkrank_hard_a3_b3": lambda s, t: hard_loss(s, nearest(t), 3, 3),
    "pkt": lambda s, t: pkt_loss(s, affinities(t)),
    "similarity_preserving": lambda s, t: sp_loss(s, unit_gram(t)),
    "relaxed_contrastive_s1_d1": lambda s, t: relaxed_contrastive_loss(s, attraction(t, 1), 1),
}
MAPS: dict[str, Loss] = {"attention": attention_loss, "nst": nst_loss}
CASES: list[tuple[str, str, str, Loss]] = [
    *((f"{case}.student", f"{case}.teacher", f"{case}.{name}", loss)
      for case in ("small.raw", "small.l2", "batch.raw", "batch.l2") for name, loss in EMBEDDINGS.items()),
    *((f"map.{case}.student", f"map.{case}.teacher", f"map.{case}.{name}", loss)
      for case in ("same", "bigger_teacher") for name, loss in MAPS.items()),
    ("logits.student", "logits.teacher", "logits.kd_T1", lambda s, t: softened_kl(s, t, 1)),
    ("logits.student", "logits.teacher", "logits.kd_T4", lambda s, t: softened_kl(s, t, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("student", "teacher", "key", "loss"), CASES, ids=[case[2] for case in CASES])
@pytest.mark.parametrize(
    ("dtype", "value_error", "gradient_error"), [(torch.float64, 1e-6, 1e-5), (torch.float32, 1e-4, 1e-4)]
)
def test_value_and_gradient(
    student: str, teacher: str, key: str, loss: Loss, dtype: torch.dtype, value_error: float, gradient_error: float
) -> None:
    x = torch.tensor(REFERENCE[student], dtype=dtype, requires_grad=True)
    value = loss(x, torch.tensor(REFERENCE[teacher], dtype=dtype))
    (gradient,) = torch.autograd.grad(value, x)
    expected = torch.tensor(REFERENCE[f"{key}.grad"], dtype=dtype)
    assert value.item() == pytest.approx(float(REFERENCE[f"{key}.value"]), rel=value_error)
    assert ((gradient - expected).norm() / expected.norm()).item() < gradient_error
