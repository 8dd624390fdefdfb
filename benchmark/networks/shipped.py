"""A network as it goes elsewhere: with what is done to an image before it reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data.decode import square
from ..spec import Fit
from .encoder import Network


class Shipped(nn.Module):
    """From images uint8 [n, size, size, 3], made square as for training, or own vectors [n, c], to embeddings [n, d].

    Args:
        image: pixels a side of the crop in the middle that the network reads; 0 of own vectors.
        size: pixels a side of the square.
        fit: how images become square.
    """

    def __init__(self, network: Network, image: int, size: int, fit: Fit = "squash") -> None:
        super().__init__()
        self.fit = fit
        self.network = network
        self.image = image
        self.size = size

    def preprocess(self, *files: str | Path) -> Tensor:
        """Read image files as the network wants them, uint8 [n, size, size, 3]. Raises a DataError where a file is no image."""
        return torch.from_numpy(np.stack([square(Path(file), self.size, self.fit) for file in files]))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.image:
            edge = (inputs.shape[1] - self.image) // 2
            inputs = inputs[:, edge : edge + self.image, edge : edge + self.image]
        return self.network(inputs).embedding
