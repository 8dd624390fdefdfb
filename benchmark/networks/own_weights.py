"""Weights that others trained, as files: read without running what they hold, into a module that they fit."""

from __future__ import annotations

import os
import pickle
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import WeightsError, some

INSIDE = ("state_dict", "model")  # keys under which training scripts keep weights


def load_weights(module: nn.Module, path: Path) -> None:
    """Give a module the weights of a file, all of them and no others. Raises a WeightsError where that cannot be."""
    state = _state(path)
    if all(name.startswith("module.") for name in state):  # as parallel training saves them
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    own = module.state_dict()
    faults = {
        "it lacks": sorted(own.keys() - state.keys()),
        "the module has no": sorted(state.keys() - own.keys()),
        "of another shape is": sorted(
            name for name in own.keys() & state.keys() if own[name].shape != state[name].shape
        ),
    }
    if told := [f"{what} {some(names)}" for what, names in faults.items() if names]:
        raise WeightsError(f"{path} holds the weights of another network: {'; '.join(told)}")
    module.load_state_dict(state)


def _state(path: Path) -> dict[str, Tensor]:
    """Tensors by name, read without unpickling anything else."""
    way_out = "save the weights alone: torch.save(model.state_dict(), ...), or a .safetensors file"
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} wants unpickling, which may run any code, and is refused; {way_out}") from error
    except Exception as error:  # torch and safetensors have error types of their own
        raise WeightsError(f"{path} cannot be read as weights ({words_of(error)}); {way_out}") from error
    for key in INSIDE:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not (isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values())):
        raise WeightsError(f"{path} holds no tensors by name, also not under {' or '.join(INSIDE)}; {way_out}")
    return content


def words_of(error: BaseException) -> str:
    """An error's own words in one line, with the user's line that led to it."""
    inner = (
        str(Path(__file__).parents[1]),
        str(Path(torch.__file__).parents[1]),
        "<frozen",
        str(Path(os.__file__).parent),
    )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(inner)]
    at = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{at}"
