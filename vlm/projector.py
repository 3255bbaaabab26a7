"""The vision projector: patch features to image tokens in the decoder's space, one for each square of patches."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class VisionProjector(nn.Module):
    """Joins pool x pool neighbouring patches into one vector (pixel shuffle, Shi et al. 2016, reversed), then two
    linear layers. A grid that `pool` does not divide is padded with zeros at its right and lower edge."""

    def __init__(self, *, grid: tuple[int, int], width: int, decoder_width: int, pool: int):
        super().__init__()
        self.grid, self.pool = grid, pool
        self.num_tokens = -(-grid[0] // pool) * -(-grid[1] // pool)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Sequential(
            nn.Linear(width * pool * pool, decoder_width), nn.GELU(), nn.Linear(decoder_width, decoder_width)
        )
        # Silent at first (ControlNet, Zhang et al. 2023): pictures join in from where `without_images` left off.
        nn.init.zeros_(self.project[-1].weight)

    def forward(
        self, patch_features: Float[Tensor, "batch views patches width"]
    ) -> Float[Tensor, "batch views tokens decoder_width"]:
        rows, columns = self.grid
        features = self.norm(patch_features).unflatten(2, self.grid)
        features = functional.pad(features, (0, 0, 0, -columns % self.pool, 0, -rows % self.pool))
        squares = features.unflatten(3, (-1, self.pool)).unflatten(2, (-1, self.pool))
        squares = squares.movedim(3, 4).flatten(2, 3).flatten(3)
        return self.project(squares)

    def without_images(self, batch: int, views: int) -> Float[Tensor, "batch views tokens decoder_width"]:
        """What stands in the place of the image tokens where no picture is looked at."""
        return self.project[-1].bias.expand(batch, views, self.num_tokens, -1)
