"""What frames the page, as HTML: header, notices, refusals, doubts. Every text from elsewhere is escaped."""

from collections.abc import Sequence
from html import escape

NOTICE = "Not a medical device. For research and teaching; no diagnosis or treatment may rest on it."
EXAMPLES_HEADING = '<p class="soft">Examples: click one to have its report written.</p>'
FOOTER = f'<footer class="notice" role="note">{NOTICE}</footer>'


def header(checkpoint: str, model_card: str = "") -> str:
    """`model_card` is HTML; see page.model_card."""
    card = f'<details class="model-card"><summary>Model card</summary>{model_card}</details>' if model_card else ""
    return (
        '<header class="top"><h1>cxrscribe</h1>'
        "<p>Reads a chest X-ray, says which findings it sees and how sure it is, and writes the report.</p>"
        f'<p class="soft">Model: {escape(checkpoint)}</p>{card}</header>'
        f'<div class="notice" role="note"><strong>{NOTICE}</strong></div>'
    )


def refusal(message: str) -> str:
    """What went wrong, where the report would be; the page goes on."""
    return (
        '<section class="card"><h2>Report</h2><div class="refusal" role="alert"><strong>No report.</strong> '
        f"{escape(message)}</div></section>"
    )


def doubts(reasons: Sequence[str], *, is_withheld: bool) -> str:
    """Why this may be no study for the model; "" without a reason."""
    if not reasons:
        return ""
    listed = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    consequence = (
        "So no report was written. You can have it all the same; it may then mean nothing."
        if is_withheld
        else "You asked for the report all the same: it and the findings may mean nothing."
    )
    return (
        '<section class="warning doubts" role="alert"><h2>⚠ This may be no picture for this model</h2>'
        f"<ul>{listed}</ul><p>{consequence}</p></section>"
    )


def saved(message: str, *, is_refused: bool = False) -> str:
    """The answer to a visitor's wish to save or to take away."""
    if not message:
        return ""
    kind, role = ("refusal", "alert") if is_refused else ("done", "status")
    return f'<div class="{kind}" role="{role}">{escape(message)}</div>'
