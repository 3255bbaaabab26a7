"""Patch features of a frozen encoder, computed once for all images and then read from disk.

The file `<key>.npy` holds the features of the distinct images of some studies. The key is a hash of the encoder's
weights, the image geometry, the precision and the bytes of the images, so that features of another encoder or of other
images are never read.
"""

import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from filelock import FileLock
from jaxtyping import Float16
from rich.progress import track

from vlm.config import ImageGeometry
from vlm.inputs.image import letterbox, normalize_pixels
from vlm.layers.encoder import ImageEncoder
from vlm.schema.atomic import atomic_file
from vlm.schema.strict_json import to_json

BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class PatchFeatures:
    """The features of the images of some studies."""

    values: Float16[np.ndarray, "images patches width"]
    """Memory-mapped."""
    images_of: Sequence[Sequence[int]]
    """For each study, the numbers of its images."""

    def __getitem__(self, study: int) -> Float16[np.ndarray, "views patches width"]:
        return self.values[self.images_of[study]]


def cached_features(
    encoder: ImageEncoder, rows: datasets.Dataset, geometry: ImageGeometry, folder: Path, accelerator: Accelerator
) -> PatchFeatures:
    """The features of the images of `rows`, from `folder`; they are computed first if they are not there.

    Raises:
        ValueError: the encoder is trained, or the disk has too little space.
    """
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        raise ValueError(
            "--feature-cache needs a frozen encoder, but this encoder is trained; leave it out, or give "
            "--freeze-after-findings or LoRA without --lora-settings.encoder-projections"
        )
    digests = _image_digests(rows)
    place_of = {
        digest: (study, view) for study, views in reversed([*enumerate(digests)]) for view, digest in enumerate(views)
    }
    numbers = {digest: number for number, digest in enumerate(place_of)}
    path = folder / f"{_key(encoder, geometry, accelerator.mixed_precision, place_of)}.npy"
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                _compute(path, encoder, rows, [*place_of.values()], geometry, accelerator)
    accelerator.wait_for_everyone()
    return PatchFeatures(np.load(path, mmap_mode="r"), [[numbers[digest] for digest in views] for views in digests])


def _compute(
    path: Path,
    encoder: ImageEncoder,
    rows: datasets.Dataset,
    places: Sequence[tuple[int, int]],
    geometry: ImageGeometry,
    accelerator: Accelerator,
) -> None:
    """Write the features of the images at `places` (study, view)."""
    shape = (len(places), encoder.grid[0] * encoder.grid[1], encoder.width)
    needed, free = 2 * np.prod(shape), shutil.disk_usage(path.parent).free
    if needed > free:
        raise ValueError(
            f"--feature-cache {path.parent} needs {needed / 2**30:.1f} GiB for {len(places):,} images, but only "
            f"{free / 2**30:.1f} GiB are free; name a folder on a larger disk, or leave it out"
        )
    encoder.eval()
    starts = range(0, len(places), BATCH_SIZE)
    with atomic_file(path) as partial, ThreadPoolExecutor() as pool, torch.inference_mode():
        values = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
        for start in track(starts, "image features", transient=True, disable=len(places) < 1000):
            batch = places[start : start + BATCH_SIZE]
            squares = pool.map(lambda place: letterbox(rows[place[0]]["images"][place[1]], geometry.size), batch)
            pixel_values = normalize_pixels(torch.from_numpy(np.stack([*squares])), geometry)
            with accelerator.autocast():
                features = encoder(pixel_values.to(accelerator.device))
            values[start : start + len(batch)] = features.half().cpu().numpy()
        values.flush()


def _image_digests(rows: datasets.Dataset) -> list[list[str]]:
    """For each study, a hash of the file of each image; nothing is decoded."""
    encoded = rows.select_columns(["images"]).cast_column("images", datasets.List(datasets.Image(decode=False)))
    return [[_digest(image) for image in row["images"]] for row in encoded]


def _digest(image: dict[str, Any]) -> str:
    return hashlib.sha256(image["bytes"] or Path(image["path"]).read_bytes()).hexdigest()


def _key(encoder: ImageEncoder, geometry: ImageGeometry, precision: str, images: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{to_json(geometry)} {precision} {[*images]}".encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:24]
