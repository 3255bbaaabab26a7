"""The output of the model for one study: its report, probabilities and attention maps."""

from dataclasses import dataclass

import numpy as np

from vlm.schema.findings import CHANGES, SEVERITIES, WITHOUT_CHANGE, WITHOUT_SEVERITY


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyReport:
    """The output of the model for one study."""

    report: str
    """"Findings: … Impression: …" as generated; empty if the model was not trained on reports."""
    findings: str
    impression: str
    finding_probabilities: tuple[float, ...]
    """Probabilities in the order of vlm.schema.findings.FINDINGS; calibrated if the checkpoint is calibrated."""
    severity_probabilities: tuple[tuple[float, ...], ...] | None = None
    """For each finding, the probabilities of SEVERITIES if it is present; not calibrated. None if the model does not
    estimate severities."""
    change_probabilities: tuple[tuple[float, ...], ...] | None = None
    """For each finding, the probabilities of CHANGES since the prior study; not calibrated. None without a prior study,
    or if the model does not compare. Those of No Finding have no meaning."""
    attention_maps: np.ndarray
    """Float32 [14, views, rows, columns] over the patches; each finding's sums to 1."""
    tokens: tuple[str, ...]
    """Pieces of text that join to `report`."""
    token_log_probabilities: tuple[float, ...]
    is_truncated: bool
    """The report reached max_new_tokens and was cut; while streaming, it is not finished."""
    ood_not_checked: str = ""
    """Why the images cannot be compared with those of the training; "" if `ReportGenerator.ood_detector` can do it."""

    def severity_of(self, finding: int) -> tuple[str, float] | None:
        """The most probable severity of a finding if it is present, and its probability, which is not calibrated. None
        if the model does not estimate it, or if a report would most probably name none."""
        if self.severity_probabilities is None or finding in WITHOUT_SEVERITY:
            return None
        name, probability = _most_probable(self.severity_probabilities[finding], SEVERITIES)
        return (name, probability) if name else None

    def change_of(self, finding: int) -> tuple[str, float] | None:
        """The most probable of CHANGES since the prior study, and its probability, which is not calibrated.

        None without a prior study, if the model does not compare, and for No Finding.
        """
        if self.change_probabilities is None or finding == WITHOUT_CHANGE:
            return None
        return _most_probable(self.change_probabilities[finding], CHANGES)


def _most_probable(probabilities: tuple[float, ...], names: tuple[str, ...]) -> tuple[str, float]:
    probability, code = max((share, code) for code, share in enumerate(probabilities))
    return names[code], probability
