"""`report.html`: the evaluation as a page of its own, which opens offline and prints.

Made from the content of `metrics.json` (layout: eval/metrics_file.py) and a few studies. Styles and pictures are inside
the file, there is no script, its content policy admits nothing from outside, and every text is escaped. A section whose
figures a document lacks says why or is left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.html_page import render_template
from eval import page_figures, page_words
from eval.page_consistency import consistency_table
from eval.page_grounding import grounding_panel
from eval.page_study import PageStudy
from eval.study_choice import BEST, BY_LOT, WORST
from eval.verdict import number
from vlm.schema.findings import FINDINGS

TEMPLATE = Path(__file__).parent / "templates" / "report_page.html.j2"
KINDS = {
    "agrees": "in both",
    "missed": "missed",
    "extra": "added",
    "unlabelled": "nobody looked for it",
}
"""What the marks of findings mean: a finding is missed by the generated report, or added by it."""
CONTENTS = {
    "figures": "Controls",
    "consistency": "Consistency",
    "findings": "Findings",
    "curves": "Probabilities",
    "grounding": "Grounding",
    "groups": "Groups",
    "studies": "Reports to read",
    "origin": "How it was made",
    "limits": "Limits",
}
MAX_EXAMPLES = 5


def render_page(document: dict[str, Any], studies: Sequence[PageStudy]) -> str:
    """The page as one string of HTML; `document` is that of `eval.metrics_file.metrics_document`."""
    sections = _sections(document, studies) | {"studies": studies}
    return render_template(
        TEMPLATE,
        filters={
            "number": number,
            "sentence": lambda text: text[:1].upper() + text[1:],
            "between": page_figures.between,
            "percent": lambda probability: f"{min(max(probability, 0.01), 0.99):.0%}".replace("%", " %"),
        },
        document=document,
        kinds=KINDS,
        contents=[(anchor, title) for anchor, title in CONTENTS.items() if sections.get(anchor, True)],
        **sections,
    )


def _sections(document: dict[str, Any], studies: Sequence[PageStudy]) -> dict[str, Any]:
    verdict, run = document["verdict"], document["run"]
    claim, _, figures = verdict["image"].partition(": ")
    compared = page_figures.compared_metrics(document)
    comparisons = [page_figures.compare_systems(document, metric) for metric in compared]
    systems = list(document["systems"])
    control = next((name for name in systems[1:] if name.startswith("shuffled")), "")
    pairs = page_figures.curve_pairs(document)
    undefined = page_figures.undefined_metrics(document)
    return {
        "subject": _name_of(run.get("checkpoint") or run.get("predictions") or document.get("program", "")),
        "data": ", ".join(filter(None, (_name_of(run.get("dataset") or run.get("references")), run.get("split")))),
        "grade": verdict["uses_image"],
        "claim": claim,
        "figures": figures,
        "facts": list(filter(None, verdict.get("facts") or [verdict["constant"]])),
        "beaten_by": verdict.get("beaten", ""),
        "tiles": page_words.tiles(document),
        "main_comparison": comparisons[0] if comparisons else None,
        "caution": page_words.limits(document)[0],
        "comparisons": comparisons[1:],
        "table": page_figures.figure_table(document),
        "undefined_metrics": f"Left out, as no system has it: {', '.join(undefined)}." if undefined else "",
        "consistency": consistency_table(document, MAX_EXAMPLES),
        "bars": page_figures.finding_bars(document, control),
        "control_name": control,
        "undefined_findings": [
            finding for finding in page_figures.model_of(document)["per_finding"] if finding["f1"]["value"] is None
        ],
        "finding_table": page_figures.finding_table(document),
        "curves": pairs,
        "no_curves": page_words.no_curves(document),
        "curves_left_out": [name for name in FINDINGS if name not in {pair["finding"] for pair in pairs}],
        "grounding": grounding_panel(document),
        "groups": page_figures.group_panels(document),
        "studies_lead": _studies_lead(studies),
        "origin": page_words.origin(document),
        "limits": page_words.limits(document),
        "refused": document.get("refused") or [],
    }


def _name_of(source: str | dict[str, Any] | None) -> str:
    return str(source.get("path", "")) if isinstance(source, dict) else source or ""


def _studies_lead(studies: Sequence[PageStudy]) -> str:
    groups = list(dict.fromkeys(study.group for study in studies))
    if not set(groups) <= {WORST, BEST, BY_LOT}:
        return f"{len(studies)} studies."
    return (
        f"{len(studies)} studies that nobody picked: {', '.join(group.lower() for group in groups)}. Ranked by the F1 "
        "of the findings that a report names; between equals by its words."
    )
