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


def load_encoder(spec: Spec, store: Store, device: torch.device) -> Network:
    """A finished run's network, frozen and in eval mode. Of a run on features that is the head alone.

    Raises:
        BenchmarkError: there is no such file, or it is damaged.
    """
    content = store.read_weights(spec)
    try:
        state = load(content)
        found: Network
        if not methods.entry(spec.method).has_head:
            found = Identity(spec.dim, normalize=spec.normalize)
        elif spec.views:
            found = Encoder(None, len(state["centre"]), spec.dim, normalize=spec.normalize, hidden=spec.hidden)
        else:
            found = encoder(spec.backbone, spec.dim, pretrained=False, normalize=spec.normalize, hidden=spec.hidden)
        found.load_state_dict(state)
    except Exception as error:  # safetensors and torch have error types of their own here
        raise BenchmarkError(f"the weights {store.weights(spec)} cannot be read; {store.again(spec)}") from error
    return found.to(device).eval().requires_grad_(False)


def without_trunk(network: Network) -> Encoder:
    """The head alone, for streams that carry its trunk's features; frozen and in eval mode."""
    assert isinstance(network, Encoder)
    head = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("trunk.")}
    hidden = 0 if network.inner is None else network.inner.out_features
    result = Encoder(None, network.widths.pooled, network.widths.embedding, normalize=network.normalize, hidden=hidden)
    result.load_state_dict(head)
    return result.to(network.centre.device).eval().requires_grad_(False)
