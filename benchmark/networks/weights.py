"""A finished run's network as a file, and back."""

from __future__ import annotations

import torch
from safetensors.torch import load, save
from torch import nn

from .. import methods
from ..errors import BenchmarkError
from ..spec import Spec
from ..store import Store
from .encoder import Encoder, Identity, Network, encoder


def serialized(module: nn.Module) -> bytes:
    """The module's state as the bytes of a safetensors file: equal states, equal bytes."""
    return save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})


def load_encoder(spec: Spec, store: Store, device: torch.device, *, trunk: bool = True) -> Network:
    """A finished run's network, frozen and in eval mode.

    Args:
        trunk: whether it has its trunk, where the run has one of its own; streams of features want the head alone.

    Raises:
        BenchmarkError: there is no such file, or it is damaged.
    """
    content = store.read_weights(spec)
    try:
        state = load(content)
        network: Network
        if not methods.entry(spec.method).has_head:
            network = Identity(spec.dim, normalize=spec.normalize)
        elif trunk and not spec.on_features:
            network = encoder(spec.backbone, spec.dim, pretrained=False, normalize=spec.normalize, hidden=spec.hidden)
        else:
            state = {name: tensor for name, tensor in state.items() if not name.startswith("trunk.")}
            network = Encoder(None, len(state["centre"]), spec.dim, normalize=spec.normalize, hidden=spec.hidden)
        network.load_state_dict(state)
    except Exception as error:  # safetensors and torch have error types of their own here
        raise BenchmarkError(f"the weights {store.weights(spec)} cannot be read; {store.again(spec)}") from error
    return network.to(device).eval().requires_grad_(False)
