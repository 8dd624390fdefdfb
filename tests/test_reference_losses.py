"""Losses agree with the published implementations: values and gradients in float64 (tests/reference/losses.npz, see its README)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.methods.attention import attention_loss
from benchmark.methods.hinton import softened_kl
from benchmark.methods.rkd import angle_loss, angles, distance_loss, scaled_distances

REFERENCE = np.load(Path(__file__).parent / "reference" / "losses.npz")
Loss = Callable[[Tensor, Tensor], Tensor]
CASES: list[tuple[str, str, str, Loss]] = [
    *((f"{case}.student", f"{case}.teacher", f"{case}.{name}", loss)
      for case in ("small.raw", "small.l2", "batch.l2")
      for name, loss in (("rkd_distance", lambda s, t: distance_loss(s, scaled_distances(t))),
                         ("rkd_angle", lambda s, t: angle_loss(s, angles(t))))),
    *((f"map.{case}.student", f"map.{case}.teacher", f"map.{case}.attention", attention_loss) for case in ("same", "bigger_teacher")),
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
