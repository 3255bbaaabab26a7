"""What both sides get: made-up studies of one view, as tensors, with reports of random tokens."""

import numpy as np
from torch import Tensor

from bench.sizes import START_TOKEN, BenchSizes
from data.synthetic.source import make_study
from train.studies.dataset import Collator
from vlm.config import ENCODER_SIZES, ImageGeometry


def geometry(sizes: BenchSizes) -> ImageGeometry:
    """Three channels, as the peer's ViT has by default."""
    return ImageGeometry(size=sizes.image_size, num_channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


def grid(sizes: BenchSizes) -> tuple[int, int]:
    """Rows and columns of patches."""
    side = sizes.image_size // ENCODER_SIZES[sizes.encoder]["patch_size"]
    return side, side


def make_batch(sizes: BenchSizes, num_studies: int) -> dict[str, Tensor]:
    """Arguments of `ReportModel.forward`; every report has a start token and then `num_new_tokens`."""
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
            }
        )
    return Collator(geometry=geometry(sizes), grid=grid(sizes), pad_token_id=START_TOKEN)(items)
