"""Sizes of the measured models and data sets, and numbers of repetitions."""

from dataclasses import dataclass
from typing import Any

from vlm.config import DECODER_SIZES

START_TOKEN = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchSizes:
    """Settings of both sides; all other settings are the defaults of each side."""

    encoder: str
    """A key of vlm.config.ENCODER_SIZES."""
    decoder: str
    """A key of vlm.config.DECODER_SIZES, a GPT-2."""
    vocab_size: int
    image_size: int
    pool: int
    """Side of the square of patches that becomes one image token; the Hugging Face baseline has no pooling."""
    num_new_tokens: int
    """Length of every report, in generation and training; no report ends earlier."""
    num_studies: int
    """Batch size of generation, in addition to batches of one study."""
    train_batch_size: int
    repetitions: int
    """Repetitions of short measurements."""
    many_repetitions: int
    """Repetitions of long measurements."""
    num_synthetic: int
    """Number of synthetic studies to draw and prepare."""
    num_files: int
    """Number of PNG files of a table."""
    file_side: int
    """Side of these files in pixels."""
    num_rows: int
    """Number of studies of this table; several studies may share a file."""
    archive_side: int
    """Side of archive images in pixels; larger than stored images."""
    num_archive_rows: int
    """Number of studies of each archive; they share a few files."""

    @property
    def decoder_architecture(self) -> dict[str, Any]:
        """The GPT-2 configuration of both sides; no token ends a report."""
        special = {"bos_token_id": START_TOKEN, "eos_token_id": None}
        return DECODER_SIZES[self.decoder] | {"vocab_size": self.vocab_size} | special


FULL = BenchSizes(
    encoder="base",
    decoder="base",
    vocab_size=50257,
    image_size=224,
    pool=4,
    num_new_tokens=60,
    num_studies=16,
    train_batch_size=4,
    repetitions=5,
    many_repetitions=3,
    num_synthetic=300,
    num_files=24,
    file_side=1024,
    num_rows=48,
    archive_side=2048,
    num_archive_rows=150,
)
"""ViT-B/16 and GPT-2 (124 M) at 224 pixels, for the figures in docs/results/speed.json."""

QUICK = BenchSizes(
    encoder="nano",
    decoder="nano",
    vocab_size=300,
    image_size=64,
    pool=2,
    num_new_tokens=6,
    num_studies=3,
    train_batch_size=2,
    repetitions=2,
    many_repetitions=2,
    num_synthetic=6,
    num_files=3,
    file_side=64,
    num_rows=6,
    archive_side=96,
    num_archive_rows=6,
)
"""For tests of the program; its figures are meaningless."""
