"""From logits to probabilities that mean what they say, and to a yes or no for each finding.

Temperature scaling, p = sigmoid(logit / T) (Guo et al. 2017, "On Calibration of Modern Neural Networks"), and one
threshold a finding. Both are chosen on validation studies by `train.calibrate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vlm.findings import NUM_FINDINGS


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What turns finding logits into probabilities and decisions."""

    temperature: float = 1.0
    thresholds: tuple[float, ...] = (0.5,) * NUM_FINDINGS
    """A finding is called present from this probability on."""
    num_studies: int = 0
    """Validation studies it was chosen on; 0: it was not chosen, the probabilities are not calibrated."""
    num_labelled: tuple[int, ...] = ()
    """Of these, the studies of which each finding was known; empty where nobody counted."""

    def __post_init__(self):
        if self.temperature <= 0:
            raise ValueError(f"calibration temperature must be above 0, got {self.temperature}")
        if len(self.thresholds) != NUM_FINDINGS:
            raise ValueError(f"calibration needs {NUM_FINDINGS} thresholds, got {len(self.thresholds)}")
        if len(self.num_labelled) not in (0, NUM_FINDINGS):
            raise ValueError(f"calibration counts labels of {NUM_FINDINGS} findings, got {len(self.num_labelled)}")

    @property
    def is_calibrated(self) -> bool:
        return self.num_studies > 0

    @property
    def is_known(self) -> tuple[bool, ...]:
        """Whether the data told anything of each finding; else its probability means nothing."""
        return tuple(number > 0 for number in self.num_labelled) or (True,) * NUM_FINDINGS

    def expected_errors(self, probabilities: Sequence[float]) -> float:
        """How many of the calls (present or not, by threshold) of the known findings are wrong on average, where the
        probabilities of a study are right."""
        rows = zip(probabilities, self.thresholds, self.is_known, strict=True)
        return sum(
            1 - probability if probability >= threshold else probability
            for probability, threshold, is_known in rows
            if is_known
        )
