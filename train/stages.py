"""The stages of a run, each with a learning-rate schedule of its own.

First the two halves of the model learn apart: the image side to see findings, without the decoder; the decoder to
write what it is told of them, without pictures. Then the decoder learns from pictures. The halves are several times
cheaper to train than the whole.
"""

from enum import Enum

from train.options import FinetuneOptions


class Stage(Enum):
    """What an epoch teaches; the value is its name for people."""

    FINDINGS = "findings alone"
    LANGUAGE = "language alone"
    REPORTS = "reports"


def stage_epochs(options: FinetuneOptions) -> dict[Stage, range]:
    """The epochs of each stage, in their order; stages without epochs are left out."""
    findings, language = options.findings_epochs, options.findings_epochs + options.language_epochs
    stages = {
        Stage.FINDINGS: range(findings),
        Stage.LANGUAGE: range(findings, language),
        Stage.REPORTS: range(language, options.num_epochs),
    }
    return {stage: epochs for stage, epochs in stages.items() if epochs}


def stage_of(epoch: int, options: FinetuneOptions) -> Stage:
    """The stage that an epoch belongs to."""
    return next(stage for stage, epochs in stage_epochs(options).items() if epoch in epochs)
