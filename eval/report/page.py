"""`report.html`: the evaluation as a page of its own, which opens offline and prints.

Made from the content of `metrics.json` (layout: eval/report/document.py) and a few studies. Styles and images are
inside
the file, there is no script, its content policy admits nothing from outside, and every text is escaped. A section whose
figures a document lacks says why or is left out.

What the page says in words: how alike the reports are, how the evaluation was made, what it cannot show.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.html_page import render_template
from eval.report import figures as page_figures
from eval.report.figures import Document, consistency_table, grounding_panel, model_of, said
from eval.report.study import BEST, BY_LOT, WORST, PageStudy
from eval.scoring.scores import METRICS
from vlm.schema.findings import FINDINGS
from vlm.schema.number_format import format_number

TERMS = {
    "checkpoint": "Checkpoint",
    "dataset": "Data set",
    "split": "Split",
    "num_studies": "Asked for",
    "max_new_tokens": "Longest report",
    "num_beams": "Decoding",
    "predictions": "Predictions",
    "references": "References",
    "control_reports": "Reports for the controls",
    "command": "Command",
}
FEW_DIFFERENT = 0.5
"""Reports that differ less than half as often as the true ones are called few."""


def distinct_tile(document: Document) -> dict[str, str]:
    """How many different reports were written: one for all must be seen at once."""
    model = model_of(document)
    distinct, studies = model["num_distinct_reports"], model["num_studies"]
    ratio = model["reference_distinct_ratio"]
    is_few = studies > 1 and (distinct == 1 or (ratio is not None and model["distinct_ratio"] < FEW_DIFFERENT * ratio))
    written = "different reports" if distinct != 1 else "report, the same for all studies" if studies > 1 else "report"
    return {
        "figure": f"{distinct} of {studies}" if distinct != 1 else "1",
        "caption": written,
        "beside": "" if ratio is None else f"true reports: {round(ratio * model['num_with_reference'])} different",
        "tone": "bad" if is_few else "",
    }


def tiles(document: Document) -> list[dict[str, str]]:
    """The few figures that a reader should see first."""
    model, studies = model_of(document), document["studies"]
    shown = [distinct_tile(document)]
    for metric in ("macro_f1", "macro_auroc", "cider"):
        estimate = model["metrics"][metric]
        if estimate["value"] is not None:
            interval = "" if estimate["low"] is None else page_figures.between(estimate)
            name = METRICS[metric].replace(" (probabilities)", "")
            shown.append(_tile(format_number(estimate["value"]), name, interval))
    rejected = f"{studies['rejected']} rejected" if studies["rejected"] else "none rejected"
    shown.append(_tile(str(studies["written"]), f"of {studies['given']} studies scored", rejected))
    if model["num_empty_reports"]:
        shown.append(_tile(str(model["num_empty_reports"]), "reports are empty", "scored as such", "bad"))
    return shown


def origin(document: Document) -> list[tuple[str, str]]:
    """How the evaluation was made, as terms and descriptions."""
    run, bootstrap, normalization = document["run"], document["bootstrap"], document["normalization"]
    options = "".join(f"; {name}: {value}" for name, value in (normalization.get("options") or {}).items())
    facts = [
        (TERMS.get(name, name.replace("_", " ").capitalize()), _run_fact(name, run))
        for name in run
        if not name.endswith("_hash") and run[name] not in (None, "", 0)
    ]
    facts += [
        *(("Program", program) for program in [document.get("program")] if program),
        ("Studies", f"{document['studies']['written']} of {document['studies']['given']} scored"),
        (
            "Findings of reports",
            "read by data/reports/labeler/labeler.py, and so is the truth of studies without labels",
        ),
        ("Uncertain findings", document["convention"]),
        ("Text compared", f"normalisation “{normalization['name']}”: {normalization['description']}{options}"),
        ("CIDEr", f"as pycocoevalcap; {bootstrap['cider']}"),
        ("Intervals", f"{bootstrap['interval']}, {bootstrap['num_resamples']} times, seed {bootstrap['seed']}"),
        *(("Note", note) for note in document["notes"]),
        ("Versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items() if version)),
    ]
    return facts


def limits(document: Document) -> list[str]:
    """What the figures cannot show, most misleading first."""
    model, basis = model_of(document), document["verdict"].get("basis", "")
    told = []
    if basis == "shuffled reports":
        told.append(
            "The verdict says whether reports fit their own patient better than another’s. That can come from the "
            "image, or from an indication or another text that the system was given; only images shuffled between "
            "patients tell which."
        )
    elif document["verdict"]["differences_to_shuffled_images"]:
        told.append("That the image matters does not mean that the right part of it does, nor that a report is right.")
    told.append(
        "Findings are read from reports by a program, which errs at times, on true reports and generated ones alike; "
        "docs/LOG.md has its measured accuracy. Side, place, size and severity do not count."
    )
    if model["num_with_reference"]:
        told.append(
            "Scores of words reward the habits of the references: a constant sentence does well in BLEU. What a true "
            "report leaves unsaid may still be there."
        )
    told.append(
        "Intervals say how the figures would vary with other patients of the same kind; not with other hospitals, "
        "scanners, report writers or labelers. Resamples in which a rare finding is absent are left out of its "
        "interval."
    )
    if document.get("grounding"):
        told.append("A heatmap shows where the model looked, not why.")
    return told


def no_curves(document: Document) -> str:
    """Why there are no curves."""
    if any(finding["auroc"]["value"] is not None for finding in model_of(document)["per_finding"]):
        return f"Macro AUROC {said(model_of(document)['metrics']['macro_auroc'])}; no curves were saved."
    return "No curves: the predictions hold no probabilities, or no finding is both present and absent."


def _run_fact(name: str, run: dict[str, Any]) -> str:
    value = run[name]
    if isinstance(value, dict):
        parts = {key: part for key, part in value.items() if part not in (None, "", {})}
        return ", ".join(str(part) if key == "path" else f"{key} {_flat(part)}" for key, part in parts.items())
    if name == "num_studies":
        return f"the first {value} studies of the split"
    if name == "num_beams":
        return "greedy" if value == 1 else f"{value} beams"
    if name == "max_new_tokens":
        return f"{value} tokens"
    return f"{value} (content {run[f'{name}_hash']})" if f"{name}_hash" in run else _flat(value)


def _flat(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {part}" for key, part in value.items() if part not in (None, ""))
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _tile(figure: str, caption: str, beside: str, tone: str = "") -> dict[str, str]:
    return {"figure": figure, "caption": caption, "beside": beside, "tone": tone}


TEMPLATE = Path(__file__).parent / "templates" / "page.html.j2"
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
    """The page as one string of HTML; `document` is that of `eval.report.document.metrics_document`."""
    sections = _sections(document, studies) | {"studies": studies}
    return render_template(
        TEMPLATE,
        filters={
            "number": format_number,
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
        "outperformed_by": verdict.get("outperformed_by", ""),
        "tiles": tiles(document),
        "main_comparison": comparisons[0] if comparisons else None,
        "caution": limits(document)[0],
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
        "no_curves": no_curves(document),
        "curves_left_out": [name for name in FINDINGS if name not in {pair["finding"] for pair in pairs}],
        "grounding": grounding_panel(document),
        "groups": page_figures.group_panels(document),
        "studies_lead": _studies_lead(studies),
        "origin": origin(document),
        "limits": limits(document),
        "rejected": document.get("rejected") or [],
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
