"""`benchmark extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..data.cards import NOTHING_SAID
from ..data.source import Source
from ..errors import UsageError, WeightsError
from ..protocol.existing import with_own_names
from ..protocol.request import Data, Device
from ..shipping import extract as features
from ..spec import Fit
from ..store import Store
from ..training.context import RunContext
from ..training.progress import Reporter
from ..training.trial import check_size
from .console import RESULTS, device_of, out
from .options import NPY, Dataset, Out, Own


def extract(
    *,
    dataset: Dataset,
    backbone: str,
    to: Out,
    labels_out: Annotated[Path | None, Parameter(validator=NPY)] = None,
    split: str = "train",
    views: int = 1,
    image: int = 96,
    resize: int = 112,
    fit: Fit = "squash",
    data: Data = None,
    device: Device = None,
    own: Own = NOTHING_SAID,
) -> int:
    """Write a pretrained backbone's pooled features of images, for run --features: float16, [n, c], or [n, V, c] with several views.

    Parameters
    ----------
    backbone
        a network (benchmark list backbones)
    labels_out
        a .npy file to write the names of the classes to
    split
        train or test; for some data sets train, query or gallery; or all, for a teacher given as vectors (run --teacher-features)
    views
        crops of each image: the centre crop, and seeded crops
    image
        side of the crop, in pixels
    resize
        side of the decoded image, in pixels
    fit
        how an image becomes square: squash, crop (only its middle) or pad (the whole image on white)
    """
    backbone = str(with_own_names({"backbone": backbone})["backbone"])
    source = Source.named(dataset, data, own=own)
    if source.card.vectors is not None:
        raise UsageError(f"{dataset} holds vectors, not images")
    spec, where = (
        features.request(source.card, backbone, views=views, image=image, resize=resize, fit=fit),
        device_of(device),
    )
    chosen = features.named(source.images, split)
    check_size(spec.backbone, spec.image, where)
    with Reporter(out) as reporter:
        context = RunContext(source.images, source.folder, Store(RESULTS), where, reporter.preparing)
        try:
            shape = features.extract(spec, chosen, context, to, labels_out)
        except WeightsError as error:  # its last advice is for runs, which can train from scratch
            raise WeightsError(str(error).partition(", or ask for training")[0]) from None
    out.print(f"wrote {to}, {' x '.join(map(str, shape))}, float16", markup=False, soft_wrap=True)
    return 0
