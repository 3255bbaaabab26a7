"""The page's view of the pointing game (eval.grounding): the model beside points that anybody could name."""

from typing import Any

from eval.charts import Mark, axis_strip, point_strip
from eval.page_figures import Document, said

TONES = ("model", "control", "other")
"""Of the model, the middle of the picture and the finding's usual place, in the order of the document."""


def grounding_panel(document: Document) -> dict[str, Any] | None:
    """A row over all findings and one a finding that was asked for; None where no study has boxes."""
    played = document.get("grounding")
    if not played:
        return None
    asked = [finding for finding in played["per_finding"] if finding["num_asked"]]
    model = played["systems"][0]
    rows = [_row("All findings", played["num_asked"], played["all"], f"{100 * played['all'][model]['value']:.1f} %")]
    rows += [
        _row(one["finding"], one["num_asked"], one["share"], f"{one['num_hits'][model]} of {one['num_asked']}")
        for one in asked
    ]
    differences = [
        f"{_points(estimate['value'])} points against {name} (95 % interval {_points(estimate['low'])} to "
        f"{_points(estimate['high'])})"
        for name, estimate in played["differences"].items()
        if estimate["low"] is not None
    ]
    return {
        "legend": list(zip(TONES, played["systems"], strict=False)),
        "rows": rows,
        "axis": axis_strip(1.0),
        "differences": "; ".join(differences),
        "note": played["note"][0].upper() + played["note"][1:],
    }


def _row(name: str, num_asked: int, shares: dict[str, dict], told: str) -> dict[str, Any]:
    marks = [
        # Only the model's interval: three on one line cannot be told apart.
        Mark(value=share["value"], low=share["low"] if tone == "model" else None, high=share["high"], tone=tone)
        for tone, share in reversed(list(zip(TONES, shares.values(), strict=False)))
        if share["value"] is not None
    ]
    title = f"{name}, {num_asked} asked: " + "; ".join(f"{system} {said(share)}" for system, share in shares.items())
    return {"name": name, "told": told, "strip": point_strip(marks, end=1.0, title=title)}


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")
