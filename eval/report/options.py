"""Options that the evaluation programs share."""

from dataclasses import dataclass
from typing import Any, Literal

from data.cli import check_minimum
from eval.metrics.bootstrap import NUM_RESAMPLES


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringOptions:
    """Scoring"""

    uncertain: Literal["positive", "negative"] = "positive"
    """How an uncertain finding counts in the main scores; metrics.json has the other way too."""
    num_resamples: int = NUM_RESAMPLES
    """Bootstrap resamples for the intervals."""
    seed: int = 0
    """Random seed of the bootstrap, the controls and the example studies."""

    def __post_init__(self):
        check_minimum(self, num_resamples=1)

    @property
    def uncertain_is_positive(self) -> bool:
        return self.uncertain == "positive"

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `score_predictions`."""
        return {
            "uncertain_is_positive": self.uncertain_is_positive,
            "num_resamples": self.num_resamples,
            "seed": self.seed,
        }
