"""Costs of networks on a machine, as `costs.json` beside the records: read without torch, measured by `costs.measure`."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ..errors import BenchmarkError, wrong_field
from ..files import read_regular, sealed, unsealed, write_atomically
from ..methods import catalogue
from ..spec import Frozen, Name, Pixels, Spec, Width

FILE = "costs.json"
MOST = 2**24  # bytes of it; a large one has some thousands
Count = Annotated[int, Field(ge=0, le=2**62)]
Some = Annotated[float, Field(gt=0)]


class Repeated(Frozen):
    """How much repetitions of a measurement differed."""

    spread: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="median of the last repetitions over the fastest of all, less 1; null: an older version's median",
    )
    busy: bool = Field(
        False, description="the machine had other things to do, whatever was tried: measured again by the next run"
    )


class RuntimeCost(Repeated):
    """A network in float32 on the CPU, as one program runs it, with so many threads."""

    runtime: Literal["torch", "onnxruntime"]
    threads: Count = Field(ge=1)
    latency: Some = Field(description="seconds for one image, fastest of repetitions")
    throughput: Some = Field(description="images a second, in batches, fastest of repetitions")


class NetworkCost(Repeated):
    """One network on images of one size, trunk and head, whether the trunk was trained or not."""

    backbone: Name
    dim: Width
    hidden: Annotated[int, Field(ge=0, le=2**20)]
    head: bool = Field(description="false of frozen features, which go as they are")
    image: Pixels = Field(description="pixels a side")
    precision: Literal["fp32", "bf16", "auto"]
    parameters: Count
    multiply_adds: Count = Field(description="of one image: half of what torch's flop counter counts")
    latency: Some = Field(description="seconds for one image, fastest of repetitions")
    throughput: Some = Field(description="images a second, in batches, fastest of repetitions")
    runtimes: tuple[RuntimeCost, ...] = Field((), description="of `benchmark costs --onnxruntime`")

    @property
    def key(self) -> tuple[object, ...]:
        return self.backbone, self.dim, self.hidden, self.head, self.image, self.precision

    def by(self, runtime: str, *, alone: bool = False) -> RuntimeCost | None:
        """The cost by a program, with one thread where that is alone, else with the most that were measured; None where it was not."""
        costs = sorted((cost for cost in self.runtimes if cost.runtime == runtime), key=attrgetter("threads"))
        return next((cost for cost in (costs if alone else costs[::-1]) if not alone or cost.threads == 1), None)


class SearchCost(Repeated):
    """Exact search of one query among a gallery of float32 vectors, in batches of queries."""

    dim: Width
    gallery: Count = Field(ge=1)
    seconds: Some = Field(description="a query, fastest of repetitions")

    @property
    def key(self) -> tuple[int, int]:
        return self.gallery, self.dim


class Costs(Frozen):
    """All that was measured for one folder of results, on one machine."""

    environment: dict[str, str]
    batch: Count = Field(ge=1, description="images a batch of the throughput, and queries of the search")
    networks: tuple[NetworkCost, ...]
    searches: tuple[SearchCost, ...]

    def network(self, spec: Spec) -> NetworkCost | None:
        """The cost of a run's own network; None where that was not measured."""
        return next((cost for cost in self.networks if cost.key == network_key(spec)), None)

    def search(self, dim: int, gallery: int) -> SearchCost | None:
        return next((cost for cost in self.searches if cost.key == (gallery, dim)), None)


def paid(spec: Spec) -> tuple[Spec, ...]:
    """The runs whose networks a query of a run goes through: its own, or of what is made after training those that it is made of."""
    entry = catalogue().get(spec.method)
    return spec.members if spec.members and not spec.steps and not (entry and entry.kind == "control") else (spec,)


def network_key(spec: Spec) -> tuple[object, ...]:
    """The `NetworkCost.key` of a run's network."""
    entry = catalogue().get(spec.method)
    head = entry is None or entry.has_head  # a combination has one, and so had what has left the catalogue
    return spec.backbone, spec.dim, spec.hidden, head, spec.image, spec.precision


def read_costs(folder: Path) -> Costs | None:
    """The costs of a `results/<dataset>/<preset>` folder; None where nothing was measured.

    Raises:
        BenchmarkError: the file is damaged.
    """
    path = folder / FILE
    try:
        return Costs.model_validate(unsealed(read_regular(path, MOST)))
    except FileNotFoundError:
        return None
    except ValueError as error:
        why = wrong_field(error) if isinstance(error, ValidationError) else error
        raise BenchmarkError(f"{path} holds no costs ({why}); delete it, and measure again: benchmark costs") from None


def write_costs(folder: Path, costs: Costs) -> Path:
    path = folder / FILE
    write_atomically(path, sealed(costs.model_dump(mode="json"), sort=False))
    return path
