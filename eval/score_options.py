"""Options of `python -m eval.score`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from eval.also import parse_also
from eval.bootstrap import NUM_RESAMPLES
from eval.matching import MissingPredictions
from eval.normalization import DEFAULT_NORMALIZATION, NORMALIZATIONS
from eval.score_files import Columns


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """Judge a file of predicted reports."""

    predictions: Annotated[Path, tyro.conf.Positional]
    """File of predictions: study ids and reports, with probabilities of findings where there are some."""
    references: Annotated[Path | None, tyro.conf.Positional] = None
    """File of references: study ids and true reports, with labels, patients, views where there are some."""
    output_dir: Path | None = None
    """Where metrics.json and report.html go; without it, figures are only printed."""
    columns: tyro.conf.OmitArgPrefixes[Columns] = field(default_factory=Columns)
    reference_split: str = ""
    """Only references of this split; of R2Gen's annotation.json, test by itself."""
    control_reports: Path | None = None
    """Reports of other studies (training or validation), to choose the controls on."""
    control_split: str = ""
    """Only control reports of this split; of annotation.json, val by itself."""
    control_column: str = ""
    """Column of the control reports."""
    reference_vocabulary: Path | None = None
    """Training reports of a model, to see the references through its vocabulary as most published figures do; read with
    --reference-id-column and --reference-column."""
    reference_vocabulary_split: str = ""
    """Only training reports of this split; of annotation.json, train by itself."""
    reference_max_words: int = 0
    """With a reference vocabulary, references are cut after so many words; 0: as R2Gen did, or not."""
    missing_predictions: MissingPredictions = "leave-out"
    """What a reference without prediction counts as."""
    normalization: Literal[tuple(NORMALIZATIONS)] = DEFAULT_NORMALIZATION
    """What is done to both texts before their words are compared."""
    uncertain: Literal["positive", "negative"] = "positive"
    """How an uncertain finding counts in the main figures; the other way is in metrics.json too."""
    also: tuple[str, ...] = ()
    """Learned metrics, each as metric=where: chexbert=FOLDER bertscore=FOLDER radgraph=FOLDER …"""
    num_resamples: int = NUM_RESAMPLES
    """Bootstrap resamples for the intervals."""
    seed: int = 0
    """Of the bootstrap and of the controls."""
    num_page_studies: int = 12
    """Studies shown on the page: a third each the worst, the best, and drawn by lot."""

    def __post_init__(self):
        for name, least in (("num_resamples", 1), ("num_page_studies", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give at least {least}")
        parse_also(self.also)
