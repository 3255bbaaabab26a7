"""Agreement of reports and references in all four states of a finding: blank, positive, negative, uncertain.

F1 counts a finding as there or not; this also asks whether it was denied, left open or not mentioned alike. Over
13 findings: No Finding follows from the others. Cohen's kappa is the share beyond what two writers with the same
habits would share by chance.
"""

import numpy as np

from eval.clinical import divide, label_array
from vlm.schema.findings import FINDING_INDEX, LABEL_CODES, UNLABELED

NUM_STATES = len(LABEL_CODES - {UNLABELED})
_COUNTED = [index for finding, index in FINDING_INDEX.items() if finding != "No Finding"]


def state_counts(predicted_labels, reference_labels) -> np.ndarray:
    """Per study [studies, 4, 4]: over findings that are labelled, how often [reference state, predicted state]."""
    predicted = label_array(predicted_labels, "predicted labels")[:, _COUNTED]
    reference = label_array(reference_labels, "reference labels")[:, _COUNTED]
    states = np.arange(NUM_STATES)
    return np.einsum(
        "sfr,sfp->srp", reference[..., None] == states, predicted[..., None] == states, dtype=np.int64, casting="unsafe"
    )


def state_agreement(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Share of findings in the same state and Cohen's kappa, of counts [..., 4, 4] summed over studies.

    NaN where nothing is labelled; kappa also where both always use one and the same state.
    """
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=(-2, -1))
    share = divide(np.trace(counts, axis1=-2, axis2=-1), total)
    chance = divide((counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1), total**2)
    kappa = divide(share - chance, np.where(np.isclose(chance, 1.0), 0.0, 1 - chance))
    return {"state_agreement": share, "state_kappa": kappa}
