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
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from filelock import FileLock
from torch import Tensor, nn

from ..errors import BenchmarkError, UsageError, WeightsError, unknown
from ..files import digest, read_regular, write_atomically
from ..methods.plugins import module_of_text, on_path
from .names import IMAGENET, OWN_NAME, OWN_PLACE
from .own_weights import load_weights, words_of

VARIABLE = "BENCHMARK_OWN"  # NAME=PLACE or PLACE, parted by semicolons; a PLACE is FILE.py:FACTORY@CHECKPOINT
FILE = "own.json"
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
    stamps = [(status.st_mtime_ns, status.st_size) for path in (code, weights) if path and (status := _status(path))]
    network = _opened(place, tuple(stamps))
    say_place(network.name, place)
    return network


def _status(path: str) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        return Path(path).stat()
    return None


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
    places, unnamed = _said()
    for candidate in unnamed:
        if (network := open_own(absolute(candidate))).name == name:
            return network
    place = places.get(name)
    code, _, weights = OWN_PLACE.fullmatch(place).groups() if place else ("", "", "")  # type: ignore[union-attr]
    gone = [
        path for path in (code, weights) if path and (path == weights or path.endswith(".py")) and not _status(path)
    ]
    if place is None or gone:
        where = f"{gone[0]} is gone" if gone else "it is not known on this machine"
        raise WeightsError(f"{name}: {where}; say where it is, by {VARIABLE}=FILE.py:FACTORY@CHECKPOINT")
    network = open_own(place)
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
            output = module(as_it_wants(module, network.place)[2](torch.zeros(2, 3, pixels, pixels)))
    except BenchmarkError:
        raise
    except Exception as error:
        raise UsageError(f"{network.place} fails on images [2, 3, {pixels}, {pixels}]: {words_of(error)}") from error
    if not isinstance(output, Tensor):
        raise UsageError(f"{network.place} makes a {type(output).__name__} of images, not a tensor of vectors [n, d]")
    shape = list(output.shape)
    if len(shape) != 2 or shape[0] != 2 or not 1 <= shape[1] <= WIDEST or not output.is_floating_point():
        raise UsageError(f"{network.place} makes {output.dtype} {shape} of 2 images, not vectors of floats [2, d]")
    if not torch.isfinite(output).all():
        raise UsageError(f"{network.place} makes numbers that are not finite (NaN, infinity) of an image of zeros")
    return shape[1]


Statistics = tuple[float, ...]


def as_it_wants(module: nn.Module, place: str) -> tuple[Statistics, Statistics, Callable[[Tensor], Tensor]]:
    """Mean and standard deviation of the images that a module wants, and what brings them to its size: by its attributes `mean`, `std` and
    `image`; without them ImageNet's, and any size.

    Raises:
        UsageError: an attribute is none that can be.
    """
    statistics = []
    for name, default in zip(("mean", "std"), IMAGENET, strict=True):
        value = getattr(module, name, default)
        numbers = isinstance(value, tuple | list) and all(isinstance(each, int | float) for each in value)
        if not numbers or len(value) != 3 or not all(map(math.isfinite, value)) or (name == "std" and min(value) <= 0):
            raise UsageError(
                f"{place}: its attribute {name} is {_short(value)}; write three numbers, such as {default}"
            )
        statistics.append(tuple(map(float, value)))
    size = getattr(module, "image", None)
    if size is not None and not (type(size) is int and 1 <= size <= 2**16):
        raise UsageError(f"{place}: its attribute image is {_short(size)}; write pixels a side, such as 224")

    def resized(images: Tensor) -> Tensor:
        if size is None or tuple(images.shape[2:]) == (size, size):
            return images
        smaller = images.shape[2] > size
        return nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=smaller)

    return statistics[0], statistics[1], resized


def _said() -> tuple[dict[str, str], list[str]]:
    """Read the environment variable: places by the name of their network, and those that the user has set without one."""
    entries = [entry.partition("=") for entry in os.environ.get(VARIABLE, "").split(";") if entry]
    named = {name: place for name, sign, place in entries if sign and OWN_NAME.fullmatch(name)}
    return named, ["".join(entry) for entry in entries if entry[0] not in named]


def say_place(name: str, place: str) -> None:
    """Tell this process and its children, by the environment variable, where the network of a name is."""
    named, unnamed = _said()
    os.environ[VARIABLE] = ";".join([*unnamed, *(f"{key}={value}" for key, value in {**named, name: place}.items())])


def places_file() -> Path:
    """The user's own file of where networks lie. Not one beside results: who hands on a folder would have its readers run code."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embedding-distillation-benchmark" / FILE


def read_places() -> None:
    """Take over from the user's file where networks lie, but for those of which the environment variable says it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        for name, place in json.loads(read_regular(places_file())).items():
            if name not in _said()[0] and OWN_NAME.fullmatch(name) and OWN_PLACE.fullmatch(place):
                say_place(name, place)


def write_places(backbones: Iterable[str]) -> None:
    """Write into the user's file where the networks of some runs lie, for later commands."""
    read_places()
    places, _ = _said()
    if own := {name: places[name] for name in backbones if name in places}:
        path, before = places_file(), dict[str, str]()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            with contextlib.suppress(OSError, ValueError):
                before = json.loads(read_regular(path))
            write_atomically(path, json.dumps({**before, **own}, indent=1, sort_keys=True) + "\n")


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
    except FileNotFoundError as error:
        if error.filename == code or not is_file:
            raise UsageError(f"there is no file of Python's {code}") from error
        raise BenchmarkError(f"{code} cannot be imported: {words_of(error)}") from error
    except ModuleNotFoundError as error:
        if not is_file and f"{code}.".startswith(f"{error.name}."):
            raise UsageError(f"there is no module {code} here: Python finds no {error.name}") from error
        raise BenchmarkError(f"{code} cannot be imported: {words_of(error)}") from error
    except (Exception, SystemExit) as error:
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


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
