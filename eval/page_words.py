"""What the page says in words: how alike the reports are, how the evaluation was made, what it cannot show."""

from typing import Any

from eval.page_figures import Document, model_of, said
from eval.scoring import METRICS
from eval.verdict import number

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
            interval = "" if estimate["low"] is None else f"{number(estimate['low'])} to {number(estimate['high'])}"
            shown.append(_tile(number(estimate["value"]), METRICS[metric].replace(" (probabilities)", ""), interval))
    refused = f"{studies['refused']} refused" if studies["refused"] else "none refused"
    shown.append(_tile(str(studies["written"]), f"of {studies['given']} studies scored", refused))
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
