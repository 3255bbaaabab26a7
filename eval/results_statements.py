"""Figures of eval.statements and eval.probe in words, for the page of results and the model card."""

from collections.abc import Mapping
from typing import Any

from eval.bootstrap import Estimate
from eval.statements import lines
from eval.verdict import with_interval


def is_of_statements(document: Mapping[str, Any]) -> bool:
    """Whether one of the two programs wrote it."""
    return "statements" in document


def statement_lines(document: Mapping[str, Any]) -> list[str]:
    """What was asked and of what, then a figure a line."""
    about = f"`{document['dataset']}`, split {document['split']}: "
    if "lead_ins" in document:
        told = [f"- {line}" for line in lines(dict(document))]
        return [f"{about}which of two statements the decoder finds likelier in front of the images.", "", *told]
    one, other = document["statements"]
    auroc, shuffled = (with_interval(Estimate(**document[name])) for name in ("auroc", "auroc_shuffled"))
    return [
        f"{about}which of two statements fits, by a linear probe on the encoder's features (no output of the model), "
        f"learned on {document['num_learned']:,} training studies.",
        "",
        f"- {one!r} against {other!r}, {document['num_studies']:,} studies of {document['num_patients']:,} patients: "
        f"AUROC {auroc}; with another patient's images {shuffled}",
    ]
