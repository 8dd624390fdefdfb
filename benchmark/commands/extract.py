"""`benchmark extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..data import cards
from ..data.fetch import fetch as fetch_data
from ..data.layouts import load
from ..errors import UsageError, WeightsError
from ..networks import names as zoo
from ..shipping import extract
from ..store import Store
from ..training.context import RunContext
from ..training.progress import Reporter
from ..training.trial import check_size
from .console import ARRAY, RESULTS, Out, device_of, out


def extract_command(
    *,
    dataset: str,
    backbone: str,
    to: Out,
    labels_out: Annotated[Path | None, Parameter(validator=ARRAY)] = None,
    split: str = "train",
    views: int = 1,
    image: int = 96,
    resize: int = 112,
    data: Path | None = None,
    device: str | None = None,
) -> int:
    """Write a pretrained trunk's pooled features of images, for run --features: float16, [n, c], or [n, V, c] of several views.

    Parameters
    ----------
    dataset
        as for run
    backbone
        a network (benchmark list backbones)
    to
        .npy to write
    labels_out
        .npy for the names of the classes
    split
        train or test; of some data sets train, query or gallery
    views
        crops of each image: the centre one, and seeded ones
    image
        pixels a side of the crop
    resize
        pixels a side of the decoded image
    data
        the folder that holds CUB_200_2011/, stanford_cars/, ...
    device
        as for run
    """
    zoo.check_name(backbone)
    folder = data or cards.default_data_dir()
    card = cards.load(dataset, folder)
    if card.vectors is not None:
        raise UsageError(f"{dataset} holds vectors, not images")
    spec, where = extract.request(card, backbone, views=views, image=image, resize=resize), device_of(device)
    fetch_data(card, folder)
    images = load(cards.load(dataset, folder), folder)
    chosen = extract.named(images, split)
    check_size(spec.backbone, spec.image, where)
    with Reporter(out) as reporter:
        context = RunContext(images, folder, Store(RESULTS), where, reporter.preparing)
        try:
            shape = extract.extract(spec, chosen, context, to, labels_out)
        except WeightsError as error:  # its last advice is for runs, which can train from scratch
            raise WeightsError(str(error).partition(", or ask for training")[0]) from None
    out.print(f"wrote {to}, {' x '.join(map(str, shape))}, float16", markup=False, soft_wrap=True)
    return 0
