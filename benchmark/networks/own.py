"""Networks of one's own: a factory in a file or a package, and weights beside it. They are known by a digest of both, never by a path.

Where their code lies is told by the environment variable `BENCHMARK_OWN`, which child processes inherit, and is remembered in the user's
own cache: no part of anyone's identity, nor of any folder that is handed on.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from ..errors import BenchmarkError, UsageError, WeightsError, some, unknown, wrong_field
from ..files import digest, read_regular, write_atomically
from ..methods.plugins import module_of_text, on_path, words_of
from ..spec import Frozen, Pixels
from .names import IMAGENET, OWN_NAME, OWN_PLACE

VARIABLE = "BENCHMARK_OWN"  # NAME=PLACE or PLACE, parted by semicolons; a PLACE is FILE.py:FACTORY@CHECKPOINT
INSIDE = ("state_dict", "model")  # keys under which training scripts keep weights
WIDEST = 2**20


class OwnNetwork(NamedTuple):
    """A factory that works, and where it is from."""

    name: str  # own:FACTORY-DIGEST
    place: str
    factory: Callable[[], Any]
    folder: Path  # on Python's path while its code runs
    weights: Path | None

    def make(self, *, load: bool = True) -> nn.Module:
        """The module, in float32; `load`: with the weights of its checkpoint, if it has one."""
        try:
            with on_path(self.folder):
                module = self.factory()
        except (Exception, SystemExit) as error:
            raise BenchmarkError(f"{self.place}: the factory fails: {words_of(error)}") from error
        if not isinstance(module, nn.Module):
            raise UsageError(f"{self.place}: the factory gives a {type(module).__name__}, not a torch.nn.Module")
        if any(map(nn.parameter.is_lazy, (*module.parameters(), *module.buffers()))):
            raise UsageError(
                f"{self.place}: its lazy layers have no sizes yet; have the factory pass zeros through the module once"
            )
        if load and self.weights is not None:
            load_weights(module, self.weights)
        return module.float()


class Wanted(Frozen):
    """The images that a module wants, by its attributes of these names."""

    mean: tuple[float, float, float] = IMAGENET[0]
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = IMAGENET[
        1
    ]
    image: Pixels | None = None  # None: any size

    @classmethod
    def by(cls, module: nn.Module, place: str) -> Wanted:
        """Read a module's attributes. Raises a UsageError where one is none that can be."""
        try:
            return cls(**{name: getattr(module, name) for name in cls.model_fields if hasattr(module, name)})
        except ValidationError as error:
            raise UsageError(f"{place}: its attribute {wrong_field(error)}") from None

    def resized(self, images: Tensor) -> Tensor:
        """Bring images [n, 3, h, w] to the module's size."""
        if self.image is None or tuple(images.shape[2:]) == (self.image, self.image):
            return images
        smaller = images.shape[2] > self.image
        return nn.functional.interpolate(images, (self.image, self.image), mode="bilinear", antialias=smaller)


def absolute(place: str) -> str:
    """A place with whole paths. Raises a UsageError where it is none."""
    match = OWN_PLACE.fullmatch(place)
    if match is None:
        raise UsageError(f"{place!r} is no FILE.py:FACTORY@CHECKPOINT")
    code, factory, weights = match.groups()
    code = str(Path(code).expanduser().resolve()) if code.endswith(".py") else code
    return f"{code}:{factory}" + (f"@{Path(weights).expanduser().resolve()}" if weights else "")


def open_own(place: str) -> OwnNetwork:
    """The network at an `absolute` place, which this process and its children know from now on.

    Raises:
        UsageError: there is no such file, module or factory, or it gives no module.
        WeightsError: its weights cannot be read, or are another network's.
        BenchmarkError: its code fails.
    """
    code, _, weights = OWN_PLACE.fullmatch(place).groups()  # type: ignore[union-attr]
    files = [path for path in map(Path, (code, weights or "")) if path.is_file()]
    network = _opened(place, tuple((path.stat().st_mtime_ns, path.stat().st_size) for path in files))
    named, unnamed = _said()
    places = {**named, network.name: place}
    os.environ[VARIABLE] = ";".join([*unnamed, *(f"{name}={where}" for name, where in places.items())])
    return network


@functools.lru_cache(8)
def _opened(place: str, stamps: tuple[tuple[int, int], ...]) -> OwnNetwork:
    """The network at a place, whose files are as they are now."""
    code, name, weights = OWN_PLACE.fullmatch(place).groups()  # type: ignore[union-attr]
    if weights and not Path(weights).is_file():
        raise UsageError(f"{place}: there is no checkpoint {weights}")
    module, text, folder = _imported(code)
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UsageError(f"{code}: {unknown('factory', name, known)}")
    network = OwnNetwork("", place, factory, folder, Path(weights) if weights else None)
    # Weights that chance made are of no identity; those of a checkpoint are all of them.
    fixed = _fingerprints(network, 0)
    if not weights:
        fixed = dict(fixed.items() & _fingerprints(network, 1).items())
    return network._replace(name=f"own:{name}-{digest(text + json.dumps(fixed, sort_keys=True).encode())}")


def own_network(name: str) -> OwnNetwork:
    """The network of a name, where it is known to lie. Raises a WeightsError where it is not, or is another one now; else as `open_own`."""
    for candidate in _said()[1]:
        if (network := open_own(absolute(candidate))).name == name:
            return network
    where = f"say where it is, by {VARIABLE}=FILE.py:FACTORY@CHECKPOINT"
    if (place := _place_of(name)) is None:
        raise WeightsError(f"{name}: it is not known on this machine; {where}")
    try:
        network = open_own(place)
    except UsageError as error:
        raise WeightsError(f"{name}: {error}; {where}") from error
    if network.name != name:
        raise WeightsError(
            f"{name}: {place} has changed since, and is {network.name} now; bring back its code or weights"
        )
    return network


@functools.cache
def own_width(name: str, pixels: int) -> int:
    """How many numbers the network of a name makes of an image of that many pixels a side, by one pass on zeros.

    Raises:
        UsageError: it makes no vectors of images.
    """
    network = own_network(name)
    try:
        with torch.device("cpu"), _random(0), torch.no_grad(), on_path(network.folder):
            module = network.make().eval()
            output = module(Wanted.by(module, network.place).resized(torch.zeros(2, 3, pixels, pixels)))
    except BenchmarkError:
        raise
    except Exception as error:
        raise UsageError(f"{network.place} fails on images [2, 3, {pixels}, {pixels}]: {words_of(error)}") from error
    made = f"a {type(output).__name__}"
    if isinstance(output, Tensor):
        shape, made = list(output.shape), f"{output.dtype} {list(output.shape)}"
        if len(shape) == 2 and shape[0] == 2 and 1 <= shape[1] <= WIDEST and output.is_floating_point():
            if torch.isfinite(output).all():
                return shape[1]
            made = "numbers that are not finite (NaN, infinity)"
    raise UsageError(f"{network.place} makes {made} of 2 images of zeros, not vectors of floats [2, d]")


def _said() -> tuple[dict[str, str], list[str]]:
    """Read the environment variable: places by the name of their network, and those that the user has set without one."""
    entries = [entry.partition("=") for entry in os.environ.get(VARIABLE, "").split(";") if entry]
    named = {name: place for name, sign, place in entries if sign and OWN_NAME.fullmatch(name)}
    return named, ["".join(entry) for entry in entries if entry[0] not in named]


def place_file(name: str) -> Path:
    """The user's own file of where a network lies. Not one beside results: who hands on a folder would have its readers run code."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "embedding-distillation-benchmark" / name.replace(":", "-")


def _place_of(name: str) -> str | None:
    """Where a network lies, as the environment variable says it, else the user's file."""
    with contextlib.suppress(OSError, ValueError):
        place = _said()[0].get(name) or read_regular(place_file(name)).decode()
        return place if OWN_PLACE.fullmatch(place) else None
    return None


def write_places(backbones: Iterable[str]) -> None:
    """Write into the user's files where the networks of some runs lie, for later commands."""
    for name in backbones:
        if OWN_NAME.fullmatch(name) and (place := _place_of(name)):
            place_file(name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place_file(name), place)


def _imported(code: str) -> tuple[ModuleType, bytes, Path]:
    """The module of a file or of a name, its text, and the folder that is on Python's path while it runs."""
    is_file = code.endswith(".py")
    folder = Path(code).parent if is_file else Path.cwd()
    try:
        with on_path(folder):
            if not is_file:
                module = importlib.import_module(code)
                return module, read_regular(Path(module.__file__ or "")), folder
            text = read_regular(Path(code))
        return module_of_text(Path(code), text), text, folder  # of the very text that is its identity
    except (Exception, SystemExit) as error:
        if isinstance(error, FileNotFoundError) and error.filename == code:
            raise UsageError(f"there is no file of Python's {code}") from error
        if isinstance(error, ModuleNotFoundError) and not is_file and f"{code}.".startswith(f"{error.name}."):
            raise UsageError(f"there is no module {code} here: Python finds no {error.name}") from error
        raise BenchmarkError(f"{code} cannot be imported: {words_of(error)}") from error


def _fingerprints(network: OwnNetwork, seed: int) -> dict[str, str]:
    """Digests of a module's tensors as made at a seed."""
    with torch.device("cpu"), _random(seed):
        state = network.make().state_dict()
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items() if isinstance(value, Tensor)}
    return {
        name: hashlib.sha256(f"{tensor.dtype}{list(tensor.shape)}".encode() + tensor.numpy().tobytes()).hexdigest()
        for name, tensor in tensors.items()
    }


@contextlib.contextmanager
def _random(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        yield


def load_weights(module: nn.Module, path: Path) -> None:
    """Give a module the weights of a file, all of them and no others. Raises a WeightsError where that cannot be."""
    state = _state(path)
    if all(name.startswith("module.") for name in state):  # as parallel training saves them
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} holds the weights of another network: {words_of(error)}") from error


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
        keys = f" (its keys: {some(map(str, content))})" if isinstance(content, dict) and content else ""
        raise WeightsError(f"{path} holds no tensors by name, also not under {' or '.join(INSIDE)}{keys}; {way_out}")
    return content
