"""Images in memory to patch features, the output of the image encoder. This step takes most of the time of a study."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from vlm.config import ImageGeometry
from vlm.inputs.image import letterbox, normalize_pixels


class PatchFeatures:
    """The image encoder of a model. If it `remembers`, each image passes through the encoder once.

    Two images are the same if they are the same object, so an image must not be changed in place. The images and their
    features are held as long as this object lives: about 400 KB for 256 patches with 384 features.
    """

    def __init__(self, encoder: nn.Module, geometry: ImageGeometry, device: torch.device, *, remembers: bool = False):
        self.encoder, self.geometry, self.device = encoder, geometry, device
        self._remembered: dict[int, tuple[Image.Image, Tensor]] | None = {} if remembers else None

    def remembering(self) -> "PatchFeatures":
        """The same encoder, which remembers; this object if it does so already."""
        if self._remembered is not None:
            return self
        return PatchFeatures(self.encoder, self.geometry, self.device, remembers=True)

    def __call__(self, images: Sequence[Image.Image]) -> Float[Tensor, "images patches features"]:
        """The features of one or more images; those that are not known pass through the encoder as one batch."""
        known = {} if self._remembered is None else self._remembered
        new = {id(image): image for image in images if id(image) not in known}
        if new:
            with torch.inference_mode():
                features = self.encoder(self.pixel_values(list(new.values())))
            known.update({key: (new[key], row) for key, row in zip(new, features, strict=True)})
        return torch.stack([known[id(image)][1] for image in images])

    def pixel_values(self, images: Sequence[Image.Image]) -> Float[Tensor, "images channels height width"]:
        """The images as the encoder reads them."""
        squares = np.stack([letterbox(image, self.geometry.size) for image in images])
        return normalize_pixels(torch.from_numpy(squares).to(self.device), self.geometry)
