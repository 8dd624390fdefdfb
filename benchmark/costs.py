"""What networks cost on a machine, as `costs.json` beside the records: read without torch, measured by `measure_costs`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from .errors import BenchmarkError
from .files import write_atomically
from .methods import catalogue
from .spec import Frozen, Spec

FILE = "costs.json"


class NetworkCost(Frozen):
    """One network on images of one size, trunk and head, whether the trunk was trained or not."""

    backbone: str
    dim: int
    hidden: int
    head: bool = Field(description="false of frozen features, which go as they are")
    image: int = Field(description="pixels a side")
    precision: str
    parameters: int
    multiply_adds: int = Field(description="of one image: half of what torch's flop counter counts")
    latency: float = Field(description="seconds for one image, median of repetitions")
    throughput: float = Field(description="images a second, in batches")


class SearchCost(Frozen):
    """Exact search of one query among a gallery of float32 vectors, in batches of queries."""

    dim: int
    gallery: int
    seconds: float = Field(description="a query, median of repetitions")


class Costs(Frozen):
    """All that was measured for one folder of results, on one machine."""

    environment: dict[str, str]
    batch: int = Field(description="images a batch of the throughput, and queries of the search")
    networks: tuple[NetworkCost, ...]
    searches: tuple[SearchCost, ...]

    def network(self, spec: Spec) -> NetworkCost | None:
        """Of a run's own network; None where that was not measured."""
        wanted = key(spec)
        return next((one for one in self.networks if network_key(one) == wanted), None)

    def search(self, dim: int, gallery: int) -> SearchCost | None:
        return next((one for one in self.searches if (one.dim, one.gallery) == (dim, gallery)), None)


def paid(spec: Spec) -> tuple[Spec, ...]:
    """The runs whose networks a query of a run goes through: its own, or of what is made after training those that it is made of."""
    return spec.members if not spec.steps and spec.members else (spec,)


def key(spec: Spec) -> tuple[object, ...]:
    """What tells the costs of two runs' networks apart."""
    return spec.backbone, spec.dim, spec.hidden, has_head(spec), spec.image, spec.precision


def has_head(spec: Spec) -> bool:
    """Whether a run's network is more than a trunk."""
    found = catalogue().get(spec.method)
    return found is None or found.head  # a combination has one, and so had what has left the catalogue


def network_key(cost: NetworkCost) -> tuple[object, ...]:
    return cost.backbone, cost.dim, cost.hidden, cost.head, cost.image, cost.precision


def read_costs(folder: Path) -> Costs | None:
    """Of a `results/<dataset>/<preset>` folder; None where nothing was measured.

    Raises:
        BenchmarkError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return Costs.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BenchmarkError(
            f"{path} holds no costs ({place}: {first['msg']}); delete it, and measure again: benchmark costs"
        ) from None


def write_costs(folder: Path, costs: Costs) -> Path:
    path = folder / FILE
    write_atomically(path, costs.model_dump_json(indent=1) + "\n")
    return path
