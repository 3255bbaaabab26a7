"""Saved evaluations as the scores of a model card: documents in, paragraphs of Markdown out.

A document is a metrics.json (eval/metrics_file.py) or the figures of eval.statements or eval.probe.
"""

from collections.abc import Mapping
from typing import Any

from eval.page_figures import model_of
from eval.results_statements import statement_lines
from eval.results_tables import (
    consistency_lines,
    finding_table,
    grounding_lines,
    group_table,
    section_title,
    system_table,
    table,
    told,
)
from eval.verdict import SHUFFLED_IMAGES
from vlm.uncertainty import Calibration

OVERVIEW = {
    "macro_f1": "macro-F1 of reports",
    "macro_auroc": "AUROC",
    "micro_accuracy": "accuracy of calls",
    "pooled_calibration_error": "calibration error",
}


def card_scores(documents: Mapping[str, Mapping[str, Any]], calibration: Calibration) -> list[str]:
    """An overview, how calibrated the probabilities are, and a section for each document by its name."""
    if not documents:
        return ["It has not been evaluated."]
    evaluations = {name: document for name, document in documents.items() if "systems" in document}
    parts = [_overview(evaluations), [_calibration(calibration)]]
    for name, document in documents.items():
        parts += _evaluation(name, document) if name in evaluations else _statements(name, document)
    return ["\n".join(lines) for lines in parts if lines]


def _overview(evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The model alone, and with other patients' images."""
    rows = []
    for name, document in evaluations.items():
        shuffled = document["systems"].get(SHUFFLED_IMAGES)
        title = f"{section_title(name)}, {document['studies']['written']:,} studies"
        rows.append([title, *(told(model_of(document)["metrics"], metric) for metric in OVERVIEW)])
        if shuffled is not None:
            rows.append([SHUFFLED_IMAGES, *(told(shuffled["metrics"], metric) for metric in OVERVIEW)])
    return table(["on", *OVERVIEW.values()], rows)


def _calibration(calibration: Calibration) -> str:
    if not calibration.is_calibrated:
        return "Its probabilities are not calibrated: read them as a ranking."
    return (
        f"Calibration: probabilities are sigmoid(logit / {calibration.temperature:.3f}), a temperature that "
        f"{calibration.num_studies:,} validation studies chose, as they did each finding's threshold. The calibration "
        "error above is the expected one (Guo et al. 2017; all labelled probabilities pooled, 15 bins of equal width)."
    )


def _evaluation(name: str, document: Mapping[str, Any]) -> list[list[str]]:
    run, verdict = document["run"], document["verdict"]
    told_first = [verdict.get("beaten", ""), *verdict.get("facts", ())]
    by_source = group_table(document, "source")
    return [
        [f"### {section_title(name)}"],
        [
            f"`{run['dataset']}`, split {run['split']}: {document['studies']['written']:,} of "
            f"{document['studies']['given']:,} studies; {document['convention']}."
        ],
        [f"**{verdict['image']}**", "", *(f"- {fact}" for fact in told_first if fact)],
        system_table(document),
        ["By source:"] if by_source else [],
        by_source,
        ["By finding:"],
        finding_table(document),
        consistency_lines(document),
        grounding_lines(document),
    ]


def _statements(name: str, document: Mapping[str, Any]) -> list[list[str]]:
    return [[f"### {section_title(name)}"], statement_lines(document)]
