"""Writes docs/RESULTS.md from saved metrics, so that no figure in it is by hand.

    python eval/results.py docs/results/*.json --output docs/RESULTS.md

Each file is a `metrics.json` of eval/batch.py or eval/score.py under the name that its section shall bear.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from eval.bootstrap import Estimate
from eval.page_consistency import consistency_table
from eval.page_figures import model_of
from eval.page_grounding import grounding_panel
from eval.page_words import origin
from eval.score_table import SHOWN
from eval.verdict import number, with_interval

_HEAD = """# Results

Written by `eval/results.py` from `docs/results/*.json`; not edited by hand. Value and 95 % interval (bootstrap over
patients). Figures on made-up studies say that the machinery works and that the model looks at the image; they say
nothing about patients.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultsConfig:
    """Writes a page of results."""

    metrics: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Saved metrics.json files."""
    output: Path = Path("docs/RESULTS.md")
    """The page."""


def main(argv: list[str] | None = None) -> None:
    config = tyro.cli(ResultsConfig, args=argv)
    sections = [results_section(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in config.metrics]
    config.output.write_text("\n".join([_HEAD, *sections]), encoding="utf-8")


def results_section(name: str, document: dict[str, Any]) -> str:
    """One evaluation as Markdown: verdict, the model beside its controls, the findings, how it was made. Figures that a
    file of an older layout lacks are left out."""
    title = name.replace("_", " ")
    verdict = document["verdict"]
    facts = verdict.get("facts") or [verdict["constant"]] * bool(verdict["constant"])
    parts = [
        [f"## {title[:1].upper()}{title[1:]}"],
        [f"**{verdict['image']}**", *(f"- {fact}" for fact in facts)],
        _system_table(document),
        _finding_table(document),
        [*_consistency(document), *_grounding(document)],
        ["<details><summary>How it was made</summary>"],
        [f"- {term}: {description}" for term, description in origin(document)],
        ["</details>"],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _system_table(document: dict[str, Any]) -> list[str]:
    systems = document["systems"]
    shown = [metric for metric in SHOWN if any(_has(system, metric) for system in systems.values())]
    lines = [_row(["", *(SHOWN[metric] for metric in shown), "different reports"]), "|---" * (len(shown) + 2) + "|"]
    for name, system in systems.items():
        figures = (with_interval(Estimate(**system["metrics"][metric])) for metric in shown)
        lines.append(_row([name, *figures, number(system["distinct_ratio"])]))
    return lines


def _finding_table(document: dict[str, Any]) -> list[str]:
    findings = model_of(document)["per_finding"]
    defined = [finding for finding in findings if finding["f1"]["value"] is not None]
    lines = [_row(["finding", "studies with it", "F1 in reports", "AUROC"]), "|---" * 4 + "|"]
    for finding in defined:
        figures = (with_interval(Estimate(**finding[score])) for score in ("f1", "auroc"))
        lines.append(_row([finding["finding"], str(finding["support"]), *figures]))
    undefined = ", ".join(finding["finding"] for finding in findings if finding not in defined)
    return lines * bool(defined) + ["", f"No positive case, so undefined: {undefined}."] * bool(undefined)


def _consistency(document: dict[str, Any]) -> list[str]:
    table = consistency_table(document, 0)
    if table is None:
        return []
    rows = (
        f"- {row['title']}: {row['model']}" + f" (true reports: {row['reference']})" * bool(row["reference"])
        for row in table["rows"]
    )
    return ["Without knowing the truth:", "", *rows]


def _grounding(document: dict[str, Any]) -> list[str]:
    panel = grounding_panel(document)
    if panel is None:
        return []
    return [f"- Findings pointed at in their place: {panel['rows'][0]['told']}; {panel['differences']}"]


def _has(system: dict[str, Any], metric: str) -> bool:
    return metric in system["metrics"] and system["metrics"][metric]["value"] is not None


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
