"""Writes docs/RESULTS.md from saved metrics, so that no figure in it is by hand.

    python eval/results.py docs/results/*.json --output docs/RESULTS.md

Each file is a `metrics.json` of eval/batch.py under the name that its section shall bear.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from eval.bootstrap import Estimate
from eval.score_table import SHOWN
from eval.scoring import METRICS
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
    """One evaluation as Markdown: verdict, the model beside its controls, the findings."""
    systems, run, versions = document["systems"], document["run"], document["versions"]
    lines = [
        f"## {name.replace('_', ' ').capitalize()}",
        "",
        f"**{document['verdict']['image']}** {document['verdict']['constant']}".strip(),
        "",
        f"Checkpoint `{run['checkpoint']}`, data set `{run['dataset']}` ({run['split']} split, "
        f"{document['studies']['written']} of {document['studies']['given']} studies); {document['convention']}; "
        f"text normalised: {document['normalization']['name']}; "
        + ", ".join(f"{package} {version}" for package, version in versions.items()),
        "",
        f"| | {' | '.join(systems)} |",
        "|---" * (len(systems) + 1) + "|",
    ]
    for metric in SHOWN:
        cells = (with_interval(Estimate(**system["metrics"][metric])) for system in systems.values())
        lines.append(f"| {METRICS[metric]} | {' | '.join(cells)} |")
    ratios = (number(system["distinct_ratio"]) for system in systems.values())
    lines += [f"| different reports / studies | {' | '.join(ratios)} |", ""]
    model = next(iter(systems.values()))
    lines += ["| finding | studies with it | F1 in reports | AUROC |", "|---|---|---|---|"]
    for finding in model["per_finding"]:
        f1, auroc = (with_interval(Estimate(**finding[score])) for score in ("f1", "auroc"))
        lines.append(f"| {finding['finding']} | {finding['support']} | {f1} | {auroc} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
