"""The page's view of what eval.consistency found: rates beside those of the true reports, and examples."""

from typing import Any

from eval.page_figures import Document, between
from eval.verdict import number

RATIOS = ("length_ratio",)
"""Not shares, so not told in percent."""


def consistency_table(document: Document, max_examples: int) -> dict[str, Any] | None:
    """Rows of rates, the findings most disagreed about, and the first examples; None where nobody looked."""
    found = document.get("consistency")
    if not found:
        return None
    references = found.get("references")
    disagreements = [one for one in found["per_finding"] if one["written_only"] + one["believed_only"]]
    disagreements.sort(key=lambda one: -(one["written_only"] + one["believed_only"]) / one["num_compared"])
    return {
        "rows": [
            {
                "title": title[0].upper() + title[1:],
                "model": _told(found["rates"][name], name),
                "interval": _interval(found["rates"][name], name),
                "reference": _told(references[name], name) if references else "",
                "reference_interval": _interval(references[name], name) if references else "",
            }
            for name, title in found["descriptions"].items()
            if found["rates"][name]["value"] is not None
        ],
        "references": bool(references),
        "disagreements": disagreements[:3],
        "contradictions": found["contradictions"][:max_examples],
        "prior_sentences": found["prior_sentences"][:max_examples],
    }


def _told(estimate: dict[str, float | None], name: str) -> str:
    if estimate["value"] is None:
        return "–"
    return number(estimate["value"]) if name in RATIOS else _percent(estimate["value"])


def _interval(estimate: dict[str, float | None], name: str) -> str:
    if estimate["low"] is None:
        return ""
    if name in RATIOS:
        return between(estimate)
    return f"{_percent(estimate['low'])} to {_percent(estimate['high'])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
