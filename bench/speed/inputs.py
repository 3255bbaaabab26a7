"""The input of both sides: synthetic studies as a batch. It loads torch, which `bench.speed.sizes` must not."""

import numpy as np
from torch import Tensor

from bench.speed.sizes import START_TOKEN, BenchSizes
from data.synthetic.source import make_study
from train.studies.dataset import Collator
from vlm.config import ENCODER_SIZES, ImageGeometry


def geometry(sizes: BenchSizes) -> ImageGeometry:
    """Three channels, the default of the baseline's ViT."""
    return ImageGeometry(size=sizes.image_size, num_channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


def grid(sizes: BenchSizes) -> tuple[int, int]:
    """Rows and columns of patches."""
    side = sizes.image_size // ENCODER_SIZES[sizes.encoder]["patch_size"]
    return side, side


def make_batch(sizes: BenchSizes, num_studies: int) -> dict[str, Tensor]:
    """Arguments of `ReportModel.forward`; every report has a start token and then `num_new_tokens` tokens."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(num_studies):
        study = make_study(0, number, sizes.image_size)
        tokens = rng.integers(START_TOKEN + 1, sizes.vocab_size, sizes.num_new_tokens).tolist()
        items.append(
            {
                "squares": [np.asarray(study.images[0])],
                "boxes": [[]],
                "view_positions": study.view_positions[:1],
                "prompt_ids": [],
                "report_ids": [START_TOKEN, *tokens],
                "labels": study.labels,
                "severities": study.severities,
            }
        )
    return Collator(geometry=geometry(sizes), grid=grid(sizes), pad_token_id=START_TOKEN)(items)
