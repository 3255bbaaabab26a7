"""Dataset of all views of the studies, one sample each: the square image, and noise that selects the masked patches.

Augmentation and noise are seeded by (seed, epoch, image), so workers have no random state and a resumed run gets the
same samples.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import datasets
import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from train.augment import Augmentation, augment
from vlm.config import ImageGeometry
from vlm.inputs.image import letterbox, normalize_pixels


class ImageDataset(Dataset):
    """Images are read from disk, or from memory after `keep_images`."""

    def __init__(
        self,
        rows: datasets.Dataset,
        geometry: ImageGeometry,
        *,
        num_patches: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ):
        # Arrow format decodes nothing, so a single view of a study can be decoded.
        self.rows = rows.select_columns(["study_id", "images"]).with_format("arrow")
        self.geometry, self.num_patches = geometry, num_patches
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0
        self.places = [(row, view) for row, views in enumerate(rows["view_positions"]) for view in range(len(views))]
        self.squares: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.places)

    def keep_images(self, max_bytes: int) -> bool:
        """Decode all images once and keep them at the input size, if they fit. Workers share the memory."""
        size = self.geometry.size
        if len(self) * size**2 > max_bytes:
            return False
        squares = np.empty((len(self), size, size), dtype=np.uint8)
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(self._decode, range(len(self)))
            hidden = {"description": "reading images", "transient": True, "disable": len(self) < 1000}
            for index, square in enumerate(track(decoded, total=len(self), **hidden)):
                squares[index] = square
        self.squares = squares
        return True

    def image(self, index: int) -> np.ndarray:
        """The image at the input size without augmentation: uint8 [size, size]."""
        return self._decode(index) if self.squares is None else self.squares[index]

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        noise = rng.random(self.num_patches, dtype=np.float32)
        pixels = self.image(index)
        return (pixels if self.augmentation is None else augment(pixels, self.augmentation, rng)), noise

    def collate(self, samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
        """The arguments of `MaskedAutoencoder.forward`."""
        pixels, noise = (torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True))
        return {"pixel_values": normalize_pixels(pixels, self.geometry), "noise": noise}

    def _decode(self, index: int) -> np.ndarray:
        row, view = self.places[index]
        study = self.rows[row]
        try:
            image = datasets.Image().decode_example(study["images"][0][view].as_py())
            return letterbox(image, self.geometry.size)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            name = f"image {view + 1} of study {study['study_id'][0]}"
            raise ValueError(f"{name} cannot be read ({error}); prepare its data set again") from error
