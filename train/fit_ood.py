"""What pictures a checkpoint knows: measured on the studies it was trained on, and written into its folder.

    python -m train.fit_ood --checkpoint runs/mine/best --dataset studies

train/finetune.py does it at its end; this program is for a checkpoint that has none yet.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import tyro
from PIL import Image

from data.cli import run_main
from data.study import load_studies
from vlm.checkpoint.store import find_checkpoint
from vlm.generator import ReportGenerator
from vlm.uncertainty import Familiarity, fit_familiarity, save_familiarity

MAX_PICTURES = 1000
"""Of a split, drawn at random; more move the distances by little."""
PICTURES_AT_ONCE = 32
SEED = 0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FamiliarityOptions:
    """Measure what pictures a checkpoint knows."""

    checkpoint: Path
    """Checkpoint folder, to which two small files are added."""
    dataset: Path
    """The prepared data set that it was trained on."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, measures, writes."""
    options = tyro.cli(FamiliarityOptions, args=argv, description=__doc__)
    settings = measure_familiarity(options.checkpoint, load_studies(options.dataset)).settings
    print(
        f"{options.checkpoint}: measured on {settings.num_training_pictures} training and "
        f"{settings.num_validation_pictures} validation pictures"
    )


def measure_familiarity(checkpoint: Path, studies: datasets.DatasetDict, *, device: str | None = None) -> Familiarity:
    """Measures and writes it into the checkpoint's folder.

    Raises:
        ValueError: the data set has too few pictures in its train or validation split.
    """
    folder = find_checkpoint(checkpoint)
    generator = ReportGenerator.from_pretrained(folder, device=device)
    features = [
        np.concatenate(list(_features(generator, studies[split]))) if len(studies.get(split, ())) else np.zeros((0, 0))
        for split in ("train", "validation")
    ]
    familiarity = fit_familiarity(*features)
    save_familiarity(folder, familiarity)
    return familiarity


def _features(generator: ReportGenerator, studies: datasets.Dataset) -> Iterator[np.ndarray]:
    """Of MAX_PICTURES of the studies' pictures, a few at a time."""
    pictures: list[Image.Image] = []
    num_left = MAX_PICTURES
    for number in np.random.default_rng(SEED).permutation(len(studies)).tolist():
        pictures += studies[number]["images"][: num_left - len(pictures)]
        if len(pictures) >= min(PICTURES_AT_ONCE, num_left):
            num_left -= len(pictures)
            yield generator.picture_features(pictures)
            pictures = []
        if not num_left:
            return
    if pictures:
        yield generator.picture_features(pictures)


if __name__ == "__main__":
    run_main(main)
