"""A small plain CNN as image encoder: the baseline that a ViT must beat to earn its place."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class PlainCNN(nn.Module):
    """Stages of two 3x3 convolutions with batch normalisation, each stage at half the resolution of the last."""

    def __init__(self, *, num_channels: int, widths: Sequence[int]):
        super().__init__()
        layers = []
        for width in widths:
            layers += [
                nn.Conv2d(num_channels, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            num_channels = width
        self.stages = nn.Sequential(*layers)

    def forward(
        self, pixel_values: Float[Tensor, "num_images channels height width"]
    ) -> Float[Tensor, "num_images features rows columns"]:
        return self.stages(pixel_values)
