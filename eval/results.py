"""Writes docs/RESULTS.md from saved figures, so that none in it is by hand.

    python -m eval.results                                 (all of docs/results, to docs/RESULTS.md)
    python -m eval.results FILE_OR_FOLDER … --output PAGE

A file is a `metrics.json` of eval/batch.py or eval/score.py, or what eval.statements or eval.probe wrote, under the
name that its section shall bear; or an experiment of bench/ablations.py or bench/growth.py: each group of those becomes
one table, and growth a picture, too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from eval.growth_picture import draw_growth
from eval.page_words import origin
from eval.results_experiments import ablation_section, growth_section
from eval.results_statements import is_of_statements, statement_lines
from eval.results_tables import consistency_lines, finding_table, grounding_lines, section_title, system_table

_HEAD = """# Results

Written by `eval/results.py` from the files in `docs/results/`; not edited by hand. Value and 95 % interval (bootstrap
over patients). Figures on made-up studies say that the machinery works and that the model looks at the image; they say
nothing about patients.
"""
GROWTH = "growth"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultsConfig:
    """Writes a page of results."""

    saved: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("docs/results"),)
    """JSON files, or folders with all files below them."""
    output: Path = Path("docs/RESULTS.md")
    """The page."""


def main(argv: list[str] | None = None) -> None:
    config = tyro.cli(ResultsConfig, args=argv)
    sections = results_sections(_documents(config.saved), config.output.parent)
    config.output.write_text("\n".join([_HEAD, *sections]), encoding="utf-8")


def results_sections(documents: Mapping[Path, dict[str, Any]], folder: Path) -> list[str]:
    """One for each evaluation, then one for each group of experiments. Pictures go into `folder`.

    Raises:
        ValueError: a document is neither.
    """
    sections: list[str] = []
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, document in documents.items():
        if "group" in document:
            groups.setdefault(document["group"], []).append(document)
        elif "verdict" in document:
            sections.append(results_section(path.stem, document))
        elif is_of_statements(document):
            sections.append("\n".join([f"## {section_title(path.stem)}", "", *statement_lines(document)]) + "\n")
        else:
            raise ValueError(
                f"{path} is neither a metrics.json of eval/batch.py or eval/score.py nor figures of eval.statements or "
                "eval.probe nor an experiment of bench/; leave it out"
            )
    for group, records in groups.items():
        if group == GROWTH:
            picture = folder / f"{group}.svg"
            draw_growth(records, picture)
            sections.append(growth_section(group, records, picture.name))
        else:
            sections.append(ablation_section(group, records))
    return sections


def _documents(saved: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    paths = [path for given in saved for path in (sorted(given.rglob("*.json")) if given.is_dir() else [given])]
    return {path: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def results_section(name: str, document: dict[str, Any]) -> str:
    """One evaluation as Markdown: verdict, the model beside its controls, the findings, how it was made. Figures that a
    file of an older layout lacks are left out."""
    verdict = document["verdict"]
    beaten = verdict.get("beaten", "")
    facts = verdict.get("facts") or [verdict["constant"]] * bool(verdict["constant"])
    parts = [
        [f"## {section_title(name)}"],
        [f"**{verdict['image']}**", *(f"- {fact}" for fact in [beaten] * bool(beaten) + facts)],
        system_table(document),
        finding_table(document),
        [*consistency_lines(document), *grounding_lines(document)],
        ["<details><summary>How it was made</summary>"],
        [f"- {term}: {description}" for term, description in origin(document)],
        ["</details>"],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


if __name__ == "__main__":
    main()
