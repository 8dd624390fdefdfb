"""A finished run's network as a file, and back."""

from __future__ import annotations

import torch
from safetensors.torch import load, save
from torch import nn

from .. import methods
from ..errors import BenchmarkError
from ..spec import Spec
from ..store import Store
from .encoder import Encoder, Headless, Network, network_of


def serialized(module: nn.Module) -> bytes:
    """The module's state as the bytes of a safetensors file: equal states, equal bytes."""
    tensors, taken = {}, set()
    for name, tensor in module.state_dict().items():
        # Two names of one tensor, as a module of the user's may have, are two tensors in a file.
        tensors[name] = (
            tensor.clone(memory_format=torch.contiguous_format) if tensor.data_ptr() in taken else tensor.contiguous()
        )
        taken.add(tensor.data_ptr())
    return save(tensors)


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
        if trunk and not spec.on_features:
            network = network_of(spec, pretrained=False)
        elif not methods.entry(spec.method).has_head:
            network, state = Headless(None, spec.dim, normalize=spec.normalize), {}
        else:
            state = {name: tensor for name, tensor in state.items() if not name.startswith("trunk.")}
            network = Encoder(None, len(state["centre"]), spec.dim, normalize=spec.normalize, hidden=spec.hidden)
        network.load_state_dict(state)
    except BenchmarkError:
        raise
    except Exception as error:  # safetensors and torch have error types of their own here
        raise BenchmarkError(f"the weights {store.weights(spec)} cannot be read; {store.again(spec)}") from error
    return network.to(device).eval().requires_grad_(False)
