"""Patch features of a frozen encoder, computed once for each image and then read from disk.

A folder named after a hash of the encoder's weights, the image geometry and the precision holds the features of images
in the order of their computation, `features.f16`, and the hash of the file of each image, `images.txt`. So features of
another encoder or of another image are never read, data sets share the features of their images, and a killed run
computes only what is missing.
"""

import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from filelock import FileLock
from jaxtyping import Float16
from PIL import Image
from rich.progress import track

from vlm.config import ImageGeometry
from vlm.inputs.image import letterbox, normalize_pixels
from vlm.layers.encoder import ImageEncoder
from vlm.schema.strict_json import to_json

BATCH_SIZE = 32
FEATURES, IMAGES = "features.f16", "images.txt"
LINE_LENGTH = 2 * hashlib.sha256().digest_size + 1
"""Characters of a line of images.txt."""
_DECODER = datasets.Image()


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
    encoder: ImageEncoder,
    rows: datasets.Dataset,
    geometry: ImageGeometry,
    folder: Path,
    accelerator: Accelerator,
    *,
    column: str = "images",
) -> PatchFeatures:
    """The features of the images in a column of `rows`, from `folder`; they are computed first if they are not there.

    Raises:
        ValueError: the encoder is trained, or the disk has too little space.
    """
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        raise ValueError(
            "--feature-cache needs a frozen encoder, but this encoder is trained; leave it out, or give "
            "--freeze-after-findings or LoRA without --lora-settings.encoder-projections"
        )
    rows = rows.select_columns([column])
    images = _image_digests(rows, column)
    store = folder / _encoder_hash(encoder, geometry, accelerator.mixed_precision)
    shape = (encoder.grid[0] * encoder.grid[1], encoder.width)
    if accelerator.is_main_process:
        store.mkdir(parents=True, exist_ok=True)
        with FileLock(store / "lock"):
            _add_missing(store, shape, encoder, ImageFiles(rows, column), images, geometry, accelerator)
    accelerator.wait_for_everyone()
    numbers = {digest: number for number, digest in enumerate(_stored(store))}
    values = np.memmap(store / FEATURES, np.float16, "r", shape=(len(numbers), *shape))
    return PatchFeatures(values, [[numbers[digest] for digest in views] for views in images])


def _stored(store: Path) -> list[str]:
    """The hashes of the images whose features are stored, in order, up to a line that a kill or a full disk cut off."""
    path = store / IMAGES
    lines = path.read_text(encoding="ascii").splitlines(keepends=True) if path.is_file() else []
    return [line.strip() for line in takewhile(lambda line: len(line) == LINE_LENGTH and line.endswith("\n"), lines)]


def _add_missing(
    store: Path,
    shape: tuple[int, int],
    encoder: ImageEncoder,
    studies: "ImageFiles",
    images: Sequence[Sequence[str]],
    geometry: ImageGeometry,
    accelerator: Accelerator,
) -> None:
    """Compute the features of the images that are not stored yet."""
    stored = _stored(store)
    places = {digest: (study, view) for study, views in enumerate(images) for view, digest in enumerate(views)}
    known = set(stored)
    missing = [digest for digest in places if digest not in known]
    if not missing:
        return
    size = 2 * shape[0] * shape[1]
    needed, free = len(missing) * size, shutil.disk_usage(store).free
    if needed > free:
        raise ValueError(
            f"--feature-cache {store.parent} needs {needed / 2**30:.1f} GiB for {len(missing):,} images, but only "
            f"{free / 2**30:.1f} GiB are free; name a folder on a larger disk, or leave it out"
        )
    encoder.eval()
    starts = range(0, len(missing), BATCH_SIZE)
    with (
        (store / FEATURES).open("ab") as features_file,
        (store / IMAGES).open("a", encoding="ascii") as images_file,
        ThreadPoolExecutor() as pool,
        torch.inference_mode(),
    ):
        # A killed run may have written features without their hashes, and a part of a hash.
        features_file.truncate(len(stored) * size)
        images_file.truncate(len(stored) * LINE_LENGTH)
        for start in track(starts, "image features", transient=True, disable=len(missing) < 1000):
            batch = missing[start : start + BATCH_SIZE]
            squares = list(pool.map(lambda digest: _square(studies, *places[digest], geometry.size), batch))
            pixel_values = normalize_pixels(torch.from_numpy(np.stack(squares)), geometry)
            with accelerator.autocast():
                features = encoder(pixel_values.to(accelerator.device))
            features_file.write(features.half().cpu().numpy().tobytes())
            features_file.flush()
            images_file.writelines(f"{digest}\n" for digest in batch)
            images_file.flush()


def _square(studies: "ImageFiles", study: int, view: int, size: int) -> np.ndarray:
    return letterbox(studies.image(study, view), size)


def _image_digests(rows: datasets.Dataset, column: str) -> list[list[str]]:
    """For each study, a hash of the file of each image."""
    files = ImageFiles(rows, column)
    return [[_digest(image) for image in files[study]] for study in range(len(rows))]


class ImageFiles:
    """For each study, the files of its images as {"bytes", "path"}; nothing is decoded or copied to the disk.

    Rows of `datasets` decode the first image of each study twice, to see whether it must be decoded; `images` does not.
    """

    def __init__(self, rows: datasets.Dataset, column: str = "images"):
        self.column, self.rows = column, rows.select_columns([column]).with_format("arrow")

    def __getitem__(self, study: int) -> list[dict[str, Any]]:
        return self.rows[study][self.column][0].as_py()

    def image(self, study: int, view: int) -> Image.Image:
        return _DECODER.decode_example(self[study][view])

    def images(self, study: int) -> list[Image.Image]:
        return [_DECODER.decode_example(file) for file in self[study]]


def _digest(image: dict[str, Any]) -> str:
    return hashlib.sha256(image["bytes"] or Path(image["path"]).read_bytes()).hexdigest()


def _encoder_hash(encoder: ImageEncoder, geometry: ImageGeometry, precision: str) -> str:
    digest = hashlib.sha256(f"{to_json(geometry)} {precision}".encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:24]
