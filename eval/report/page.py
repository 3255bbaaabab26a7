"""`report.html`: the evaluation as one HTML file that opens offline and prints.

It is made from the content of metrics.json (layout: eval/report/document.py) and a few studies. Styles and images are
inside the file. Its one script filters and sorts the studies. The content policy blocks everything from outside, and
all text is escaped. The verdict comes first, then the controls. A section without data says why or is left out. This
file prepares the texts of the page; eval/report/figures.py prepares its charts and tables.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.html_page import render_template
from eval.metrics.errors import ERROR_KINDS
from eval.report import figures
from eval.report.figures import Document, estimate_text, model_of
from eval.report.selection import BEST, RANDOM, WORST
from eval.report.study import PageStudy
from eval.scoring.scores import METRICS
from vlm.operating_point import OperatingPoint
from vlm.schema.atomic import write_atomically
from vlm.schema.findings import FINDINGS
from vlm.schema.number_format import format_number, format_probability

TEMPLATE = Path(__file__).parent / "templates" / "page.html.j2"
KINDS = {
    "agrees": "in both",
    "missed": "missed",
    "extra": "added",
    "unlabeled": "not labeled",
}
"""Marks of findings: the generated report misses a finding, or adds one."""
CONTENTS = {
    "figures": "Controls",
    "consistency": "Consistency",
    "prior": "Prior study",
    "views": "Views",
    "findings": "Findings",
    "errors": "Errors",
    "curves": "Probabilities",
    "grounding": "Grounding",
    "groups": "Groups",
    "studies": "Example reports",
    "origin": "How it was made",
    "limits": "Limits",
}
"""Titles of the sections by anchor, in the order of the page."""
MAX_EXAMPLES = 5
FEW_DISTINCT = 0.5
"""A warning is shown if the distinct ratio of the reports is below this share of that of the reference reports."""
RUN_TERMS = {
    "checkpoint": "Checkpoint",
    "dataset": "Data set",
    "split": "Split",
    "num_studies": "Studies requested",
    "max_new_tokens": "Maximum report length",
    "num_beams": "Decoding",
    "operating_point": "Thresholds",
    "predictions": "Predictions",
    "references": "References",
    "control_reports": "Reports for the controls",
    "command": "Command",
}


def write_evaluation(folder: Path, document: Document, studies: Sequence[PageStudy]) -> None:
    """Write metrics.json and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / "metrics.json", metrics + "\n")
    write_atomically(folder / "report.html", render_page(document, studies))


def render_page(document: Document, studies: Sequence[PageStudy]) -> str:
    """Return the page as one string of HTML."""
    sections = _content(document, studies)
    return render_template(
        TEMPLATE,
        filters={
            "number": format_number,
            "sentence": lambda text: text[:1].upper() + text[1:],
            "percent": format_probability,
        },
        document=document,
        kinds=KINDS,
        contents=[(anchor, title) for anchor, title in CONTENTS.items() if sections.get(anchor, True)],
        **sections,
    )


def _content(document: Document, studies: Sequence[PageStudy]) -> dict[str, Any]:
    """The variables of the templates."""
    verdict, run, model = document["verdict"], document["run"], model_of(document)
    claim, _, evidence = verdict["image"].partition(": ")
    comparisons = [figures.compare_systems(document, metric) for metric in figures.compared_metrics(document)]
    control = next((name for name in list(document["systems"])[1:] if name.startswith("shuffled")), "")
    curves = figures.curve_pairs(document)
    undefined = figures.undefined_metrics(document)
    all_limits = limits(document)
    return {
        "subject": _source_name(run.get("checkpoint") or run.get("predictions") or document.get("program", "")),
        "data": ", ".join(filter(None, (_source_name(run.get("dataset") or run.get("references")), run.get("split")))),
        "grade": verdict["uses_image"],
        "claim": claim,
        "evidence": evidence,
        "facts": list(filter(None, verdict.get("facts") or [verdict["constant"]])),
        "outperformed_by": figures.outperformed_by(document),
        "tiles": tiles(document),
        "main_comparison": comparisons[0] if comparisons else None,
        "caution": all_limits[0],
        "comparisons": comparisons[1:],
        "table": figures.score_groups(document),
        "undefined_metrics": f"Undefined for all systems and left out: {', '.join(undefined)}." if undefined else "",
        "consistency": figures.consistency_table(document, MAX_EXAMPLES),
        "prior": figures.prior_panel(document),
        "views": figures.view_panel(document),
        "bars": figures.finding_bars(document, control),
        "control_name": control,
        "undefined_findings": [finding for finding in model["per_finding"] if finding["f1"]["value"] is None],
        "finding_table": figures.finding_table(document),
        "errors": figures.error_table(document),
        "curves": curves,
        "no_curves": no_curves(document),
        "findings_without_curve": [name for name in FINDINGS if name not in {curve["finding"] for curve in curves}],
        "grounding": figures.grounding_panel(document),
        "groups": figures.group_panels(document),
        "studies": studies,
        "studies_lead": _studies_lead(studies),
        "error_filter": error_filter(studies),
        "origin": origin(document),
        "limits": all_limits,
        "rejected": document.get("rejected") or [],
    }


def tiles(document: Document) -> list[dict[str, str]]:
    """The few numbers that a reader should see first."""
    model, studies = model_of(document), document["studies"]
    shown = [_distinct_tile(document)]
    for metric in ("macro_f1", "macro_auroc", "cider"):
        estimate = model["metrics"][metric]
        if estimate["value"] is not None:
            low, high = format_number(estimate["low"]), format_number(estimate["high"])
            interval = "" if estimate["low"] is None else f"[{low}, {high}]"
            title = METRICS[metric].replace(" (probabilities)", "")
            shown.append(_tile(format_number(estimate["value"]), title, interval))
    rejected = f"{studies['rejected']} rejected" if studies["rejected"] else "none rejected"
    shown.append(_tile(str(studies["written"]), f"of {studies['given']} studies scored", rejected))
    if model["num_empty_reports"]:
        shown.append(_tile(str(model["num_empty_reports"]), "reports are empty", "scored as empty", "bad"))
    return shown


def _distinct_tile(document: Document) -> dict[str, str]:
    """The number of distinct reports; one report for all studies must be seen at once."""
    model = model_of(document)
    distinct, studies, ratio = (
        model[name] for name in ("num_distinct_reports", "num_studies", "reference_distinct_ratio")
    )
    is_few = studies > 1 and (distinct == 1 or (ratio is not None and model["distinct_ratio"] < FEW_DISTINCT * ratio))
    caption = "different reports" if distinct != 1 else "report, the same for all studies" if studies > 1 else "report"
    note = "" if ratio is None else f"reference reports: {round(ratio * model['num_with_reference'])} different"
    return _tile(f"{distinct} of {studies}" if distinct != 1 else "1", caption, note, "bad" if is_few else "")


def _tile(figure: str, caption: str, note: str, tone: str = "") -> dict[str, str]:
    return {"figure": figure, "caption": caption, "note": note, "tone": tone}


def origin(document: Document) -> list[tuple[str, str]]:
    """How the evaluation was made, as terms and descriptions."""
    run, bootstrap, normalization = document["run"], document["bootstrap"], document["normalization"]
    options = "".join(f"; {name}: {value}" for name, value in (normalization.get("options") or {}).items())
    return [
        *(
            (RUN_TERMS.get(name, name.replace("_", " ").capitalize()), _run_value(name, run))
            for name in run
            if not name.endswith("_hash") and name != "num_candidates" and run[name] not in (None, "", 0)
        ),
        *(("Program", program) for program in [document.get("program")] if program),
        ("Studies", f"{document['studies']['written']} of {document['studies']['given']} scored"),
        (
            "Findings in reports",
            "labeled by data/reports/labeler/labeler.py, also in the reference reports of studies without labels",
        ),
        ("Uncertain findings", document["convention"]),
        ("Text normalization", f"“{normalization['name']}”: {normalization['description']}{options}"),
        ("CIDEr", f"as in pycocoevalcap; {bootstrap['cider']}"),
        ("Intervals", f"{bootstrap['interval']}, {bootstrap['num_resamples']} resamples, seed {bootstrap['seed']}"),
        *(("Note", note) for note in document["notes"]),
        ("Versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items() if version)),
    ]


def _run_value(name: str, run: dict[str, Any]) -> str:
    value = run[name]
    if isinstance(value, dict):
        parts = {key: part for key, part in value.items() if part not in (None, "", {})}
        return ", ".join(str(part) if key == "path" else f"{key} {_flat(part)}" for key, part in parts.items())
    if name == "num_studies":
        return f"the first {value} studies of the split"
    if name == "num_beams" and run.get("num_candidates", 1) > 1:
        return f"greedy; if this report has an error, the best of {run['num_candidates']}: it and samples"
    if name == "num_beams":
        return "greedy" if value == 1 else f"{value} beams"
    if name == "operating_point":
        return f"for {OperatingPoint.parse(value).description}"
    if name == "max_new_tokens":
        return f"{value} tokens"
    return f"{value} (hash {run[f'{name}_hash']})" if f"{name}_hash" in run else _flat(value)


def _flat(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {part}" for key, part in value.items() if part not in (None, ""))
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def limits(document: Document) -> list[str]:
    """What the scores cannot show, the most misleading point first."""
    shown = []
    if document["verdict"].get("basis", "") == "shuffled reports":
        shown.append(
            "The verdict says whether a report fits its own patient better than another patient. The reason can be the "
            "image, or an indication or other text that the system received. Only shuffled images can separate the two."
        )
    elif document["verdict"]["differences_to_shuffled_images"]:
        shown.append(
            "If the reports depend on the image, they may still depend on the wrong part of it, or be incorrect."
        )
    shown.append(
        "A program labels the findings in the reports. It makes errors, in reference reports and in generated reports; "
        "docs/LOG.md gives its measured accuracy. F1 does not score side, location, size and severity; the report "
        "error score does, from the words of the reports."
    )
    if model_of(document)["num_with_reference"]:
        shown.append(
            "Text scores reward common phrases of the reference reports: a constant sentence has a high BLEU. A "
            "finding that the reference report does not mention may still be present."
        )
    shown.append(
        "The intervals show how the scores would vary with other patients from the same population. They do not cover "
        "other hospitals, scanners, report writers or labelers. Resamples without any case of a rare finding are left "
        "out of its interval."
    )
    if document.get("grounding"):
        shown.append("A heatmap shows where the model looked, not why.")
    return shown


def no_curves(document: Document) -> str:
    """Why there are no curves."""
    if any(finding["auroc"]["value"] is not None for finding in model_of(document)["per_finding"]):
        return f"Macro AUROC {estimate_text(model_of(document)['metrics']['macro_auroc'])}; no curves were saved."
    return "No curves: the predictions have no probabilities, or no finding has both positive and negative cases."


def _source_name(source: str | dict[str, Any] | None) -> str:
    return str(source.get("path", "")) if isinstance(source, dict) else source or ""


def error_filter(studies: Sequence[PageStudy]) -> list[tuple[str, str]]:
    """The choices of the filter by errors as (value, title with the number of studies); none without references."""
    kinds = [{error.kind for error in study.errors.errors} for study in studies if study.errors]
    if not kinds:
        return []
    counts = {kind: sum(kind in found for found in kinds) for kind in ERROR_KINDS}
    num_with_errors = sum(map(bool, kinds))
    choices = [("", "all studies", len(studies)), ("any", "studies with errors", num_with_errors)]
    choices += [("none", "studies without errors", len(kinds) - num_with_errors)]
    choices += [(kind, kind, count) for kind, count in counts.items() if count]
    return [(value, f"{title} ({count})") for value, title, count in choices]


def _studies_lead(studies: Sequence[PageStudy]) -> str:
    groups = list(dict.fromkeys(study.group for study in studies))
    if not set(groups) <= {WORST, BEST, RANDOM}:
        return f"{len(studies)} studies."
    return (
        f"{len(studies)} studies, selected by a program: {', '.join(group.lower() for group in groups)}. They are "
        "ranked by the F1 of the findings in the report; ties are ranked by the text score."
    )
