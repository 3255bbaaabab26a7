"""Options that the evaluation programs share."""

from dataclasses import dataclass
from typing import Any, Literal

from eval.metrics.bootstrap import NUM_RESAMPLES


def check_minimum(config: Any, **minimum: int) -> None:
    """Raise ValueError if a number in a configuration is below its minimum."""
    for name, least in minimum.items():
        if getattr(config, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(config, name)}; give at least {least}")


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
    def resampling(self) -> dict[str, int]:
        return {"num_resamples": self.num_resamples, "seed": self.seed}
